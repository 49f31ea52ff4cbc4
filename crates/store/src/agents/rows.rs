//! An agent as a row and back. A row whose columns do not add up to a state is corrupt.

use argosy_domain::{
    agent::{Agent, AgentIdentity, AgentState, AgentStatus, Approval, Closure, Decider},
    review::KeyDelivery,
    time::Timestamp,
};

use super::AgentView;
use crate::{conn::Query, error::StoreError, value::Row};

/// A state spread over its columns.
pub(super) struct StateColumns<'a> {
    status: AgentStatus,
    at: Timestamp,
    closure: Option<&'a Closure>,
    approval: Option<&'a Approval>,
}

impl<'a> StateColumns<'a> {
    pub(super) fn of(state: &'a AgentState) -> Self {
        let (at, closure) = match state {
            AgentState::Pending { since } => (*since, None),
            AgentState::Approved(approval) => (approval.at, None),
            AgentState::Quarantined { closure, .. }
            | AgentState::Rejected(closure)
            | AgentState::Revoked(closure) => (closure.at, Some(closure)),
            AgentState::Expired { at } | AgentState::Cancelled { at } => (*at, None),
        };
        Self { status: state.status(), at, closure, approval: state.approval() }
    }

    /// Binds status, `status_at`, `status_by`, `status_reason`, `approved_by`, `approved_at` and
    /// `approved_fingerprint`.
    pub(super) fn bind<'c>(&self, query: Query<'c>) -> Query<'c> {
        let fingerprint = self.approval.and_then(|a| a.fingerprint).map(|f| f.to_string());
        query
            .bind(self.status.as_str())
            .bind(self.at)
            .bind(self.closure.map(|closure| closure.by.0.as_str()))
            .bind(self.closure.and_then(|closure| closure.reason.as_deref()))
            .bind(self.approval.map(|approval| approval.by.0.as_str()))
            .bind(self.approval.map(|approval| approval.at))
            .bind(fingerprint.as_deref())
    }
}

fn approval(row: &Row) -> Result<Approval, StoreError> {
    Ok(Approval {
        by: Decider(row.get("approved_by")?),
        at: row.get("approved_at")?,
        fingerprint: row.optional("approved_fingerprint")?,
    })
}

fn closure(row: &Row) -> Result<Closure, StoreError> {
    Ok(Closure {
        by: Decider(row.get("status_by")?),
        at: row.get("status_at")?,
        reason: row.optional("status_reason")?,
    })
}

fn state(row: &Row) -> Result<AgentState, StoreError> {
    Ok(match row.parsed("status", AgentStatus::parse)? {
        AgentStatus::Pending => AgentState::Pending { since: row.get("status_at")? },
        AgentStatus::Approved => AgentState::Approved(approval(row)?),
        AgentStatus::Quarantined => {
            AgentState::Quarantined { approval: approval(row)?, closure: closure(row)? }
        }
        AgentStatus::Rejected => AgentState::Rejected(closure(row)?),
        AgentStatus::Expired => AgentState::Expired { at: row.get("status_at")? },
        AgentStatus::Cancelled => AgentState::Cancelled { at: row.get("status_at")? },
        AgentStatus::Revoked => AgentState::Revoked(closure(row)?),
    })
}

fn identity(row: &Row) -> Result<Option<AgentIdentity>, StoreError> {
    let Some(identity_key) = row.optional("identity_key")? else {
        return Ok(None);
    };
    Ok(Some(AgentIdentity {
        identity_key,
        encryption_key: row.get("encryption_key")?,
        fingerprint: row.get("fingerprint")?,
        statement_sha256: row.get("statement_sha256")?,
        machine_id: row.optional("machine_id")?,
    }))
}

pub(crate) fn agent(row: &Row) -> Result<Agent, StoreError> {
    Ok(Agent {
        id: row.get("id")?,
        org: row.get("org_id")?,
        account: row.get("account_id")?,
        name: row.get("name")?,
        state: state(row)?,
        identity: identity(row)?,
        version: row.optional("version")?,
        platform: row.optional("platform")?,
        hostname: row.optional("hostname")?,
        labels: row.get("labels")?,
        token: row.optional("token_id")?,
        source: row.optional("source")?,
        registered_at: row.get("registered_at")?,
        epoch: row.get("epoch")?,
        key_delivery: match row.optional::<String>("key_delivery")? {
            None => KeyDelivery::Direct,
            Some(text) => KeyDelivery::parse(&text).ok_or_else(|| row.corrupt("key_delivery"))?,
        },
        last_origin: row.optional("last_origin")?,
        review: row.optional("review")?,
    })
}

pub(super) fn agent_view(row: &Row) -> Result<AgentView, StoreError> {
    Ok(AgentView {
        agent: agent(row)?,
        last_seen: row.optional("last_seen")?,
        connected: row.optional("connected")?.unwrap_or(false),
        called: row.optional("called")?,
        replaced_by: row.optional("successor_id")?,
    })
}
