//! Sync jobs: one run of discovery each.

use argosy_domain::{
    id::{AccountId, AgentId, OrgId, SyncJobId},
    time::Timestamp,
};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    resources::UpsertCounts,
    value::{Row, Value},
};

const TABLE: &str = "sync_jobs";

selection! {
    select = "sync_jobs",
    "id, org_id, account_id, agent_id, status, provider, regions, created_at, finished_at,
    found_count, created_count, updated_count, stale_count, error"
}

aggregate! {
    /// Sync jobs.
    SyncJobs
}

/// How far a sync job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncJobStatus {
    /// Chunks may come.
    Running,
    /// It ended as it should.
    Completed,
    /// It ended otherwise.
    Failed,
}

impl SyncJobStatus {
    /// The stored and public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The status of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Failed].into_iter().find(|s| s.as_str() == text)
    }
}

/// What a run looked at: what it did not see there is stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncScope {
    /// Such as `aws`.
    pub provider: String,
    /// The regions that were read completely.
    pub regions: Vec<String>,
}

/// A sync job as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncJob {
    /// Its id.
    pub id: SyncJobId,
    /// Its tenant.
    pub org: OrgId,
    /// The account that it is about.
    pub account: AccountId,
    /// The agent that carries it out; none for a service, or when the agent was deleted.
    pub agent: Option<AgentId>,
    /// How far it is.
    pub status: SyncJobStatus,
    /// What it looked at, where that was declared.
    pub scope: Option<SyncScope>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What it did with resources so far.
    pub counts: UpsertCounts,
    /// Resources that it left stale.
    pub stale: u64,
    /// Why it failed.
    pub error: Option<String>,
}

fn sync_job(row: &Row) -> Result<SyncJob, StoreError> {
    let scope = match (row.optional("provider")?, row.optional("regions")?) {
        (Some(provider), Some(regions)) => Some(SyncScope { provider, regions }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(row.corrupt("regions")),
    };
    let (found, created, updated): (u64, u64, u64) =
        (row.get("found_count")?, row.get("created_count")?, row.get("updated_count")?);
    let unchanged = found
        .checked_sub(created)
        .and_then(|rest| rest.checked_sub(updated))
        .ok_or_else(|| row.corrupt("found_count"))?;
    Ok(SyncJob {
        id: row.get("id")?,
        org: row.get("org_id")?,
        account: row.get("account_id")?,
        agent: row.optional("agent_id")?,
        status: row.parsed("status", SyncJobStatus::parse)?,
        scope,
        created_at: row.get("created_at")?,
        finished_at: row.optional("finished_at")?,
        counts: UpsertCounts { created, updated, unchanged },
        stale: row.get("stale_count")?,
        error: row.optional("error")?,
    })
}

fn count(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

impl<A> SyncJobs<'_, A> {
    /// The organisation's job of that id.
    pub async fn get(
        &mut self,
        org: &OrgId,
        id: &SyncJobId,
    ) -> Result<Option<SyncJob>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND id = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).fetch_optional().await?;
        row.as_ref().map(sync_job).transpose()
    }
}

impl SyncJobs<'_, ReadWrite> {
    /// Keeps a new job.
    pub async fn insert(&mut self, job: &SyncJob) -> Result<(), StoreError> {
        let sql = "INSERT INTO sync_jobs (id, org_id, account_id, agent_id, status, provider,
            regions, created_at, finished_at, found_count, created_count, updated_count,
            stale_count, error)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        let scope = job.scope.as_ref();
        let regions =
            |scope: &SyncScope| Value::from_iter(scope.regions.iter().map(String::as_str));
        self.conn
            .query(TABLE, sql)
            .bind(&job.id)
            .bind(&job.org)
            .bind(job.account)
            .bind(job.agent.as_ref())
            .bind(job.status.as_str())
            .bind(scope.map(|scope| scope.provider.as_str()))
            .bind(scope.map_or(Value::Text(None), regions))
            .bind(job.created_at)
            .bind(job.finished_at)
            .bind(count(job.counts.found()))
            .bind(count(job.counts.created))
            .bind(count(job.counts.updated))
            .bind(count(job.stale))
            .bind(job.error.as_deref())
            .execute()
            .await?;
        Ok(())
    }

    /// Adds a chunk's counts to a running job; false when it is not running.
    pub async fn add_counts(
        &mut self,
        org: &OrgId,
        id: &SyncJobId,
        counts: UpsertCounts,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE sync_jobs SET found_count = found_count + $3,
            created_count = created_count + $4, updated_count = updated_count + $5
            WHERE org_id = $1 AND id = $2 AND status = 'running'";
        self.conn
            .query(TABLE, sql)
            .bind(org)
            .bind(id)
            .bind(count(counts.found()))
            .bind(count(counts.created))
            .bind(count(counts.updated))
            .changed()
            .await
    }

    /// Ends a running job, as failed when there is an error; false when it is not running.
    pub async fn finish(
        &mut self,
        org: &OrgId,
        id: &SyncJobId,
        now: Timestamp,
        stale: u64,
        error: Option<&str>,
    ) -> Result<bool, StoreError> {
        let status = match error {
            None => SyncJobStatus::Completed,
            Some(_) => SyncJobStatus::Failed,
        };
        let sql = "UPDATE sync_jobs SET status = $3, finished_at = $4, stale_count = $5, error = $6
            WHERE org_id = $1 AND id = $2 AND status = 'running'";
        self.conn
            .query(TABLE, sql)
            .bind(org)
            .bind(id)
            .bind(status.as_str())
            .bind(now)
            .bind(count(stale))
            .bind(error)
            .changed()
            .await
    }
}
