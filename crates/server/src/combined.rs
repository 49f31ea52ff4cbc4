//! The agent of this very host, in the server's process.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{config::Settings, start::Server};

/// Variables of the agent, which `argosyd` leaves to it.
pub const AGENT_KEYS: &[&str] = &[];

type Failure = Box<dyn std::error::Error>;

/// Starts the local agent.
pub async fn start(
    _server: &Server,
    _settings: &Settings,
    shutdown: CancellationToken,
) -> Result<JoinHandle<()>, Failure> {
    Ok(tokio::spawn(async move { shutdown.cancelled().await }))
}

/// The agent alone.
pub async fn run_agent_alone(_shutdown: CancellationToken) -> Result<(), Failure> {
    Err("not there yet".into())
}
