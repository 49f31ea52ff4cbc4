//! What the three programs share when they start: one configuration loader, the host's clock and
//! randomness, logging.
//!
//! *Invariant:* this is the only crate that reads the wall clock, the boot clock or the operating
//! system's randomness; everybody else is handed a `Clock` and an `Entropy`.

pub mod failpoint;
pub mod host;
pub mod load;
pub mod logging;
