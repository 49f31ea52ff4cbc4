//! Agents as operators see and decide about them.

mod hosts;
mod rulings;

use std::collections::BTreeMap;

use argosy_domain::{
    access::{Caller, Permission},
    agent::{Agent, AgentStatus, Health},
    audit::AuditAction,
    id::{AccountId, AgentId, OrgId, TokenId},
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
    error::{AppError, AppResult},
    paging::PageQuery,
    security::Sighting,
    streams::CloseReason,
};

pub use hosts::Replacement;
pub use rulings::{ApprovedAgent, Ruling};

/// Who reads what agents discover also needs to see the agents.
const SEES_AGENTS: [Permission; 2] = [Permission::AgentsRead, Permission::DiscoveryRead];

/// An agent with what is known of its presence, at a moment.
#[derive(Debug, Clone)]
pub struct AgentSnapshot {
    /// The stored view.
    pub view: AgentView,
    /// What follows from its last heartbeat.
    pub health: Health,
    /// Subsystem → state of its breaker.
    pub breakers: BTreeMap<String, String>,
    /// Older than the minimum version.
    pub outdated: bool,
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
    /// Exactly this version.
    pub version: Option<String>,
    /// Whether a stream of it is open.
    pub connected: Option<bool>,
    /// Only those that an operator should look at.
    pub under_review: bool,
    /// Only those that used this enrolment token.
    pub token: Option<TokenId>,
    /// Only those that have a run of discovery.
    pub discovers: bool,
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
            labels: label.transpose()?.into_iter().collect(),
            ids: None,
            q: query.q.clone(),
            version: query.version.clone(),
            connected: query.connected,
            under_review: query.under_review,
            discovers: query.discovers,
            token: query.token.clone(),
        })
    }

    pub(super) fn snapshot(
        &self,
        view: AgentView,
        breakers: BTreeMap<String, String>,
    ) -> AgentSnapshot {
        AgentSnapshot {
            health: Health::at(self.now(), view.last_seen),
            outdated: self.is_outdated(view.agent.version.as_deref()),
            view,
            breakers,
        }
    }

    /// The agents of the caller's organisation, newest first.
    pub async fn list_agents(
        &self,
        caller: &Caller,
        query: &AgentQuery,
        page: &PageQuery,
    ) -> AppResult<Page<AgentSnapshot>> {
        let org = Self::own_org_by(caller, &SEES_AGENTS)?;
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

    /// How many agents of the caller's organisation a list shows on all its pages.
    pub async fn count_agents(&self, caller: &Caller, query: &AgentQuery) -> AppResult<u64> {
        let org = Self::own_org_by(caller, &SEES_AGENTS)?;
        let filter = self.filter(query)?;
        Ok(self.store().read("agents.count").await?.agents().count(org, &filter).await?)
    }

    /// One agent.
    pub async fn show_agent(&self, caller: &Caller, id: &AgentId) -> AppResult<AgentSnapshot> {
        let org = Self::own_org_by(caller, &SEES_AGENTS)?;
        let mut reader = self.store().read("agents.show").await?;
        let view = reader.agents().view(org, id).await?;
        let view = view.ok_or_else(|| AppError::not_found("agent"))?;
        let breakers = reader.subsystems().breakers_of(std::slice::from_ref(id)).await?;
        Ok(self.snapshot(view, breakers.into_values().next().unwrap_or_default()))
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

    /// The organisation's agent. Who names another organisation's is answered as if it did not
    /// exist; it is noted where the agent belongs, so that the caller cannot learn it from there.
    async fn agent_to_change(
        &self,
        tx: &mut Tx,
        org: &OrgId,
        origin: &Origin,
        id: &AgentId,
    ) -> AppResult<Agent> {
        match tx.agents().find(id).await? {
            Some(agent) if agent.org == *org => Ok(agent),
            Some(other) => {
                let (kind, detail) = (SecurityKind::CrossTenant, json!({ "by_organisation": org }));
                self.sighted(Sighting::of_agent(kind, (&other.org, id), origin, detail));
                Err(AppError::not_found("agent"))
            }
            None => Err(AppError::not_found("agent")),
        }
    }

    pub(super) async fn record_agent(
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
    pub(super) async fn show_decided(
        &self,
        caller: &Caller,
        id: &AgentId,
    ) -> AppResult<AgentSnapshot> {
        let org = caller.org().ok_or_else(|| AppError::new(Code::Forbidden))?;
        let mut reader = self.store().read("agents.show").await?;
        let view = reader.agents().view(org, id).await?;
        let view = view.ok_or_else(|| AppError::not_found("agent"))?;
        Ok(self.snapshot(view, BTreeMap::new()))
    }
}
