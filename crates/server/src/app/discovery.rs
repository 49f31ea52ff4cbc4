//! Discovered resources: taken in and shown.

use std::collections::{BTreeMap, BTreeSet};

use argosy_domain::{
    access::{Caller, Permission, Target},
    agent::AgentStatus,
    id::{AccountId, OrgId, ResourceRowId, SyncJobId},
    limits::INGEST_RESOURCES_MAX,
    resource::{Resource, ResourceStatus},
};
use argosy_store::{Page, ResourceFilter, ResourceRow, SyncJob, SyncJobStatus, Tx, UpsertCounts};
use argosy_wire::{
    problem::Code,
    rest::discovery::{Ingest, IngestResource},
};

use super::{
    App,
    error::{AppError, AppResult},
    heartbeat::still_approved,
    paging::PageQuery,
};

/// What came of an ingest.
#[derive(Debug, Clone)]
pub struct IngestOutcome {
    /// The sync job that it was.
    pub job: SyncJobId,
    /// New, changed, unchanged.
    pub counts: UpsertCounts,
    /// Not seen any more.
    pub stale: u64,
}

/// Which resources a list shows.
#[derive(Debug, Clone, Default)]
pub struct ResourceQuery {
    /// Of this account.
    pub account: Option<i64>,
    /// Of this provider.
    pub provider: Option<String>,
    /// In this region.
    pub region: Option<String>,
    /// Of this type.
    pub resource_type: Option<String>,
    /// `active` or `stale`.
    pub status: Option<String>,
    /// Part of name, id or address range.
    pub q: Option<String>,
}

fn resource(index: usize, sent: IngestResource) -> AppResult<Resource> {
    let resource = Resource {
        provider: sent.provider,
        region: sent.region,
        resource_type: sent.resource_type,
        resource_id: sent.resource_id,
        name: sent.name,
        cidr: sent.cidr.filter(|cidr| !cidr.is_empty()),
        parent_resource_id: sent.parent_resource_id.filter(|parent| !parent.is_empty()),
        metadata: sent.metadata.unwrap_or_default(),
    };
    resource.checked().map_err(|error| {
        AppError::field(format!("resources[{index}].{}", error.field), error.problem)
    })
}

/// The account that the caller may write to. An agent has exactly one.
async fn account_of(app: &App, caller: &Caller, asked: Option<i64>) -> AppResult<AccountId> {
    let asked = asked.map(AccountId);
    match caller {
        Caller::Agent { account, .. } if asked.is_none_or(|asked| asked == *account) => {
            Ok(*account)
        }
        Caller::Agent { .. } => {
            Err(AppError::because(Code::Forbidden, "account_id is not this agent's account"))
        }
        Caller::Key { .. } | Caller::User { .. } | Caller::Server => match (asked, caller.org()) {
            (Some(asked), _) => Ok(asked),
            (None, Some(org)) => app.first_account(org).await,
            (None, None) => Ok(AccountId::DEFAULT),
        },
    }
}

