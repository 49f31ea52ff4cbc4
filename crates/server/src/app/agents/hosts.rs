//! What happens to hosts over their life: re-imaged, moved, replaced, cloned, restored.
//!
//! *Invariant:* the server picks no winner by itself. It notes from where an identity was seen, and
//! an operator decides.

use argosy_domain::{
    access::{Caller, Permission, Target},
    agent::{Agent, AgentStatus},
    audit::AuditAction,
    id::AgentId,
    review::{Appearance, Review, ReviewReason, machine_digest},
};
use argosy_store::Tx;
use serde_json::json;

use super::AgentSnapshot;
use crate::app::{
    App, Origin,
    error::{AppError, AppResult},
    streams::CloseReason,
};

/// A replacement as it is asked for.
#[derive(Debug, Clone)]
pub struct Replacement<'a> {
    /// The agent that takes over.
    pub successor: &'a str,
    /// For the record.
    pub reason: Option<&'a str>,
}

/// The agent's machine as it enrolled.
fn enrolled_machine(agent: &Agent) -> Option<&str> {
    agent.identity.as_ref().and_then(|identity| identity.machine_id.as_deref())
}

impl App {
    /// From where an agent speaks now.
    pub(crate) fn appearance(
        &self,
        origin: &Origin,
        machine_id: Option<&str>,
        version: Option<&str>,
    ) -> Appearance {
        Appearance {
            source: origin.source.map(|source| source.to_string()),
            machine_id: machine_id.map(str::to_owned),
            version: version.map(str::to_owned),
            at: self.now(),
        }
    }

    /// Notes what an operator should look at, beside the origin that was known before.
    pub(crate) async fn flag_review(
        &self,
        tx: &mut Tx,
        agent: &Agent,
        reason: ReviewReason,
        seen: Appearance,
    ) -> AppResult<()> {
        // As it stands in this transaction: what is in memory does not know its last origin.
        let Some(agent) = tx.agents().find(&agent.id).await? else { return Ok(()) };
        let known = agent.last_origin.clone().unwrap_or_else(|| Appearance {
            source: agent.source.clone(),
            machine_id: enrolled_machine(&agent).map(str::to_owned),
            version: agent.version.clone(),
            at: agent.registered_at,
        });
        let review = Review::of(agent.review.clone(), reason, Some(known), seen);
        tx.agents().save_review(&agent.id, Some(&review)).await?;
        Ok(())
    }

    /// Binds an agent to the machine that last showed its identity in a signed handshake. `machine` is
    /// that machine's digest, as the operator saw it; refused if another one was seen since.
    pub async fn rebind_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        machine: Option<&str>,
        reason: Option<&str>,
    ) -> AppResult<AgentSnapshot> {
        let org = Self::own_org(caller, Permission::AgentsApprove)?;
        let closure = self.closure(caller, reason)?;
        let mut tx = self.store().write("agents.rebind").await?;
        let agent = self.agent_to_change(&mut tx, org, origin, id).await?;
        let target = Target { org: &agent.org, agent: Some(&agent.id) };
        Self::authorize(caller, Permission::AgentsApprove, target, "agent")?;
        match agent.state.status() {
            AgentStatus::Approved | AgentStatus::Quarantined => {}
            AgentStatus::Pending
            | AgentStatus::Rejected
            | AgentStatus::Expired
            | AgentStatus::Cancelled
            | AgentStatus::Revoked => {
                return Err(AppError::wrong_state("only an approved agent can be rebound"));
            }
        }
        let enrolled = enrolled_machine(&agent);
        let newest = agent
            .review
            .as_ref()
            .and_then(|review| review.origins.iter().rev().find_map(Appearance::signed_machine));
        let Some(shown) = newest.filter(|shown| Some(*shown) != enrolled && enrolled.is_some())
        else {
            return Err(AppError::wrong_state("no other machine has shown this agent's identity"));
        };
        if machine.is_some_and(|machine| machine != machine_digest(shown)) {
            return Err(AppError::wrong_state(
                "another machine has shown itself since: look again",
            ));
        }
        tx.agents().save_machine(&agent.id, shown).await?;
        tx.agents().save_review(&agent.id, None).await?;
        // The sessions of the earlier machine end: it is not this agent any more.
        tx.sessions().end_of_agent(&agent.org, &agent.id, self.now()).await?;
        tx.agents().bump_epoch(&agent.id).await?;
        let detail = json!({
            "reason": closure.reason, "from": enrolled.map(machine_digest),
            "to": machine_digest(shown),
        });
        let what = (AuditAction::AgentRebound, detail);
        self.record_agent(&mut tx, caller, origin, &agent, what).await?;
        tx.commit().await?;
        self.hub().close(id, CloseReason::SessionEnded);
        self.show_decided(caller, id).await
    }

    /// A new agent takes over from an earlier one, which is revoked and fenced off by an epoch.
    pub async fn replace_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        replacement: &Replacement<'_>,
    ) -> AppResult<AgentSnapshot> {
        let org = Self::own_org(caller, Permission::AgentsRevoke)?;
        let mut closure = self.closure(caller, replacement.reason)?;
        let unknown = || AppError::field("agent_id", "is no agent of this organisation");
        let successor: AgentId = replacement.successor.parse().map_err(|_| unknown())?;
        if successor == *id {
            return Err(AppError::field("agent_id", "must be another agent"));
        }
        let mut tx = self.store().write("agents.replace").await?;
        let mut agent = self.agent_to_change(&mut tx, org, origin, id).await?;
        let target = Target { org: &agent.org, agent: Some(&agent.id) };
        Self::authorize(caller, Permission::AgentsRevoke, target, "agent")?;
        let next = tx.agents().get(org, &successor).await?.ok_or_else(unknown)?;
        if next.state.status() != AgentStatus::Approved {
            return Err(AppError::wrong_state("the agent that takes over must be approved first"));
        }
        let given = closure.reason.clone();
        closure.reason = Some(given.unwrap_or_else(|| format!("replaced by {}", next.name)));
        let detail =
            json!({ "reason": closure.reason, "successor": successor, "name": agent.name });
        let state = agent.state.clone().revoke(closure).map_err(AppError::wrong_state)?;
        self.change_state(&mut tx, &mut agent, state).await?;
        self.end_credentials(&mut tx, &agent).await?;
        tx.agents().save_review(&agent.id, None).await?;
        let (epoch, now) = (agent.epoch + 1, self.now());
        tx.agents().save_replacement(&agent, &successor, epoch, now).await?;
        let what = (AuditAction::AgentReplaced, detail);
        self.record_agent(&mut tx, caller, origin, &agent, what).await?;
        tx.commit().await?;
        self.hub().close(id, CloseReason::Revoked);
        self.show_decided(caller, id).await
    }
}
