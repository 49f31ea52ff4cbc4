//! Commands that concern the agent itself (a restart, a new identity key, a configuration), and those
//! that others on this host carry out.
//!
//! *Invariant:* what such a command does is marked on disk with the command's id before it happens,
//! so that it is looked for after a crash and never done twice.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use argosy_config::failpoint::failpoint;
use argosy_domain::{
    command::{CommandKind, CommandParams},
    configuration::Generation,
    id::CommandId,
};
use argosy_wire::bytes::Bytes32;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    blocking::blocking,
    configuration::{Configurator, NotTaken},
    discovery::{Discoverer, RUN_TIMEOUT},
    engine::{CommandRunner, Probed, RunOutcome},
    key_rotation,
    keys::Keys,
    packages::{
        Request,
        client::{INSTALL_TIMEOUT, PackageHelper},
    },
    scheduler::SubsystemRunner,
    state_dir::{StateDir, StateDirError},
};

/// Says which commands restarted the agent.
const RESTART_FILE: &str = "restart.json";
/// Restarts that are remembered: more than can wait for their results at once.
const RESTARTS_KEPT: usize = 64;
/// Says which command asked for a new identity key, and what the key was before.
const ROTATION_FILE: &str = "rotate-command.json";
/// How often a rotation that was asked for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a rotation may take: the server may be away for a moment.
const ROTATION_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the process may take to leave.
const RESTART_TIMEOUT: Duration = Duration::from_secs(60);
/// What a configuration may take.
const CONFIGURE_TIMEOUT: Duration = Duration::from_secs(60);

/// The mark of a command on this host.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    command_id: CommandId,
    /// The identity key when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity_key: Option<Bytes32>,
}

/// Commands that restarted the agent, the newest last. Several that run at once are served by one restart.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Restarts {
    command_ids: Vec<CommandId>,
}

/// Carries out every kind of command.
#[derive(Clone)]
pub struct AgentRunner {
    /// Those that run subsystems.
    pub subsystems: SubsystemRunner,
    /// Where marks are kept.
    pub dir: Arc<StateDir>,
    /// The agent's keys.
    pub keys: Arc<Keys>,
    /// Reads clouds.
    pub discoverer: Arc<Discoverer>,
    /// Takes configurations.
    pub configurator: Arc<Configurator>,
    /// Who installs packages.
    pub packages: Arc<PackageHelper>,
    /// Ends the agent, which is then started again.
    pub restart: CancellationToken,
    /// Held while a mark is written: commands run side by side.
    pub marking: Arc<Mutex<()>>,
}

impl AgentRunner {
    fn mark(&self, file: &str) -> Option<Mark> {
        serde_json::from_slice(&self.dir.read(file).ok()??).ok()
    }

    fn put(&self, file: &str, mark: &impl Serialize) -> Result<(), StateDirError> {
        // Plain values always serialise.
        self.dir.write(file, &serde_json::to_vec(mark).unwrap_or_default())
    }

