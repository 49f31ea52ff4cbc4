//! What an operator decides about an agent: approve, and whatever needs no more than a reason.
//!
//! *Invariant:* the state, the credentials, the commands and the record change in one transaction.

use std::collections::BTreeMap;

use argosy_config::failpoint::failpoint;
use argosy_domain::{
    access::{Caller, Permission, Target},
    agent::{Agent, AgentState, AgentStatus, Approval, Closure, Decider, InvalidTransition},
    audit::AuditAction,
    command::CommandState,
    digest::Fingerprint,
    id::AgentId,
    review::{KeyDelivery, ReviewReason},
    security::SecurityKind,
    text,
};
use argosy_store::Tx;
use argosy_wire::{problem::Code, token::ApiKeyString};
use serde_json::{Value, json};

use super::AgentSnapshot;
use crate::app::{
    App, Origin,
    enrolment::is_overdue,
    error::{AppError, AppResult},
    security::Sighting,
    streams::CloseReason,
};

/// An agent that was just let in.
#[derive(Debug, Clone)]
pub struct ApprovedAgent {
    /// The agent.
    pub snapshot: AgentSnapshot,
    /// Where an operator hands the key over: the only moment at which it can be shown.
    pub api_key: Option<ApiKeyString>,
}

/// A decision that needs a reason at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// Turn away who asks to join.
    Reject,
    /// It may handshake and heartbeat, and gets nothing.
    Quarantine,
    /// End a quarantine, or confirm an agent that is under review as it was.
    Restore,
    /// End its membership for good.
    Revoke,
}

impl Ruling {
    fn permission(self) -> Permission {
        match self {
            Self::Reject => Permission::AgentsApprove,
            Self::Quarantine | Self::Restore => Permission::AgentsQuarantine,
            Self::Revoke => Permission::AgentsRevoke,
        }
    }

    fn op(self) -> &'static str {
        match self {
            Self::Reject => "agents.reject",
            Self::Quarantine => "agents.quarantine",
            Self::Restore => "agents.restore",
            Self::Revoke => "agents.revoke",
        }
    }

    fn action(self) -> AuditAction {
        match self {
            Self::Reject => AuditAction::AgentRejected,
            Self::Quarantine => AuditAction::AgentQuarantined,
            Self::Restore => AuditAction::AgentRestored,
            Self::Revoke => AuditAction::AgentRevoked,
        }
    }

    fn take(self, agent: &Agent, closure: Closure) -> Result<AgentState, InvalidTransition> {
        let state = agent.state.clone();
        match self {
            Self::Reject => state.reject(closure),
            Self::Quarantine => state.quarantine(closure),
            // Under review and not quarantined: there is nothing to end but the review.
            Self::Restore if agent.review.is_some() && state.status() == AgentStatus::Approved => {
                Ok(state)
            }
            Self::Restore => state.restore(),
            Self::Revoke => state.revoke(closure),
        }
    }
}

