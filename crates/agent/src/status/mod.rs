//! What a running agent shows of itself: `status.json` in its state directory.
//!
//! The file is replaced whenever something changed, so that `argosy-agent status` works while
//! another process holds the directory.
//!
//! *Invariant:* no token, key or report ever stands in the file.

pub mod report;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use argosy_domain::{
    subsystem::Subsystem,
    time::{Clock, Timestamp},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{scheduler::InventoryOutcome, transport::Channel};

/// Where a running agent shows itself.
pub const STATUS_FILE: &str = "status.json";

/// How the agent and its server stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "detail", rename_all = "snake_case")]
pub enum Connection {
    /// Nothing was tried yet.
    Starting,
    /// No registration was answered yet; why.
    Enrolling(String),
    /// An operator has to approve.
    AwaitingApproval,
    /// There is a session; the stream is being opened.
    Connecting,
    /// The stream is open.
    Connected,
    /// The server hands nothing out until an operator has looked.
    Quarantined,
    /// Something is in the way; what.
    Trouble(String),
    /// The answer is no. The agent goes on asking, seldom.
    Refused {
        /// What the answer said.
        said: String,
        /// What people can do.
        advice: String,
    },
    /// The process ended; why, where it was not asked to.
    Stopped(Option<String>),
}

impl Connection {
    /// For people.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Enrolling(_) => "enrolling",
            Self::AwaitingApproval => "waiting for approval",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Quarantined => "quarantined",
            Self::Trouble(_) => "not connected",
            Self::Refused { .. } => "refused",
            Self::Stopped(_) => "stopped",
        }
    }

    /// What is in the way, where something is.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Enrolling(detail)
            | Self::Trouble(detail)
            | Self::Refused { said: detail, .. }
            | Self::Stopped(Some(detail)) => Some(detail),
            Self::Starting
            | Self::AwaitingApproval
            | Self::Connecting
            | Self::Connected
            | Self::Quarantined
            | Self::Stopped(None) => None,
        }
    }
}

/// What the connection's tasks know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// How things stand.
    pub connection: Connection,
    /// Since when.
    pub since: Timestamp,
    /// The last heartbeat that the server has durably.
    pub last_heartbeat_at: Option<Timestamp>,
    /// When the present session ends.
    pub session_expires_at: Option<Timestamp>,
    /// How it is connected, once it was.
    #[serde(default)]
    pub channel: Option<Channel>,
}

/// Commands in the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// Started and not over.
    pub running: usize,
    /// Over, and the server has not said that it knows.
    pub unacknowledged: usize,
}

/// What waits on disk for the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Batches of telemetry and events.
    pub entries: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// The host's policy as the agent found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInForce {
    /// SHA-256 of the file, in hex as `sha256sum` prints it.
    pub sha256: String,
    /// The agent itself could change the file.
    pub self_owned: bool,
    /// Why the file cannot be used; then everything is refused.
    pub problem: Option<String>,
}

/// One subsystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubsystemState {
    /// Its name.
    pub name: String,
    /// `closed`, `open` or `half_open`.
    pub breaker: String,
    /// When it last ran.
    pub last_run_at: Timestamp,
    /// Why the last run has no report.
    pub last_error: Option<String>,
}

/// The content of `status.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusFile {
    /// Of the program.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// When it was started.
    pub started_at: Timestamp,
    /// When this was written.
    pub updated_at: Timestamp,
    /// The connection.
    #[serde(flatten)]
    pub live: Live,
    /// Commands.
    pub commands: Commands,
    /// Telemetry and events.
    #[serde(default)]
    pub spool: Waiting,
    /// The policy.
    pub policy: Option<PolicyInForce>,
    /// Subsystems.
    pub subsystems: Vec<SubsystemState>,
}

/// Where the tasks of a running agent say how they are.
pub struct StatusBoard {
    clock: Arc<dyn Clock>,
    live: Mutex<Live>,
    subsystems: Mutex<BTreeMap<Subsystem, SubsystemState>>,
    changed: Notify,
}

impl StatusBoard {
    /// A board on which nothing has happened yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let live = Live {
            connection: Connection::Starting,
            since: clock.now(),
            last_heartbeat_at: None,
            session_expires_at: None,
            channel: None,
        };
        Self { clock, live: Mutex::new(live), subsystems: Mutex::default(), changed: Notify::new() }
    }

    /// The connection is like this now. Whether it was otherwise before.
    pub fn connection(&self, connection: Connection) -> bool {
        let mut live = self.lock();
        if live.connection == connection {
            return false;
        }
        if live.connection.as_str() != connection.as_str() {
            live.since = self.clock.now();
        }
        live.connection = connection;
        drop(live);
        self.touch();
        true
    }

    /// It is connected so.
    pub fn channel(&self, channel: Channel) {
        if self.lock().channel.replace(channel) != Some(channel) {
            self.touch();
        }
    }

    /// The server has a heartbeat durably.
    pub fn heartbeat(&self) {
        self.lock().last_heartbeat_at = Some(self.clock.now());
        self.touch();
    }

    /// A session was opened.
    pub fn session(&self, expires_at: Timestamp) {
        self.lock().session_expires_at = Some(expires_at);
        self.touch();
    }

    /// Subsystems have run.
    pub fn outcomes(&self, outcomes: &[InventoryOutcome]) {
        let mut subsystems = self.subsystems.lock().unwrap_or_else(PoisonError::into_inner);
        for outcome in outcomes {
            let state = SubsystemState {
                name: outcome.subsystem.as_str().to_owned(),
                breaker: outcome.breaker.to_owned(),
                last_run_at: outcome.captured_at,
                last_error: outcome.report.as_ref().err().cloned(),
            };
            subsystems.insert(outcome.subsystem, state);
        }
        drop(subsystems);
        self.touch();
    }

    /// What the subsystems' last runs were, as far as they have run.
    pub fn subsystems(&self) -> Vec<SubsystemState> {
        let subsystems = self.subsystems.lock().unwrap_or_else(PoisonError::into_inner);
        subsystems.values().cloned().collect()
    }

    /// Something that the board does not hold itself has changed.
    pub fn touch(&self) {
        self.changed.notify_one();
    }

    /// As it is now.
    pub fn live(&self) -> Live {
        self.lock().clone()
    }

    /// Waits until something has changed since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_config::host::SystemClock;

    #[test]
    fn the_file_is_read_back() {
        let board = StatusBoard::new(Arc::new(SystemClock));
        for connection in [
            Connection::Connected,
            Connection::Trouble("the server cannot be reached".into()),
            Connection::Refused { said: "no".into(), advice: "ask".into() },
            Connection::Stopped(None),
        ] {
            board.connection(connection);
            let file = StatusFile {
                version: "1.0.0".into(),
                pid: 1,
                started_at: SystemClock.now(),
                updated_at: SystemClock.now(),
                live: board.live(),
                commands: Commands::default(),
                spool: Waiting::default(),
                policy: None,
                subsystems: Vec::new(),
            };
            let json = serde_json::to_vec(&file).unwrap();
            assert_eq!(serde_json::from_slice::<StatusFile>(&json).unwrap(), file);
        }
    }

    #[tokio::test]
    async fn only_a_change_is_a_change() {
        let board = StatusBoard::new(Arc::new(SystemClock));
        assert!(board.connection(Connection::Connected));
        board.changed().await;
        assert!(!board.connection(Connection::Connected));
        let since = board.live().since;
        assert!(board.connection(Connection::Trouble("a".into())));
        assert!(board.connection(Connection::Trouble("b".into())));
        assert!(board.live().since >= since);
    }
}
