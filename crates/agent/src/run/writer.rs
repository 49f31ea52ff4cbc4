//! Writes `status.json` when something has changed, at most twice a second.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use argosy_domain::time::Timestamp;

use super::{Deps, Home};
use crate::{
    engine::Engine,
    host,
    policy_file::{LoadedPolicy, PolicyFile},
    spool::Spool,
    state_dir::{StateDir, StateDirError},
    status::{Commands, PolicyInForce, STATUS_FILE, StatusBoard, StatusFile, Waiting},
};

/// Changes within this span are one.
const GATHER: Duration = Duration::from_millis(500);

/// Writes the file. Clones share one.
#[derive(Clone)]
pub(super) struct StatusWriter {
    shared: Arc<Shared>,
}

struct Shared {
    dir: Arc<StateDir>,
    board: Arc<StatusBoard>,
    policy: PolicyFile,
    observed: OnceLock<(Engine, Arc<Spool>)>,
    started_at: Timestamp,
    deps: Deps,
    /// Held while the file is made and written, so that the last one is the latest.
    writing: Mutex<()>,
}

impl StatusWriter {
    pub(super) fn new(home: &Home, policy: PolicyFile, deps: Deps) -> Self {
        let shared = Shared {
            dir: Arc::clone(&home.dir),
            board: Arc::clone(&home.board),
            policy,
            observed: OnceLock::new(),
            started_at: deps.clock.now(),
            deps,
            writing: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// From now on the engine's commands are shown too, and what waits in the spool.
    pub(super) fn observe(&self, engine: Engine, spool: Arc<Spool>) {
        let first = self.shared.observed.set((engine, spool)).is_ok();
        debug_assert!(first, "an agent has one engine");
        self.shared.board.touch();
    }

    /// Writes the file whenever something has changed, for ever.
    pub(super) async fn keep(&self) -> Infallible {
        loop {
            self.write().await;
            self.shared.board.changed().await;
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Writes the file now.
    pub(super) async fn write(&self) {
        let shared = Arc::clone(&self.shared);
        let written = tokio::task::spawn_blocking(move || shared.write());
        if let Ok(Err(error)) = written.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "{STATUS_FILE} could not be written");
        }
    }
}

impl Shared {
    fn write(&self) -> Result<(), StateDirError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let observed = self.observed.get();
        let commands = observed.map(|(engine, _)| Commands {
            running: engine.running().len(),
            unacknowledged: engine.unacknowledged().len(),
        });
        let spool = observed.map(|(_, spool)| {
            let (entries, bytes) = spool.waiting();
            Waiting { entries, bytes }
        });
        let file = StatusFile {
            version: host::VERSION.to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            updated_at: self.deps.clock.now(),
            live: self.board.live(),
            commands: commands.unwrap_or_default(),
            spool: spool.unwrap_or_default(),
            policy: Some(in_force(&self.policy.load())),
            subsystems: self.board.subsystems(),
        };
        self.dir.write(STATUS_FILE, &serde_json::to_vec_pretty(&file).unwrap_or_default())
    }
}

fn in_force(policy: &LoadedPolicy) -> PolicyInForce {
    PolicyInForce {
        sha256: policy.sha256.hex(),
        self_owned: policy.self_owned,
        problem: policy.unusable().map(ToString::to_string),
    }
}
