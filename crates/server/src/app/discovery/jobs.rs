//! Sync jobs: asked for, handed to an agent, and looked at.

use argosy_domain::{
    access::{Caller, Permission},
    agent::{Agent, AgentStatus, Assurance},
    audit::AuditAction,
    command::CommandKind,
    discovery::{SyncSource, SyncStatus},
    id::{AccountId, AgentId, OrgId, SyncJobId},
    limits::{PAGE_ITEMS_MAX, SYNC_AGENTS_MAX},
};
use argosy_store::{AgentFilter, Page, PageRequest, StoreError, SyncFilter, SyncJob, Tx};
use argosy_wire::problem::Code;
use serde_json::json;

use super::super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    paging::PageQuery,
};

/// For whom a run is asked.
#[derive(Debug, Clone, Default)]
pub struct SyncWanted {
    /// Any agent of this account; of the first account where nothing is named.
    pub account: Option<i64>,
    /// This agent.
    pub agent: Option<String>,
    /// Every approved agent, of the account where one is named.
    pub all_agents: bool,
}

/// Which jobs a list shows.
#[derive(Debug, Clone, Default)]
pub struct SyncQuery {
    /// Of this account.
    pub account: Option<i64>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Such as `running`.
    pub status: Option<String>,
}

fn agent_id(text: &str) -> AppResult<AgentId> {
    text.parse().map_err(|_| AppError::not_found("agent"))
}

impl App {
    /// Asks for runs of discovery. An agent that has one open keeps it, and it is answered.
    pub async fn start_sync(
        &self,
        caller: &Caller,
        origin: &Origin,
        source: SyncSource,
        wanted: &SyncWanted,
    ) -> AppResult<Vec<SyncJob>> {
        let org = Self::own_org(caller, Permission::DiscoverySync)?;
        let account = match wanted.account {
            Some(account) => AccountId(account),
            None => self.first_account(org).await?,
        };
        let mut tx = self.store().write("discovery.start").await?;
        if tx.accounts().get(org, account).await?.is_none() {
            return Err(AppError::not_found("account"));
        }
        let agents = self.agents_wanted(&mut tx, org, wanted).await?;
        let (mut jobs, mut told) = (Vec::new(), Vec::new());
        match agents {
            None => jobs.push(self.ask(&mut tx, (caller, source), (org, account, None)).await?),
            Some(agents) => {
                for agent in agents {
                    let of = (org, agent.account, Some(&agent.id));
                    let job = self.ask(&mut tx, (caller, source), of).await?;
                    if self.tell_keyed(&mut tx, caller, &agent, &job).await? {
                        told.push(agent.id);
                    }
                    jobs.push(job);
                }
            }
        }
        let detail = json!({
            "account_id": account, "agent_id": wanted.agent, "all_agents": wanted.all_agents,
            "jobs": jobs.len(),
        });
        let event = Event { action: AuditAction::SyncStarted, org, target: None, detail };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        tx.commit().await?;
        for agent in &told {
            self.wake_agent(agent);
        }
        Ok(jobs)
    }

