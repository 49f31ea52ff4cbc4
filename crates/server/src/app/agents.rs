//! Agents as operators see and decide about them.

use std::collections::BTreeMap;

use argosy_domain::{
    access::{Caller, Permission, Target},
    agent::{
        Agent, AgentState, AgentStatus, Approval, Closure, Decider, Health, InvalidTransition,
    },
    audit::AuditAction,
    digest::Fingerprint,
    id::{AccountId, AgentId, OrgId},
    labels::Labels,
    security::SecurityKind,
    text,
};
use argosy_store::{AgentFilter, AgentView, Page, Tx};
use argosy_wire::problem::Code;
use serde_json::{Value, json};

use super::{
    App, Origin,
    audit::Event,
    enrolment::is_overdue,
    error::{AppError, AppResult},
    paging::PageQuery,
    security::Sighting,
    streams::CloseReason,
};

/// An agent with what is known of its presence, at a moment.
#[derive(Debug, Clone)]
pub struct AgentSnapshot {
    /// The stored view.
    pub view: AgentView,
    /// What follows from its last heartbeat.
    pub health: Health,
    /// Subsystem → state of its breaker.
    pub breakers: BTreeMap<String, String>,
}

/// Which agents a list shows.
#[derive(Debug, Clone, Default)]
pub struct AgentQuery {
    /// Such as `pending`.
    pub status: Option<String>,
    /// Such as `healthy`.
    pub health: Option<String>,
    /// Of this account.
    pub account: Option<i64>,
    /// `key=value`.
    pub label: Option<String>,
    /// Part of name, hostname or id.
    pub q: Option<String>,
}

/// A decision about an agent and its record.
struct Step<'a> {
    permission: Permission,
    op: &'static str,
    action: AuditAction,
    detail: Value,
    take: &'a (dyn Fn(AgentState) -> Result<AgentState, InvalidTransition> + Sync),
    ends_credentials: bool,
}

impl App {
    fn filter(&self, query: &AgentQuery) -> AppResult<AgentFilter> {
        let unknown = |field: &'static str| AppError::field(field, "is unknown");
        let status = query
            .status
            .as_deref()
            .map(|text| AgentStatus::parse(text).ok_or_else(|| unknown("status")));
        let health = query
            .health
            .as_deref()
            .map(|text| Health::parse(text).ok_or_else(|| unknown("health")));
        let label = query.label.as_deref().map(|text| {
            let pair = text
                .split_once('=')
                .ok_or_else(|| AppError::field("label", "must be key=value"))?;
            Ok::<_, AppError>((pair.0.to_owned(), pair.1.to_owned()))
        });
        Ok(AgentFilter {
            status: status.transpose()?,
            health: health.transpose()?.map(|health| (health, self.now())),
            account: query.account.map(AccountId),
            label: label.transpose()?,
            q: query.q.clone(),
        })
    }

    fn snapshot(&self, view: AgentView, breakers: BTreeMap<String, String>) -> AgentSnapshot {
        AgentSnapshot { health: Health::at(self.now(), view.last_seen), view, breakers }
    }

    /// The agents of the caller's organisation, newest first.
    pub async fn list_agents(
        &self,
        caller: &Caller,
        query: &AgentQuery,
        page: &PageQuery,
    ) -> AppResult<Page<AgentSnapshot>> {
        let org = Self::own_org(caller, Permission::AgentsRead)?;
        let (filter, request) = (self.filter(query)?, page.request()?);
        let mut reader = self.store().read("agents.list").await?;
        let page = reader.agents().list(org, &filter, &request).await?;
        let ids: Vec<AgentId> = page.items.iter().map(|view| view.agent.id.clone()).collect();
        let mut breakers = reader.subsystems().breakers_of(&ids).await?;
        let items = page
            .items
            .into_iter()
            .map(|view| {
                let breakers = breakers.remove(&view.agent.id).unwrap_or_default();
                self.snapshot(view, breakers)
            })
            .collect();
        Ok(Page { items, next: page.next })
    }

    /// One agent.
    pub async fn show_agent(&self, caller: &Caller, id: &AgentId) -> AppResult<AgentSnapshot> {
        let org = Self::own_org(caller, Permission::AgentsRead)?;
        let mut reader = self.store().read("agents.show").await?;
        let view = reader.agents().view(org, id).await?;
        let view = view.ok_or_else(|| AppError::not_found("agent"))?;
        let breakers = reader.subsystems().breakers_of(std::slice::from_ref(id)).await?;
        Ok(self.snapshot(view, breakers.into_values().next().unwrap_or_default()))
    }

