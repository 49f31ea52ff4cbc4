//! The installation in numbers, of all organisations together, for whoever watches the server.
//!
//! *Invariant:* they are counted on a beat of the server's own: whoever asks for them costs the database
//! nothing. Nothing in them tells one tenant of another but how many there are in all.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use argosy_domain::{
    agent::{AgentStatus, Health},
    command::{Command, End},
};

use super::{App, error::AppResult};

/// How often is counted.
pub const COUNT_EVERY: Duration = Duration::from_secs(15);
/// The histogram of the time from a command's order to its end as the agent tells it, in seconds.
pub const COMMAND_SECONDS: &str = "argosy_command_seconds";

/// The installation in numbers.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Agents by status.
    pub agents: BTreeMap<&'static str, u64>,
    /// Approved agents by health.
    pub health: BTreeMap<&'static str, u64>,
    /// Commands that have not ended.
    pub commands_open: u64,
}

/// The last count.
#[derive(Debug, Default)]
pub struct Counted {
    last: RwLock<Arc<Totals>>,
}

impl Counted {
    /// As they were counted last; nothing before the first count.
    pub fn last(&self) -> Arc<Totals> {
        Arc::clone(&self.last.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, totals: Totals) {
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(totals);
    }
}

impl App {
    /// Counts anew. Answers how often it did, for the log of tasks: never.
    pub(crate) async fn count_totals(&self) -> AppResult<u64> {
        let mut reader = self.store().read("totals").await?;
        let agents = reader.agents().counts_in(None).await?;
        let health = reader.agents().health_in(None, self.now()).await?;
        let totals = Totals {
            agents: by_status(&agents),
            health: by_health([health.healthy, health.stale, health.offline]),
            commands_open: reader.commands().count_open_in(None).await?,
        };
        self.totals().set(totals);
        Ok(0)
    }
}

/// Every status, those without agents too.
pub(super) fn by_status(counts: &[(AgentStatus, u64)]) -> BTreeMap<&'static str, u64> {
    let count = |status: AgentStatus| {
        let count = counts.iter().find(|(known, _)| *known == status);
        (status.as_str(), count.map_or(0, |(_, count)| *count))
    };
    AgentStatus::ALL.into_iter().map(count).collect()
}

/// Healthy, stale, offline.
pub(super) fn by_health(counts: [u64; 3]) -> BTreeMap<&'static str, u64> {
    let names = [Health::Healthy, Health::Stale, Health::Offline].map(Health::as_str);
    names.into_iter().zip(counts).collect()
}

/// A command that has ended by its agent's word.
#[derive(Debug)]
pub(super) struct Ended {
    kind: &'static str,
    outcome: &'static str,
    took: Duration,
}

impl Ended {
    /// It ended so.
    pub(super) fn of(command: &Command, end: &End) -> Self {
        let (kind, outcome) = (command.kind.as_str(), end.outcome.as_str());
        Self { kind, outcome, took: end.at.since(command.created_at) }
    }

    /// That is durable.
    pub(super) fn count(&self) {
        let labels = [("kind", self.kind), ("outcome", self.outcome)];
        metrics::histogram!(COMMAND_SECONDS, &labels).record(self.took.as_secs_f64());
    }
}
