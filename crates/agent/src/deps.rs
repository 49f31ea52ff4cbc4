//! What the agent is given instead of taking it from the globals.

use std::sync::Arc;

use argosy_domain::{entropy::Entropy, time::Clock};

/// Time and randomness, passed through the whole agent.
#[derive(Clone)]
pub struct Deps {
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
}
