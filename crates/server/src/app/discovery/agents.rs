//! Agents that discover, with what they do now and what they did last.

use std::collections::HashMap;

use argosy_domain::{
    access::{Caller, Permission},
    id::{AccountId, AgentId},
    time::Timestamp,
};
use argosy_store::{Page, SyncJob};

use super::super::{
    App,
    agents::{AgentQuery, AgentSnapshot},
    error::AppResult,
    paging::PageQuery,
};

/// An agent that has a run of discovery.
#[derive(Debug, Clone)]
pub struct Discoverer {
    /// The agent.
    pub agent: AgentSnapshot,
    /// The run that waits for it or that it is at.
    pub open: Option<SyncJob>,
    /// The newest one that has ended.
    pub last: Option<SyncJob>,
}

impl App {
    /// The agents of the caller's organisation that discover or were asked to, newest first.
    pub async fn list_discoverers(
        &self,
        caller: &Caller,
        page: &PageQuery,
    ) -> AppResult<Page<Discoverer>> {
        let org = Self::own_org(caller, Permission::DiscoveryRead)?;
        let query = AgentQuery { discovers: true, ..AgentQuery::default() };
        let agents = self.list_agents(caller, &query, page).await?;
        let ids: Vec<&AgentId> = agents.items.iter().map(|agent| &agent.view.agent.id).collect();
        let mut reader = self.store().read("discovery.agents").await?;
        let jobs = reader.sync_jobs().of_agents(org, &ids).await?;
        let (mut open, mut last) = (HashMap::new(), HashMap::new());
        for job in jobs {
            let Some(agent) = job.agent.clone() else { continue };
            let of = if job.finished_at.is_none() { &mut open } else { &mut last };
            of.insert(agent, job);
        }
        let discoverer = |agent: AgentSnapshot| {
            let id = &agent.view.agent.id;
            Discoverer { open: open.remove(id), last: last.remove(id), agent }
        };
        Ok(Page { items: agents.items.into_iter().map(discoverer).collect(), next: agents.next })
    }

    /// When something of each account was last read whole; accounts of which nothing was are not there.
    pub async fn last_syncs(&self, caller: &Caller) -> AppResult<HashMap<AccountId, Timestamp>> {
        let org = Self::own_org(caller, Permission::AccountsRead)?;
        Ok(self.store().read("discovery.accounts").await?.resources().last_reads(org).await?)
    }
}
