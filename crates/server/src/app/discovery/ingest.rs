//! Chunks of resources, taken in: one transaction each, once each.

use argosy_domain::{
    access::{Caller, Permission, Target},
    agent::AgentStatus,
    discovery::{SyncSource, SyncStatus, merge_outcomes},
    id::{AccountId, AgentId, OrgId, SyncJobId},
    limits::{INGEST_ACCOUNTS_MAX, INGEST_RESOURCES_MAX, SYNC_CHUNKS_MAX, SYNC_OUTCOMES_MAX},
};
use argosy_store::{RunEnd, SyncChunk, SyncJob, Tx, UpsertCounts};
use argosy_wire::problem::Code;

use super::{
    super::{
        App,
        error::{AppError, AppResult},
        heartbeat::still_approved,
    },
    UNASKED,
    delivery::{Checked, Delivery, digest},
};

/// What came of a delivery.
#[derive(Debug, Clone)]
pub struct IngestOutcome {
    /// The sync job that it belongs to.
    pub job: SyncJobId,
    /// New, changed, unchanged.
    pub counts: UpsertCounts,
    /// Not seen any more.
    pub stale: u64,
}

/// Whoever delivers.
pub(super) struct Deliverer<'c> {
    pub(super) caller: &'c Caller,
    pub(super) org: &'c OrgId,
    pub(super) agent: Option<AgentId>,
    /// The account of an agent, which is the only one that it may name.
    pub(super) account: Option<AccountId>,
}

impl App {
    /// Takes a chunk of a run in, or a whole run. A chunk that comes again is answered again. With the
    /// last one, what lies in the regions that were read whole and did not come is stale.
    pub async fn ingest(&self, caller: &Caller, delivery: Delivery) -> AppResult<IngestOutcome> {
        let deliverer = self.deliverer(caller, delivery.agent_id.as_deref()).await?;
        let sent: usize = delivery.parts.iter().map(|part| part.resources.len()).sum();
        if sent > INGEST_RESOURCES_MAX {
            let limit = format!("must hold at most {INGEST_RESOURCES_MAX} items");
            return Err(AppError::field("resources", limit));
        }
        if delivery.parts.len() > INGEST_ACCOUNTS_MAX {
            let limit = format!("must hold at most {INGEST_ACCOUNTS_MAX} items");
            return Err(AppError::field("accounts", limit));
        }
        if delivery.chunk.is_some_and(|number| number > SYNC_CHUNKS_MAX) {
            return Err(AppError::field("chunk", format!("must be at most {SYNC_CHUNKS_MAX}")));
        }
        let mut tx = self.store().write("discovery.ingest").await?;
        if let Some(agent) = &deliverer.agent {
            still_approved(&mut tx, agent).await?;
        }
        let (named, chunk, last) = (delivery.job, delivery.chunk, delivery.last);
        let mut parts = Vec::new();
        for part in delivery.parts {
            let account = self.account_of(&mut tx, &deliverer, &part.place).await?;
            parts.push(part.check(account, delivery.names_scope)?);
        }
        let about = parts.first().map(|part| part.account);
        let begins = chunk.is_none_or(|number| number <= 1);
        let mut job = self.job_of(&mut tx, &deliverer, (named.as_deref(), begins, about)).await?;
        let number = chunk.unwrap_or(0);
        let digest = digest(&parts);
        let known = tx.sync_jobs().chunk(deliverer.org, &job.id, number).await?;
        if known.as_ref().is_some_and(|known| known.digest != digest) {
            return Err(AppError::wrong_state("another chunk of this number has come already"));
        }
        if job.finished_at.is_some() {
            let Some(known) = known else { return Err(over(&job)) };
            let stale = if last { job.stale } else { 0 };
            tx.commit().await?;
            return Ok(IngestOutcome { job: job.id, counts: known.counts, stale });
        }
        let counts = match known {
            Some(known) => known.counts,
            None => self.take_chunk(&mut tx, &mut job, (number, digest), parts).await?,
        };
        job.heard_at = Some(self.now());
        if last {
            self.end_run(&mut tx, &mut job).await?;
        }
        tx.sync_jobs().save(&job).await?;
        tx.commit().await?;
        if counts.created + counts.updated > 0 {
            self.inner.arrivals.notify_one();
        }
        Ok(IngestOutcome { job: job.id, counts, stale: job.stale })
    }

