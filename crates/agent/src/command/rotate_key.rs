//! `argosy-agent rotate-key`: a new identity key, by the agent that runs or by this process.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use argosy_wire::bytes::Bytes32;

use super::say;
use crate::{
    config::{AgentConfig, AgentSettings},
    credentials::{Credentials, Registered},
    deps::Deps,
    error::AgentError,
    host,
    key_rotation::{Rotation, ask, is_asked},
    keys::Keys,
    run::{Home, link_of},
    session::{Applicant, Place, handshake},
    state_dir::{StateDir, StateDirError},
    transport::Prover,
};

/// How long a running agent is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(500);

pub(super) async fn rotate_key(
    settings: AgentSettings,
    deps: Deps,
) -> Result<ExitCode, AgentError> {
    let config = settings.check()?;
    match Home::open(&config, &deps) {
        Ok(home) => alone(&config, &home, deps).await,
        Err(AgentError::StateDir(StateDirError::Held { .. })) => {
            by_the_running(&config.state_dir, &deps).await
        }
        Err(error) => Err(error),
    }
}

/// Asks the agent that runs, and waits until it has done so.
async fn by_the_running(state_dir: &Path, deps: &Deps) -> Result<ExitCode, AgentError> {
    let before = Keys::peek_identity(state_dir)?;
    ask(state_dir)?;
    say("The agent that runs was asked for a new identity key.");
    let until = deps.clock.since_boot() + PATIENCE;
    while deps.clock.since_boot() < until {
        if !is_asked(state_dir)? {
            let replaced = Keys::peek_identity(state_dir)? != before;
            say(if replaced {
                "It has one, and the server knows it."
            } else {
                "The server refused it; the agent's log says why. Nothing was changed."
            });
            return Ok(if replaced { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        tokio::time::sleep(EVERY).await;
    }
    say(
        "It has none yet: it will, once it has a session with the server. See `argosy-agent status`.",
    );
    Ok(ExitCode::SUCCESS)
}

/// Nobody runs: this process does it.
async fn alone(config: &AgentConfig, home: &Home, deps: Deps) -> Result<ExitCode, AgentError> {
    let Credentials::Registered(registered) = Credentials::load(&home.dir)? else {
        return Err(AgentError::NotRegistered);
    };
    let link = link_of(config, &registered)?;
    let machine_id = registered.machine_id.and(host::machine_id(&registered.server_thumbprint));
    let rotation = Rotation {
        prover: Arc::new(Prover::new(Arc::clone(&home.keys), deps.clone(), machine_id)),
        link,
        keys: Arc::clone(&home.keys),
        dir: Arc::clone(&home.dir),
        deps: deps.clone(),
    };
    let begun = rotation.keys.next_identity().is_some();
    match replace(&rotation, &home.dir, registered, machine_id, deps).await {
        Ok(()) => {}
        // A rotation that a crash cut short: `run` finds out which key the server knows.
        Err(AgentError::Refused(_)) if begun => {
            say(
                "A rotation was begun before. Start the agent: it goes on, or finds that it is over.",
            );
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error),
    }
    say("This agent has a new identity key, and the server knows it.");
    Ok(ExitCode::SUCCESS)
}

async fn replace(
    rotation: &Rotation,
    dir: &Arc<StateDir>,
    registered: Registered,
    machine_id: Option<Bytes32>,
    deps: Deps,
) -> Result<(), AgentError> {
    let place = Place::new(Arc::clone(dir), registered);
    let registered = place.registered();
    let applicant = Applicant { registered: &registered, keys: &rotation.keys, machine_id };
    let opened = handshake(&rotation.link, &applicant, &deps).await.map_err(AgentError::Refused)?;
    place.continued(opened.continuation, &opened.server).await?;
    rotation.prover.learn(&opened.dpop_nonce);
    let registered = place.registered();
    rotation
        .replace(&registered, &opened.session, opened.server_time)
        .await
        .map_err(AgentError::Rotation)?;
    rotation.commit().map_err(AgentError::Rotation)
}