    /// Gives an agent with keys the command to begin; the others see the job in the answer to a
    /// heartbeat. Where its queue is full, it takes the job with its next run.
    async fn tell_keyed(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        agent: &Agent,
        job: &SyncJob,
    ) -> AppResult<bool> {
        let keyed = agent.assurance() == Assurance::ProofOfPossession;
        if !keyed || job.status != SyncStatus::Pending {
            return Ok(false);
        }
        let kind = CommandKind::DiscoverySync.as_str();
        let order = self.order((kind, &json!({})), Some("1h"), None)?;
        match self.queue_command(tx, caller.actor(), agent, order).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == Code::QueueFull => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The agents that are named; none where any agent of the account may do it.
    async fn agents_wanted(
        &self,
        tx: &mut Tx,
        org: &OrgId,
        wanted: &SyncWanted,
    ) -> AppResult<Option<Vec<Agent>>> {
        if let Some(named) = &wanted.agent {
            let agent = tx.agents().get(org, &agent_id(named)?).await?;
            let agent = agent.ok_or_else(|| AppError::not_found("agent"))?;
            if agent.state.status() != AgentStatus::Approved {
                return Err(AppError::wrong_state("the agent is not approved"));
            }
            return Ok(Some(vec![agent]));
        }
        if !wanted.all_agents {
            return Ok(None);
        }
        let filter = AgentFilter {
            status: Some(AgentStatus::Approved),
            account: wanted.account.map(AccountId),
            ..AgentFilter::default()
        };
        let (mut agents, mut page) = (Vec::new(), PageRequest::first(PAGE_ITEMS_MAX));
        loop {
            let listed = tx.agents().list(org, &filter, &page).await?;
            agents.extend(listed.items.into_iter().map(|view| view.agent));
            if agents.len() > SYNC_AGENTS_MAX {
                let limit = format!("would concern more than {SYNC_AGENTS_MAX} agents");
                return Err(AppError::field("all_agents", limit));
            }
            match listed.next {
                Some(next) => page.after = Some(next),
                None => return Ok(Some(agents)),
            }
        }
    }

    async fn ask(
        &self,
        tx: &mut Tx,
        (caller, source): (&Caller, SyncSource),
        (org, account, agent): (&OrgId, AccountId, Option<&AgentId>),
    ) -> AppResult<SyncJob> {
        if let Some(agent) = agent
            && let Some(open) = tx.sync_jobs().open_of(org, agent).await?
        {
            return Ok(open);
        }
        let of = (org.clone(), account);
        let asked = SyncJob::asked(self.ids().fresh(), of, (source, caller.actor()), self.now());
        let job = SyncJob { agent: agent.cloned(), ..asked };
        tx.sync_jobs().insert(&job).await?;
        Ok(job)
    }

    /// The job that an agent is told of in the answer to a heartbeat. One that waits for any agent of
    /// the account is given to an agent without keys, which does nothing else.
    pub(crate) async fn sync_hint(
        &self,
        (org, account, agent): (&OrgId, AccountId, &AgentId),
        assurance: Assurance,
    ) -> AppResult<Option<SyncJobId>> {
        let mut reader = self.store().read("discovery.hint").await?;
        let Some(job) = reader.sync_jobs().waiting_for(org, account, agent).await? else {
            return Ok(None);
        };
        drop(reader);
        if job.agent.is_some() || assurance == Assurance::ProofOfPossession {
            return Ok(Some(job.id));
        }
        let mut tx = self.store().write("discovery.give").await?;
        let Some(mut job) = tx.sync_jobs().hold(org, &job.id).await? else { return Ok(None) };
        if job.agent.is_some() || job.status != SyncStatus::Pending {
            return Ok(None);
        }
        job.agent = Some(agent.clone());
        match tx.sync_jobs().save(&job).await {
            Ok(()) => {}
            // It has a job of its own, which comes first.
            Err(StoreError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        tx.commit().await?;
        Ok(Some(job.id))
    }

    /// The sync jobs of the caller's organisation, newest first.
    pub async fn list_syncs(
        &self,
        caller: &Caller,
        query: &SyncQuery,
        page: &PageQuery,
    ) -> AppResult<Page<SyncJob>> {
        let org = Self::own_org(caller, Permission::DiscoveryRead)?;
        let status = query.status.as_deref().map(|text| {
            SyncStatus::parse(text).ok_or_else(|| AppError::field("status", "is unknown"))
        });
        let agent = query.agent.as_deref().map(str::parse::<AgentId>);
        let filter = SyncFilter {
            account: query.account.map(AccountId),
            agent: agent.transpose().map_err(|error| AppError::field("agent_id", error))?,
            status: status.transpose()?,
        };
        let mut reader = self.store().read("discovery.syncs").await?;
        Ok(reader.sync_jobs().list(org, &filter, &page.request()?).await?)
    }

    /// One sync job.
    pub async fn show_sync(&self, caller: &Caller, id: &SyncJobId) -> AppResult<SyncJob> {
        let org = Self::own_org(caller, Permission::DiscoveryRead)?;
        let mut reader = self.store().read("discovery.sync").await?;
        reader.sync_jobs().get(org, id).await?.ok_or_else(|| AppError::not_found("sync job"))
    }
}
