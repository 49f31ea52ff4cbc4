//! Writes `status.json` when something has changed, at most twice a second.

use std::{convert::Infallible, sync::Arc, sync::OnceLock, time::Duration};

use argosy_domain::time::Timestamp;

use super::{Deps, Home};
use crate::{
    engine::Engine,
    host,
    policy_file::{LoadedPolicy, PolicyFile},
    state_dir::StateDir,
    status::{Commands, PolicyInForce, STATUS_FILE, StatusBoard, StatusFile},
};

/// Changes within this span are one.
const GATHER: Duration = Duration::from_millis(500);

/// Writes the file.
pub(super) struct StatusWriter {
    dir: Arc<StateDir>,
    board: Arc<StatusBoard>,
    policy: PolicyFile,
    engine: OnceLock<Engine>,
    started_at: Timestamp,
    deps: Deps,
}

impl StatusWriter {
    pub(super) fn new(home: &Home, policy: PolicyFile, deps: Deps) -> Self {
        let started_at = deps.clock.now();
        let (dir, board) = (Arc::clone(&home.dir), Arc::clone(&home.board));
        Self { dir, board, policy, engine: OnceLock::new(), started_at, deps }
    }

    /// From now on the engine's commands are shown too.
    pub(super) fn observe(&self, engine: Engine) {
        let first = self.engine.set(engine).is_ok();
        debug_assert!(first, "an agent has one engine");
        self.board.touch();
    }

    /// Writes the file whenever something has changed, for ever.
    pub(super) async fn keep(&self) -> Infallible {
        loop {
            self.write().await;
            self.board.changed().await;
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Writes the file now.
    pub(super) async fn write(&self) {
        let commands = self.engine.get().map(|engine| Commands {
            running: engine.running().len(),
            unacknowledged: engine.unacknowledged().len(),
        });
        let mut file = StatusFile {
            version: host::VERSION.to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            updated_at: self.deps.clock.now(),
            live: self.board.live(),
            commands: commands.unwrap_or_default(),
            policy: None,
            subsystems: self.board.subsystems(),
        };
        let (dir, policy) = (Arc::clone(&self.dir), self.policy.clone());
        let written = tokio::task::spawn_blocking(move || {
            file.policy = Some(in_force(&policy.load()));
            let json = serde_json::to_vec_pretty(&file).unwrap_or_default();
            dir.write(STATUS_FILE, &json)
        });
        if let Ok(Err(error)) = written.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "{STATUS_FILE} could not be written");
        }
    }
}

fn in_force(policy: &LoadedPolicy) -> PolicyInForce {
    PolicyInForce {
        sha256: policy.sha256.0.iter().map(|byte| format!("{byte:02x}")).collect(),
        self_owned: policy.self_owned,
        problem: policy.unusable().map(ToString::to_string),
    }
}