impl App {
    /// Approves a registration. A fingerprint that is given must be the agent's.
    pub async fn approve_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        fingerprint: Option<&str>,
    ) -> AppResult<ApprovedAgent> {
        let org = Self::own_org(caller, Permission::AgentsApprove)?;
        let compared: Option<Fingerprint> = fingerprint
            .map(|text| text.parse().map_err(|error| AppError::field("fingerprint", error)))
            .transpose()?;
        let mut tx = self.store().write("agents.approve").await?;
        let mut agent = self.agent_to_change(&mut tx, org, origin, id).await?;
        if is_overdue(&agent, self.now()) {
            self.expire_one(&mut tx, agent).await?;
            tx.commit().await?;
            return Err(AppError::wrong_state("the registration has expired: enrol again"));
        }
        let own = agent.identity.as_ref().map(|identity| identity.fingerprint);
        let waits = agent.state.status() == AgentStatus::Pending;
        if waits && compared.is_some() && own != compared {
            let detail = json!({ "compared": compared, "registered": own });
            let (kind, about) = (SecurityKind::FingerprintMismatch, (&agent.org, &agent.id));
            let seen = Sighting::of_agent(kind, about, origin, detail.clone());
            self.record_sighting(&mut tx, seen).await?;
            let what = (AuditAction::FingerprintMismatch, detail);
            self.record_agent(&mut tx, caller, origin, &agent, what).await?;
            tx.commit().await?;
            return Err(AppError::new(Code::FingerprintMismatch));
        }
        let approval =
            Approval { by: Decider(caller.actor()), at: self.now(), fingerprint: compared };
        let state = agent.state.clone().approve(approval).map_err(AppError::wrong_state)?;
        self.change_state(&mut tx, &mut agent, state).await?;
        let api_key = match agent.key_delivery {
            KeyDelivery::Direct => None,
            KeyDelivery::Operator => Some(self.store_agent_key(&mut tx, &agent).await?),
        };
        let detail = json!({
            "fingerprint": compared, "name": agent.name,
            "key_delivery": agent.key_delivery.as_str(),
        });
        let what = (AuditAction::AgentApproved, detail);
        self.record_agent(&mut tx, caller, origin, &agent, what).await?;
        // Read before the commit: nothing that can fail stands between the key and the answer.
        let view = tx.agents().view(org, id).await?.ok_or_else(|| AppError::not_found("agent"))?;
        failpoint("approve", "before_commit");
        tx.commit().await?;
        failpoint("approve", "after_commit");
        Ok(ApprovedAgent { snapshot: self.snapshot(view, BTreeMap::new()), api_key })
    }

    /// Decides about an agent, with a reason for the record.
    pub async fn rule_on_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        ruling: Ruling,
        reason: Option<&str>,
    ) -> AppResult<AgentSnapshot> {
        let org = Self::own_org(caller, ruling.permission())?;
        let closure = self.closure(caller, reason)?;
        let mut detail = json!({ "reason": closure.reason });
        let mut tx = self.store().write(ruling.op()).await?;
        let mut agent = self.agent_to_change(&mut tx, org, origin, id).await?;
        let target = Target { org: &agent.org, agent: Some(&agent.id) };
        Self::authorize(caller, ruling.permission(), target, "agent")?;
        let state = ruling.take(&agent, closure).map_err(AppError::wrong_state)?;
        self.change_state(&mut tx, &mut agent, state).await?;
        match ruling {
            Ruling::Quarantine => {}
            Ruling::Restore => self.end_review(&mut tx, &agent, &mut detail).await?,
            Ruling::Reject | Ruling::Revoke => self.end_credentials(&mut tx, &agent).await?,
        }
        self.record_agent(&mut tx, caller, origin, &agent, (ruling.action(), detail)).await?;
        tx.commit().await?;
        match ruling {
            Ruling::Quarantine => {}
            Ruling::Restore => self.hub().wake(id),
            Ruling::Reject | Ruling::Revoke => self.hub().close(id, CloseReason::Revoked),
        }
        self.show_decided(caller, id).await
    }

    /// The record of a decision that closes something.
    pub(super) fn closure(&self, caller: &Caller, reason: Option<&str>) -> AppResult<Closure> {
        let reason = reason.filter(|reason| !reason.is_empty()).map(text::reason).transpose();
        let reason = reason.map_err(|error| AppError::field("reason", error))?;
        Ok(Closure { by: Decider(caller.actor()), at: self.now(), reason })
    }

    /// Saves a state that was reached from the agent's present one.
    pub(super) async fn change_state(
        &self,
        tx: &mut Tx,
        agent: &mut Agent,
        state: AgentState,
    ) -> AppResult<()> {
        let before = agent.state.status();
        agent.state = state;
        if tx.agents().save_state(agent, before).await? {
            Ok(())
        } else {
            Err(AppError::wrong_state("the agent was changed by somebody else just now"))
        }
    }

    /// The operator stands by the agent as it is known. A downgrade that was under review is
    /// accepted by that.
    async fn end_review(&self, tx: &mut Tx, agent: &Agent, detail: &mut Value) -> AppResult<()> {
        let Some(review) = &agent.review else { return Ok(()) };
        detail["review"] = json!(review.reason.as_str());
        let older = match review.reason {
            ReviewReason::Downgrade => review.newest().and_then(|seen| seen.version.as_deref()),
            ReviewReason::MachineMismatch | ReviewReason::Clone => None,
        };
        if let Some(version) = older {
            detail["version"] = json!(version);
            tx.agents().save_reported(&agent.id, Some(version), None, None).await?;
        }
        tx.agents().save_review(&agent.id, None).await?;
        Ok(())
    }

    /// Voids keys and sessions of an agent that leaves, and ends its commands: nobody is left who
    /// could carry them out or tell what became of them.
    pub(crate) async fn end_credentials(&self, tx: &mut Tx, agent: &Agent) -> AppResult<()> {
        let now = self.now();
        tx.api_keys().void_of_agent(&agent.id, now).await?;
        tx.sessions().end_of_agent(&agent.org, &agent.id, now).await?;
        tx.agents().bump_epoch(&agent.id).await?;
        for command in tx.commands().open_for(&agent.id, u32::MAX).await? {
            let before = command.state.as_str();
            let left = "the agent left the fleet".to_owned();
            let next = match command.state {
                CommandState::Queued => command.state.cancel(now, left),
                state @ (CommandState::Sent { .. }
                | CommandState::Received { .. }
                | CommandState::Running { .. }
                | CommandState::Ended(_)) => state.lose(now, left),
            };
            let next = next.map_err(AppError::wrong_state)?;
            tx.commands().save_state(&command.id, &next, before).await?;
        }
        Ok(())
    }
}
