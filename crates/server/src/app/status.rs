//! The server about itself: readiness and the fleet at a glance.

use std::collections::BTreeMap;

use argosy_domain::{
    access::{Caller, Permission},
    agent::{AgentStatus, Health},
    time::Timestamp,
};
use argosy_store::{CountersSnapshot, StoreError};

use super::{App, error::AppResult};

/// The fleet at a glance.
#[derive(Debug, Clone)]
pub struct FleetStatus {
    /// Agents by status.
    pub agents: BTreeMap<&'static str, u64>,
    /// Approved agents by health.
    pub health: BTreeMap<&'static str, u64>,
    /// Agents with an open stream.
    pub connected: u64,
    /// Commands that have not ended.
    pub commands_open: u64,
    /// When the server started.
    pub started_at: Timestamp,
}

impl App {
    /// The caller's fleet at a glance.
    pub async fn fleet_status(&self, caller: &Caller) -> AppResult<FleetStatus> {
        let org = Self::own_org(caller, Permission::AgentsRead)?;
        let mut reader = self.store().read("status").await?;
        let by_status = reader.agents().counts_in(org).await?;
        let agents = AgentStatus::ALL
            .into_iter()
            .map(|status| {
                let count = by_status.iter().find(|(known, _)| *known == status);
                (status.as_str(), count.map_or(0, |(_, count)| *count))
            })
            .collect();
        let counts = reader.agents().health_in(org, self.now()).await?;
        let health = [Health::Healthy, Health::Stale, Health::Offline]
            .into_iter()
            .zip([counts.healthy, counts.stale, counts.offline])
            .map(|(health, count)| (health.as_str(), count))
            .collect();
        Ok(FleetStatus {
            agents,
            health,
            connected: counts.connected,
            commands_open: reader.commands().count_open_in(org).await?,
            started_at: self.started_at(),
        })
    }

    /// Whether the store answers and is migrated.
    pub async fn store_is_ready(&self) -> Result<bool, StoreError> {
        let status = self.store().migration_status().await?;
        Ok(status.iter().all(|migration| migration.applied))
    }

    /// The kind of database: `sqlite` or `postgres`.
    pub fn database(&self) -> &'static str {
        self.store().kind()
    }

    /// What the store has counted since the start.
    pub fn store_counters(&self) -> CountersSnapshot {
        self.store().counters()
    }
}
