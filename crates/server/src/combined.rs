//! The agent of this very host, in the server's process; and the agent alone.
//!
//! The local agent is an agent like any other: it enrols, proves its key and keeps a stream over
//! loopback. It is approved by one token that lives in memory only. *Invariant:* whoever holds the
//! server holds this agent, so its policy stays read-only unless the host's owner says otherwise.

use std::{net::SocketAddr, path::Path, sync::Arc};

use argosy_agent::{
    backoff::Backoff,
    config::AgentSettings,
    credentials::{Credentials, SecretText},
    error::AgentError,
    forget::forget_registration,
    run::{Deps, Ended, chain, run},
};
use argosy_config::{
    host::{OsEntropy, SystemClock},
    load::{Settings as Loadable, load},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Settings, Tls},
    start::Server,
};

/// Variables of the agent, which `argosyd` leaves to it.
pub const AGENT_KEYS: &[&str] = AgentSettings::KEYS;

/// Anything that keeps the agent from starting.
type Failure = Box<dyn std::error::Error>;

fn agent_settings() -> Result<AgentSettings, Failure> {
    Ok(load::<AgentSettings>(None, std::env::vars(), &[], Settings::KEYS)?.settings)
}

fn deps() -> Deps {
    Deps { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) }
}

/// The address at which this host reaches its own server.
pub fn local_origin(tls: Tls, listening: SocketAddr) -> String {
    let scheme = tls.scheme();
    if listening.ip().is_unspecified() {
        format!("{scheme}://127.0.0.1:{}", listening.port())
    } else {
        format!("{scheme}://{listening}")
    }
}

/// Whether the local agent is enrolled with this very server. A registration with another one, or under
/// an identity from which nothing leads to the present one, is forgotten: the database was replaced or
/// its keys were reset, and nobody else can be asked about it.
fn is_enrolled(server: &Server, state_dir: &Path) -> Result<bool, Failure> {
    let Ok(Credentials::Registered(registered)) = Credentials::peek(state_dir) else {
        return Ok(false);
    };
    if server.app().keyring().answers_to(registered.server().thumbprint()) {
        return Ok(true);
    }
    tracing::warn!(
        agent = %registered.agent_id,
        "the local agent was enrolled with another database or under keys that are gone: it enrols anew"
    );
    forget_registration(state_dir)?;
    Ok(false)
}

/// Starts the local agent; the handle answers when it has ended.
pub async fn start(
    server: &Server,
    settings: &Settings,
    shutdown: CancellationToken,
) -> Result<JoinHandle<()>, Failure> {
    let state_dir = settings.data_dir.join("agent");
    let enrolled = is_enrolled(server, &state_dir)?;
    let token = if enrolled { None } else { Some(server.app().mint_local_token().await?) };
    // A certificate from elsewhere names the public address, not loopback.
    let local_url = match settings.tls {
        Tls::Off | Tls::Own => local_origin(settings.tls, server.address()),
        Tls::Files => settings.public_urls(server.address()).swap_remove(0),
    };
    let local = AgentSettings {
        server_url: Some(local_url),
        bootstrap_token: token.map(SecretText::new),
        api_key: None,
        key_delivery: "direct".to_owned(),
        server_pin: None,
        state_dir: Some(state_dir),
        // What goes to an address of this very host does not leave it.
        allow_insecure_transport: true,
        // The memory of this process is the server's.
        memory_max_mib: 0,
        ..agent_settings()?
    };
    Ok(tokio::spawn(keep(local, shutdown)))
}

/// Runs an agent whatever happens to it: there is no service manager for this one.
async fn keep(settings: AgentSettings, shutdown: CancellationToken) {
    let mut backoff = Backoff::new(deps().entropy);
    while let Err(error) = Box::pin(run_again(settings.clone(), shutdown.clone())).await {
        let delay = backoff.next_delay();
        let (error, retry_in_s) = (chain(&error), delay.as_secs());
        tracing::error!(error, retry_in_s, "the local agent ended, and is started again");
        if shutdown.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
            return;
        }
    }
}

/// The agent alone: the same code as `argosy-agent run`.
pub async fn run_agent_alone(shutdown: CancellationToken) -> Result<(), Failure> {
    Ok(Box::pin(run_again(agent_settings()?, shutdown)).await?)
}

/// Runs an agent in this process, anew as often as it is commanded to restart.
async fn run_again(settings: AgentSettings, shutdown: CancellationToken) -> Result<(), AgentError> {
    while run(settings.clone(), deps(), shutdown.clone()).await? == Ended::ToRestart {
        tracing::info!("the agent starts anew");
    }
    Ok(())
}
