//! The server about itself: readiness and the fleet at a glance.

use std::{collections::BTreeMap, sync::PoisonError};

use argosy_domain::{
    access::{Caller, Permission},
    time::Timestamp,
};
use argosy_store::StoreError;

use super::{
    App,
    error::AppResult,
    totals::{by_health, by_status},
};

/// How busy the store is, and what it did, for metrics.
pub use argosy_store::{CountersSnapshot, GROUP_BOUNDS, Load};

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

/// The TLS certificate that new connections see.
#[derive(Debug, Clone, Copy)]
pub struct ShownCertificate {
    /// Where it comes from: `files` or `self`.
    pub source: &'static str,
    /// It is good until then.
    pub ends_at: Timestamp,
}

impl App {
    /// The TLS certificate that new connections see; none without TLS.
    pub fn certificate(&self) -> Option<ShownCertificate> {
        *self.inner.certificate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on new connections see this certificate.
    pub fn shows_certificate(&self, shown: Option<ShownCertificate>) {
        *self.inner.certificate.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// The caller's fleet at a glance.
    pub async fn fleet_status(&self, caller: &Caller) -> AppResult<FleetStatus> {
        let org = Self::own_org(caller, Permission::AgentsRead)?;
        let mut reader = self.store().read("status").await?;
        let statuses = reader.agents().counts_in(Some(org)).await?;
        let counts = reader.agents().health_in(Some(org), self.now()).await?;
        Ok(FleetStatus {
            agents: by_status(&statuses),
            health: by_health([counts.healthy, counts.stale, counts.offline]),
            connected: counts.connected,
            commands_open: reader.commands().count_open_in(Some(org)).await?,
            started_at: self.started_at(),
        })
    }

    /// Whether the store answers and is migrated.
    pub async fn store_is_ready(&self) -> Result<bool, StoreError> {
        Ok(self.store().migrations_missing().await? == 0)
    }

    /// The kind of database: `sqlite` or `postgres`.
    pub fn database(&self) -> &'static str {
        self.store().kind()
    }

    /// What the store has counted since the start.
    pub fn store_counters(&self) -> CountersSnapshot {
        self.store().counters()
    }

    /// How busy the store is now.
    pub fn store_load(&self) -> Load {
        self.store().load()
    }
}