    /// Who delivers, if it may: an agent for itself, a key for the organisation or for an agent of its
    /// own.
    async fn deliverer<'c>(
        &self,
        caller: &'c Caller,
        named: Option<&str>,
    ) -> AppResult<Deliverer<'c>> {
        let org = caller.org().ok_or_else(|| AppError::new(Code::Forbidden))?;
        let (agent, account) = match caller {
            Caller::Agent { agent, status, account, .. } => {
                self.must_be_own(caller, agent, named)?;
                if *status != AgentStatus::Approved {
                    return Err(AppError::new(Code::Quarantined));
                }
                self.must_reach(caller)?;
                (Some(agent.clone()), Some(*account))
            }
            Caller::Key { .. } | Caller::User { .. } | Caller::Server => {
                let target = Target { org, agent: None };
                Self::authorize(caller, Permission::DiscoveryCreate, target, "organisation")?;
                (self.agent_of_ingest(caller, named).await?, None)
            }
        };
        let target = Target { org, agent: agent.as_ref() };
        Self::authorize(caller, Permission::DiscoveryCreate, target, "organisation")?;
        Ok(Deliverer { caller, org, agent, account })
    }

    /// The job that a delivery belongs to, taken by whoever delivers. `begins` where a run may begin
    /// with it.
    async fn job_of(
        &self,
        tx: &mut Tx,
        deliverer: &Deliverer<'_>,
        (named, begins, about): (Option<&str>, bool, Option<AccountId>),
    ) -> AppResult<SyncJob> {
        let (org, now) = (deliverer.org, self.now());
        let waiting = match named {
            None => waiting_job(tx, deliverer, begins).await?,
            Some(_) => None,
        };
        let id: SyncJobId = match (named, waiting) {
            (Some(named), _) => {
                named.parse().map_err(|error| AppError::field("sync_job_id", error))?
            }
            (None, Some(waiting)) => waiting,
            (None, None) if begins => self.ids().fresh(),
            (None, None) => return Err(AppError::field("sync_job_id", "is missing")),
        };
        if let Some(mut job) = tx.sync_jobs().hold(org, &id).await? {
            take(&mut job, deliverer)?;
            if job.status == SyncStatus::Pending {
                self.drop_other(tx, deliverer, &id).await?;
                job.status = SyncStatus::Running;
                job.begun_at = Some(now);
                tx.sync_jobs().save(&job).await?;
            }
            return Ok(job);
        }
        if !begins {
            return Err(AppError::not_found("sync job"));
        }
        self.drop_other(tx, deliverer, &id).await?;
        let account = match (deliverer.account, about) {
            (Some(account), _) | (None, Some(account)) => account,
            (None, None) => self.first_account(org).await?,
        };
        let actor = deliverer.caller.actor();
        let source = if deliverer.agent.is_some() { UNASKED } else { SyncSource::Api };
        let asked = SyncJob::asked(id, (org.clone(), account), (source, actor.clone()), now);
        let job = SyncJob {
            agent: deliverer.agent.clone(),
            status: SyncStatus::Running,
            taken_by: Some(actor),
            begun_at: Some(now),
            heard_at: Some(now),
            ..asked
        };
        tx.sync_jobs().insert(&job).await?;
        Ok(job)
    }

    /// An agent that begins a run has given up the one before.
    async fn drop_other(
        &self,
        tx: &mut Tx,
        deliverer: &Deliverer<'_>,
        id: &SyncJobId,
    ) -> AppResult<()> {
        let Some(agent) = &deliverer.agent else { return Ok(()) };
        let Some(mut other) = tx.sync_jobs().open_of(deliverer.org, agent).await? else {
            return Ok(());
        };
        if other.id != *id {
            other.fail("the agent began another run", self.now());
            tx.sync_jobs().save(&other).await?;
        }
        Ok(())
    }

    async fn take_chunk(
        &self,
        tx: &mut Tx,
        job: &mut SyncJob,
        (number, digest): (u32, String),
        parts: Vec<Checked>,
    ) -> AppResult<UpsertCounts> {
        let (mut counts, mut delivered) = (UpsertCounts::default(), Vec::new());
        for part in parts {
            let (account, now) = (part.account, self.now());
            let did = tx
                .resources()
                .upsert_many(&job.org, account, &job.id, &part.resources, now)
                .await?;
            counts.add(did.counts);
            delivered.extend(did.numbers);
            merge_outcomes(&mut job.outcomes, part.outcomes);
        }
        if job.outcomes.len() > SYNC_OUTCOMES_MAX {
            let limit = format!("must name at most {SYNC_OUTCOMES_MAX} regions in one run");
            return Err(AppError::field("scope", limit));
        }
        let delivered = serde_json::to_string(&delivered).map_err(AppError::internal)?;
        let chunk = SyncChunk { number, digest, counts };
        tx.sync_jobs().add_chunk(job, &chunk, &delivered).await?;
        job.counts.add(counts);
        job.chunks += 1;
        Ok(counts)
    }

    async fn end_run(&self, tx: &mut Tx, job: &mut SyncJob) -> AppResult<()> {
        let (lowest, highest, arrived) = tx.sync_jobs().chunk_span(&job.id).await?;
        if lowest > 1 || highest - lowest + 1 != arrived {
            let why = format!("{arrived} chunks have come and the last one is number {highest}");
            return Err(AppError::wrong_state(why));
        }
        let now = self.now();
        let end = RunEnd {
            org: &job.org,
            job: &job.id,
            begun_at: job.begun_at.unwrap_or(job.created_at),
            now,
            outcomes: &job.outcomes,
        };
        job.stale = tx.resources().end_run(end).await?;
        job.finished_at = Some(now);
        job.status = SyncStatus::of_outcomes(&job.outcomes);
        job.error = match job.status {
            SyncStatus::Failed => job
                .outcomes
                .iter()
                .find_map(|outcome| Some(outcome.failure.as_ref()?.error.clone())),
            SyncStatus::Pending
            | SyncStatus::Running
            | SyncStatus::Completed
            | SyncStatus::Partial => None,
        };
        Ok(())
    }
}