    /// Approves a registration. A fingerprint that is given must be the agent's.
    pub async fn approve_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        fingerprint: Option<&str>,
    ) -> AppResult<AgentSnapshot> {
        let org = Self::own_org(caller, Permission::AgentsApprove)?;
        let compared: Option<Fingerprint> = fingerprint
            .map(|text| text.parse().map_err(|error| AppError::field("fingerprint", error)))
            .transpose()?;
        let mut tx = self.store().write("agents.approve").await?;
        let agent = self.agent_to_change(&mut tx, org, origin, id).await?;
        if is_overdue(&agent, self.now()) {
            self.expire_one(&mut tx, agent).await?;
            tx.commit().await?;
            return Err(AppError::wrong_state("the registration has expired: enrol again"));
        }
        let own = agent.identity.as_ref().map(|identity| identity.fingerprint);
        if let Some(compared) = compared
            && own != Some(compared)
            && agent.state.status() == AgentStatus::Pending
        {
            let action = AuditAction::FingerprintMismatch;
            let detail = json!({ "compared": compared, "registered": own });
            let (kind, about) = (SecurityKind::FingerprintMismatch, (&agent.org, &agent.id));
            let seen = Sighting::of_agent(kind, about, origin, detail.clone());
            self.record_sighting(&mut tx, seen).await?;
            self.record_agent(&mut tx, caller, origin, &agent, (action, detail)).await?;
            tx.commit().await?;
            return Err(AppError::new(Code::FingerprintMismatch));
        }
        let approval =
            Approval { by: Decider(caller.actor()), at: self.now(), fingerprint: compared };
        let step = Step {
            permission: Permission::AgentsApprove,
            op: "agents.approve",
            action: AuditAction::AgentApproved,
            detail: json!({ "fingerprint": compared, "name": agent.name }),
            take: &|state| state.approve(approval.clone()),
            ends_credentials: false,
        };
        self.take_step(tx, caller, origin, agent, step).await?;
        self.show_decided(caller, id).await
    }

    /// Rejects a registration.
    pub async fn reject_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        reason: Option<&str>,
    ) -> AppResult<AgentSnapshot> {
        let closure = self.closure(caller, reason)?;
        let step = Step {
            permission: Permission::AgentsApprove,
            op: "agents.reject",
            action: AuditAction::AgentRejected,
            detail: json!({ "reason": closure.reason }),
            take: &|state| state.reject(closure.clone()),
            ends_credentials: true,
        };
        self.decide_about(caller, origin, id, step).await
    }

    /// Quarantines an agent: it may handshake and heartbeat, and gets nothing.
    pub async fn quarantine_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        reason: Option<&str>,
    ) -> AppResult<AgentSnapshot> {
        let closure = self.closure(caller, reason)?;
        let step = Step {
            permission: Permission::AgentsQuarantine,
            op: "agents.quarantine",
            action: AuditAction::AgentQuarantined,
            detail: json!({ "reason": closure.reason }),
            take: &|state| state.quarantine(closure.clone()),
            ends_credentials: false,
        };
        self.decide_about(caller, origin, id, step).await
    }

    /// Ends a quarantine.
    pub async fn restore_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        reason: Option<&str>,
    ) -> AppResult<AgentSnapshot> {
        let closure = self.closure(caller, reason)?;
        let step = Step {
            permission: Permission::AgentsQuarantine,
            op: "agents.restore",
            action: AuditAction::AgentRestored,
            detail: json!({ "reason": closure.reason }),
            take: &|state| state.restore(),
            ends_credentials: false,
        };
        let restored = self.decide_about(caller, origin, id, step).await?;
        self.hub().wake(id);
        Ok(restored)
    }

    /// Revokes an agent: its stream closes, its sessions and keys die.
    pub async fn revoke_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        reason: Option<&str>,
    ) -> AppResult<AgentSnapshot> {
        let closure = self.closure(caller, reason)?;
        let step = Step {
            permission: Permission::AgentsRevoke,
            op: "agents.revoke",
            action: AuditAction::AgentRevoked,
            detail: json!({ "reason": closure.reason }),
            take: &|state| state.revoke(closure.clone()),
            ends_credentials: true,
        };
        let revoked = self.decide_about(caller, origin, id, step).await?;
        self.hub().close(id, CloseReason::Revoked);
        Ok(revoked)
    }

    /// Deletes an agent and everything that is kept of it, the audit log apart.
    pub async fn delete_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
    ) -> AppResult<()> {
        let org = Self::own_org(caller, Permission::AgentsDelete)?;
        let mut tx = self.store().write("agents.delete").await?;
        let agent = self.agent_to_change(&mut tx, org, origin, id).await?;
        tx.agents().delete(org, id).await?;
        let what = (AuditAction::AgentDeleted, json!({ "name": agent.name }));
        self.record_agent(&mut tx, caller, origin, &agent, what).await?;
        tx.commit().await?;
        self.hub().close(id, CloseReason::Revoked);
        Ok(())
    }

    /// Changes name and labels.
    pub async fn update_agent(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        name: Option<&str>,
        labels: Option<BTreeMap<String, String>>,
    ) -> AppResult<AgentSnapshot> {
        let org = Self::own_org(caller, Permission::AgentsUpdate)?;
        let name = name.map(text::name).transpose();
        let name = name.map_err(|error| AppError::field("name", error))?;
        let labels = labels.map(Labels::try_from).transpose();
        let labels = labels.map_err(|error| AppError::field("labels", error))?;
        let mut tx = self.store().write("agents.update").await?;
        let agent = self.agent_to_change(&mut tx, org, origin, id).await?;
        let name = name.unwrap_or_else(|| agent.name.clone());
        let labels = labels.unwrap_or_else(|| agent.labels.clone());
        tx.agents().save_profile(org, id, &name, &labels).await?;
        let what = (AuditAction::AgentUpdated, json!({ "name": name, "labels": labels }));
        self.record_agent(&mut tx, caller, origin, &agent, what).await?;
        tx.commit().await?;
        self.show_decided(caller, id).await
    }

    fn closure(&self, caller: &Caller, reason: Option<&str>) -> AppResult<Closure> {
        let reason = reason.filter(|reason| !reason.is_empty()).map(text::reason).transpose();
        let reason = reason.map_err(|error| AppError::field("reason", error))?;
        Ok(Closure { by: Decider(caller.actor()), at: self.now(), reason })
    }

    /// The organisation's agent. Who names another organisation's is answered as if it did not
    /// exist, and noted.
    async fn agent_to_change(
        &self,
        tx: &mut Tx,
        org: &OrgId,
        origin: &Origin,
        id: &AgentId,
    ) -> AppResult<Agent> {
        match tx.agents().find(id).await? {
            Some(agent) if agent.org == *org => Ok(agent),
            Some(_) => {
                let (kind, detail) = (SecurityKind::CrossTenant, json!({ "agent": id }));
                let (org, source) = (org.clone(), origin.source);
                self.sighted(Sighting { kind, org, agent: None, source, detail });
                Err(AppError::not_found("agent"))
            }
            None => Err(AppError::not_found("agent")),
        }
    }

    async fn decide_about(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &AgentId,
        step: Step<'_>,
    ) -> AppResult<AgentSnapshot> {
        let org = Self::own_org(caller, step.permission)?;
        let mut tx = self.store().write(step.op).await?;
        let agent = self.agent_to_change(&mut tx, org, origin, id).await?;
        self.take_step(tx, caller, origin, agent, step).await?;
        self.show_decided(caller, id).await
    }

    async fn take_step(
        &self,
        mut tx: Tx,
        caller: &Caller,
        origin: &Origin,
        mut agent: Agent,
        step: Step<'_>,
    ) -> AppResult<()> {
        let target = Target { org: &agent.org, agent: Some(&agent.id) };
        Self::authorize(caller, step.permission, target, "agent")?;
        let before = agent.state.status();
        agent.state = (step.take)(agent.state).map_err(AppError::wrong_state)?;
        if !tx.agents().save_state(&agent, before).await? {
            return Err(AppError::wrong_state("the agent was changed by somebody else just now"));
        }
        if step.ends_credentials {
            self.end_credentials(&mut tx, &agent).await?;
        }
        let what = (step.action, step.detail);
        self.record_agent(&mut tx, caller, origin, &agent, what).await?;
        Ok(tx.commit().await?)
    }

    /// Voids keys and sessions of an agent.
    pub(crate) async fn end_credentials(&self, tx: &mut Tx, agent: &Agent) -> AppResult<()> {
        let now = self.now();
        tx.api_keys().void_of_agent(&agent.id, now).await?;
        tx.sessions().end_of_agent(&agent.org, &agent.id, now).await?;
        tx.agents().bump_epoch(&agent.id).await?;
        Ok(())
    }

    async fn record_agent(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        origin: &Origin,
        agent: &Agent,
        (action, detail): (AuditAction, Value),
    ) -> AppResult<()> {
        let target = Some(format!("agent:{}", agent.id));
        let event = Event { action, org: &agent.org, target, detail };
        self.record(tx, &caller.actor(), origin, event).await
    }

    /// The agent after a decision, for whoever took it.
    async fn show_decided(&self, caller: &Caller, id: &AgentId) -> AppResult<AgentSnapshot> {
        let org = caller.org().ok_or_else(|| AppError::new(Code::Forbidden))?;
        let mut reader = self.store().read("agents.show").await?;
        let view = reader.agents().view(org, id).await?;
        let view = view.ok_or_else(|| AppError::not_found("agent"))?;
        Ok(self.snapshot(view, BTreeMap::new()))
    }
}