    fn restarts(&self) -> Restarts {
        let text = self.dir.read(RESTART_FILE).ok().flatten();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn mark_restart(&self, id: CommandId) -> Result<(), StateDirError> {
        let _alone = self.marking.lock().unwrap_or_else(PoisonError::into_inner);
        let Restarts { mut command_ids } = self.restarts();
        command_ids.push(id);
        let old = command_ids.len().saturating_sub(RESTARTS_KEPT);
        command_ids.drain(..old);
        self.put(RESTART_FILE, &Restarts { command_ids })
    }

    async fn restart(&self, id: &CommandId) -> RunOutcome {
        let part = Arc::new(self.clone());
        let marked = {
            let id = id.clone();
            blocking(&part, move |part| part.mark_restart(id)).await
        };
        if let Err(error) = marked {
            return failed("state_dir", &error);
        }
        failpoint("restart", "marked");
        tracing::info!(command = %id, "restarting, as commanded");
        self.restart.cancel();
        // The process goes on in its next life.
        std::future::pending().await
    }

    async fn rotate_key(&self, id: &CommandId) -> RunOutcome {
        let part = Arc::new(self.clone());
        let asked = {
            let id = id.clone();
            blocking(&part, move |part| part.ask_for_key(id)).await
        };
        let before = match asked {
            Ok(before) => before,
            Err(error) => return failed("state_dir", &error),
        };
        loop {
            let dir = Arc::clone(&self.dir);
            let waits = blocking(&dir, key_rotation::is_asked_in).await;
            if !waits && self.keys.next_identity().is_none() {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let now = self.keys.identity_public();
        if now == before {
            let error = "the server refused the new key; nothing was changed".to_owned();
            return RunOutcome::Failed { code: "refused", error };
        }
        let report = format!("{{\"identity_key\":\"{now}\"}}").into_bytes();
        RunOutcome::Succeeded { report }
    }

    /// Asks once for each command; answers the key before.
    fn ask_for_key(&self, id: CommandId) -> Result<Bytes32, StateDirError> {
        let _alone = self.marking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Mark { command_id, identity_key: Some(before) }) = self.mark(ROTATION_FILE)
            && command_id == id
        {
            return Ok(before);
        }
        let before = self.keys.identity_public();
        key_rotation::ask_in(&self.dir)?;
        failpoint("rotate_command", "asked");
        self.put(ROTATION_FILE, &Mark { command_id: id, identity_key: Some(before) })?;
        failpoint("rotate_command", "marked");
        Ok(before)
    }

    /// Has packages installed, by whoever may. What was begun before is asked for, not repeated.
    async fn install(&self, request: Option<Request>) -> RunOutcome {
        let Some(Request { order, params }) = request else {
            let error = "the command as it was signed was not kept".to_owned();
            return RunOutcome::Failed { code: "interrupted", error };
        };
        failpoint("install", "asking");
        let answer = self.packages.ask(order, params).await;
        failpoint("install", "answered");
        answer.into()
    }

    async fn configure(&self, generation: Generation, document: Vec<u8>) -> RunOutcome {
        let part = Arc::clone(&self.configurator);
        match blocking(&part, move |part| part.apply(generation, &document)).await {
            // It, or a newer one, is in force: that is what was asked for.
            Ok(()) | Err(NotTaken::Stale { .. }) => {
                let held = self.configurator.held();
                RunOutcome::Succeeded { report: format!("{{\"generation\":{held}}}").into_bytes() }
            }
            Err(error @ NotTaken::Invalid(_)) => failed("invalid_configuration", &error),
            Err(error @ NotTaken::StateDir(_)) => failed("state_dir", &error),
        }
    }
}

fn failed(code: &'static str, error: &dyn std::error::Error) -> RunOutcome {
    RunOutcome::Failed { code, error: error.to_string() }
}

impl CommandRunner for AgentRunner {
    fn run<'a>(
        &'a self,
        id: &'a CommandId,
        params: CommandParams,
        request: Option<Request>,
    ) -> BoxFuture<'a, RunOutcome> {
        Box::pin(async move {
            match params {
                CommandParams::SubsystemRun { subsystem } => self.subsystems.run(subsystem).await,
                CommandParams::DiscoverySync => self.discoverer.command().await,
                CommandParams::AgentRestart => self.restart(id).await,
                CommandParams::KeyRotate => self.rotate_key(id).await,
                CommandParams::ConfigApply { generation, document } => {
                    self.configure(generation, document).await
                }
                CommandParams::UpdatesInstall { .. } => self.install(request).await,
            }
        })
    }

    fn timeout(&self, params: &CommandParams) -> Duration {
        match params {
            CommandParams::SubsystemRun { subsystem } => self.subsystems.timeout(*subsystem),
            CommandParams::DiscoverySync => RUN_TIMEOUT,
            CommandParams::AgentRestart => RESTART_TIMEOUT,
            CommandParams::KeyRotate => ROTATION_TIMEOUT,
            CommandParams::ConfigApply { .. } => CONFIGURE_TIMEOUT,
            CommandParams::UpdatesInstall { .. } => INSTALL_TIMEOUT,
        }
    }

    fn probe(&self, id: &CommandId, kind: CommandKind) -> Probed {
        if kind == CommandKind::UpdatesInstall {
            // Its mark is the helper's: asked again, it tells what came of it and begins nothing twice.
            return Probed::Again;
        }
        if self.restarts().command_ids.contains(id) {
            let report = b"{\"restarted\":true}".to_vec();
            Probed::Ended(RunOutcome::Succeeded { report })
        } else if self.mark(ROTATION_FILE).is_some_and(|mark| mark.command_id == *id) {
            Probed::Again
        } else {
            Probed::Unknown
        }
    }
}