impl App {
    /// Takes one whole run: what it names is active, and what lies in the same regions and was not
    /// named is stale.
    pub async fn ingest(&self, caller: &Caller, ingest: Ingest) -> AppResult<IngestOutcome> {
        let org = caller.org().ok_or_else(|| AppError::new(Code::Forbidden))?;
        let agent = match caller {
            Caller::Agent { agent, status, .. } => {
                self.must_be_own(caller, agent, ingest.agent_id.as_deref())?;
                if *status != AgentStatus::Approved {
                    return Err(AppError::new(Code::Quarantined));
                }
                self.must_reach(caller)?;
                Some(agent.clone())
            }
            Caller::Key { .. } | Caller::User { .. } | Caller::Server => {
                let target = Target { org, agent: None };
                Self::authorize(caller, Permission::DiscoveryCreate, target, "organisation")?;
                self.agent_of_ingest(caller, ingest.agent_id.as_deref()).await?
            }
        };
        let target = Target { org, agent: agent.as_ref() };
        Self::authorize(caller, Permission::DiscoveryCreate, target, "organisation")?;
        let account = account_of(self, caller, ingest.account_id).await?;
        let sent = ingest.resources.unwrap_or_default();
        if sent.len() > INGEST_RESOURCES_MAX {
            let limit = format!("must hold at most {INGEST_RESOURCES_MAX} items");
            return Err(AppError::field("resources", limit));
        }
        let resources: Vec<Resource> = sent
            .into_iter()
            .enumerate()
            .map(|(index, sent)| resource(index, sent))
            .collect::<AppResult<_>>()?;
        check_scope(&resources)?;
        let now = self.now();
        let job = SyncJob {
            id: self.ids().fresh(),
            org: org.clone(),
            account,
            agent,
            status: SyncJobStatus::Running,
            scope: None,
            created_at: now,
            finished_at: None,
            counts: UpsertCounts::default(),
            stale: 0,
            error: None,
        };
        let mut tx = self.store().write("discovery.ingest").await?;
        if let Some(agent) = &job.agent {
            still_approved(&mut tx, agent).await?;
        }
        if tx.accounts().get(org, account).await?.is_none() {
            return Err(AppError::not_found("account"));
        }
        tx.sync_jobs().insert(&job).await?;
        let counts = tx.resources().upsert_many(org, account, &job.id, &resources, now).await?;
        let stale = mark_stale(&mut tx, org, account, &job.id, &resources).await?;
        tx.sync_jobs().add_counts(org, &job.id, counts).await?;
        tx.sync_jobs().finish(org, &job.id, now, stale, None).await?;
        tx.commit().await?;
        Ok(IngestOutcome { job: job.id, counts, stale })
    }

    /// The resources of the caller's organisation.
    pub async fn list_resources(
        &self,
        caller: &Caller,
        query: ResourceQuery,
        page: &PageQuery,
    ) -> AppResult<Page<ResourceRow>> {
        let org = Self::own_org(caller, Permission::DiscoveryRead)?;
        let status = query.status.as_deref().map(|text| {
            ResourceStatus::parse(text).ok_or_else(|| AppError::field("status", "is unknown"))
        });
        let filter = ResourceFilter {
            account: query.account.map(AccountId),
            provider: query.provider,
            region: query.region,
            resource_type: query.resource_type,
            status: status.transpose()?,
            q: query.q,
        };
        let mut reader = self.store().read("resources.list").await?;
        Ok(reader.resources().list(org, &filter, &page.request()?).await?)
    }

    /// One resource.
    pub async fn show_resource(
        &self,
        caller: &Caller,
        id: &ResourceRowId,
    ) -> AppResult<ResourceRow> {
        let org = Self::own_org(caller, Permission::DiscoveryRead)?;
        let mut reader = self.store().read("resources.show").await?;
        reader.resources().get(org, id).await?.ok_or_else(|| AppError::not_found("resource"))
    }
}

/// One statement is made for each provider, so a run names few of them.
const PROVIDERS_MAX: usize = 16;

fn check_scope(resources: &[Resource]) -> AppResult<()> {
    let providers: BTreeSet<&str> =
        resources.iter().map(|resource| resource.provider.as_str()).collect();
    if providers.len() > PROVIDERS_MAX {
        let limit = format!("must name at most {PROVIDERS_MAX} providers in one run");
        return Err(AppError::field("resources", limit));
    }
    Ok(())
}

async fn mark_stale(
    tx: &mut Tx,
    org: &OrgId,
    account: AccountId,
    job: &SyncJobId,
    resources: &[Resource],
) -> AppResult<u64> {
    let mut scope: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for resource in resources {
        scope.entry(&resource.provider).or_default().insert(&resource.region);
    }
    let mut stale = 0;
    for (provider, regions) in scope {
        let regions: Vec<String> = regions.into_iter().map(str::to_owned).collect();
        stale += tx.resources().mark_stale(org, account, provider, &regions, job).await?;
    }
    Ok(stale)
}