/// The job that waits for an agent that names none: its own; or, where a run begins with a credential of
/// the agent, one for any agent of its account. An agent of a service key hears of those by heartbeat.
async fn waiting_job(
    tx: &mut Tx,
    deliverer: &Deliverer<'_>,
    begins: bool,
) -> AppResult<Option<SyncJobId>> {
    let (org, Some(agent)) = (deliverer.org, &deliverer.agent) else { return Ok(None) };
    if let Some(open) = tx.sync_jobs().open_of(org, agent).await? {
        return Ok((open.status == SyncStatus::Pending).then_some(open.id));
    }
    let Some(account) = deliverer.account.filter(|_| begins) else { return Ok(None) };
    let Some(job) = tx.sync_jobs().waiting_for(org, account, agent).await? else {
        return Ok(None);
    };
    // Another one may have taken it meanwhile.
    let job = tx.sync_jobs().hold(org, &job.id).await?;
    let free = |job: &SyncJob| job.agent.is_none() && job.status == SyncStatus::Pending;
    Ok(job.filter(free).map(|job| job.id))
}

/// Refuses whoever is not the one to deliver for a job; takes it for whoever comes first.
fn take(job: &mut SyncJob, deliverer: &Deliverer<'_>) -> AppResult<()> {
    let actor = deliverer.caller.actor();
    let own = match (&job.agent, &deliverer.agent) {
        (Some(agent), Some(deliverer)) => agent == deliverer,
        (None, agent) => {
            let of_account = deliverer.account.is_none_or(|account| account == job.account);
            let free = job.status == SyncStatus::Pending && of_account;
            let before = job.taken_by.as_deref() == Some(actor.as_str()) && agent.is_none();
            free || before
        }
        (Some(_), None) => false,
    };
    if !own {
        return Err(AppError::wrong_state("another one delivers for this sync job"));
    }
    if job.status == SyncStatus::Pending {
        job.agent.clone_from(&deliverer.agent);
        job.taken_by = Some(actor);
    }
    Ok(())
}

fn over(job: &SyncJob) -> AppError {
    let why = job.error.as_deref().unwrap_or("all of it has come");
    AppError::wrong_state(format!("the sync job is {}: {why}", job.status.as_str()))
}
