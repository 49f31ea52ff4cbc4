//! Registrations that nobody answers end by themselves.

use std::time::Duration;

use argosy_domain::{
    agent::{Agent, AgentStatus},
    audit::AuditAction,
    limits::REGISTRATION_LIFE,
    time::Timestamp,
};
use argosy_store::Tx;
use serde_json::json;

use crate::app::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
};

impl App {
    /// Ends registrations that nobody answered in time. Returns how many.
    pub async fn expire_registrations(&self) -> AppResult<usize> {
        let now = self.now();
        let before = now.minus(REGISTRATION_LIFE);
        let pending = {
            let mut reader = self.store().read("agents.expire").await?;
            reader.agents().pending_registered_before(before).await?
        };
        let mut expired = 0;
        for agent in pending {
            let mut tx = self.store().write("agents.expire").await?;
            if self.expire_one(&mut tx, agent).await? {
                expired += 1;
            }
            tx.commit().await?;
        }
        Ok(expired)
    }

    /// Ends one registration inside a transaction.
    pub(crate) async fn expire_one(&self, tx: &mut Tx, mut agent: Agent) -> AppResult<bool> {
        let now = self.now();
        agent.state = agent.state.expire(now).map_err(AppError::wrong_state)?;
        if !tx.agents().save_state(&agent, AgentStatus::Pending).await? {
            return Ok(false);
        }
        tx.api_keys().void_of_agent(&agent.id, now).await?;
        let event = Event {
            action: AuditAction::AgentExpired,
            org: &agent.org,
            target: Some(format!("agent:{}", agent.id)),
            detail: json!({ "name": agent.name }),
        };
        self.record(tx, "server", &Origin::default(), event).await?;
        Ok(true)
    }
}

/// Whether a registration has waited too long at `now`.
pub(crate) fn is_overdue(agent: &Agent, now: Timestamp) -> bool {
    let waited: Duration = now.since(agent.registered_at);
    agent.state.status() == AgentStatus::Pending && waited >= REGISTRATION_LIFE
}
