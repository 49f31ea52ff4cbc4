//! Sync jobs: one run of discovery each, and the chunks in which it came.
//!
//! *Invariant:* an agent has at most one job that has not ended; the database refuses a second one.

use std::collections::{BTreeSet, HashSet};

use argosy_domain::{
    discovery::{RegionOutcome, SyncSource, SyncStatus},
    id::{AccountId, AgentId, OrgId, SyncJobId},
    time::Timestamp,
};

use crate::{
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    resources::UpsertCounts,
    value::{Row, Value},
};

const TABLE: &str = "sync_jobs";
const ORDER: (&str, &str) = ("created_at", "id");

selection! {
    select = "sync_jobs",
    "id, org_id, account_id, agent_id, status, source, asked_by, taken_by, created_at, begun_at,
    heard_at, finished_at, chunks, found_count, created_count, updated_count, stale_count, outcomes,
    error"
}

aggregate! {
    /// Sync jobs.
    SyncJobs
}

/// A sync job as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncJob {
    /// Its id.
    pub id: SyncJobId,
    /// Its tenant.
    pub org: OrgId,
    /// The account that it is about, or that of its agent where it is about several.
    pub account: AccountId,
    /// The agent that carries it out; none for a service, before one took it, or when the agent was
    /// deleted.
    pub agent: Option<AgentId>,
    /// How far it is.
    pub status: SyncStatus,
    /// Who had it begin.
    pub source: SyncSource,
    /// Who asked for it, for people.
    pub asked_by: String,
    /// Who delivers, where that is no agent.
    pub taken_by: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When somebody took it.
    pub begun_at: Option<Timestamp>,
    /// When something was last heard of it.
    pub heard_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Chunks that arrived.
    pub chunks: u32,
    /// What it did with resources so far.
    pub counts: UpsertCounts,
    /// Resources that it left stale.
    pub stale: u64,
    /// What became of each region.
    pub outcomes: Vec<RegionOutcome>,
    /// Why it failed.
    pub error: Option<String>,
}

impl SyncJob {
    /// A job that waits for somebody to take it: nobody's yet, about an account.
    pub fn asked(
        id: SyncJobId,
        (org, account): (OrgId, AccountId),
        (source, asked_by): (SyncSource, String),
        at: Timestamp,
    ) -> Self {
        Self {
            id,
            org,
            account,
            agent: None,
            status: SyncStatus::Pending,
            source,
            asked_by,
            taken_by: None,
            created_at: at,
            begun_at: None,
            heard_at: None,
            finished_at: None,
            chunks: 0,
            counts: UpsertCounts::default(),
            stale: 0,
            outcomes: Vec::new(),
            error: None,
        }
    }

    /// Ends it without success.
    pub fn fail(&mut self, why: &str, at: Timestamp) {
        self.status = SyncStatus::Failed;
        self.error = Some(why.to_owned());
        self.finished_at = Some(at);
    }
}

/// A chunk that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncChunk {
    /// Its number.
    pub number: u32,
    /// Of what it holds.
    pub digest: String,
    /// What it did.
    pub counts: UpsertCounts,
}

/// Conditions on jobs; absent ones let everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncFilter {
    /// Its account.
    pub account: Option<AccountId>,
    /// Its agent.
    pub agent: Option<AgentId>,
    /// How far it is.
    pub status: Option<SyncStatus>,
}

pub(crate) fn count(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn counts(row: &Row) -> Result<UpsertCounts, StoreError> {
    let (found, created, updated): (u64, u64, u64) =
        (row.get("found_count")?, row.get("created_count")?, row.get("updated_count")?);
    let unchanged = found
        .checked_sub(created)
        .and_then(|rest| rest.checked_sub(updated))
        .ok_or_else(|| row.corrupt("found_count"))?;
    Ok(UpsertCounts { created, updated, unchanged })
}

fn sync_job(row: &Row) -> Result<SyncJob, StoreError> {
    let outcomes: String = row.get("outcomes")?;
    Ok(SyncJob {
        id: row.get("id")?,
        org: row.get("org_id")?,
        account: row.get("account_id")?,
        agent: row.optional("agent_id")?,
        status: row.parsed("status", SyncStatus::parse)?,
        source: row.parsed("source", SyncSource::parse)?,
        asked_by: row.get("asked_by")?,
        taken_by: row.optional("taken_by")?,
        created_at: row.get("created_at")?,
        begun_at: row.optional("begun_at")?,
        heard_at: row.optional("heard_at")?,
        finished_at: row.optional("finished_at")?,
        chunks: row.get("chunks")?,
        counts: counts(row)?,
        stale: row.get("stale_count")?,
        outcomes: serde_json::from_str(&outcomes).map_err(|_| row.corrupt("outcomes"))?,
        error: row.optional("error")?,
    })
}

fn outcomes_text(outcomes: &[RegionOutcome]) -> String {
    serde_json::to_string(outcomes).unwrap_or_else(|_| "[]".to_owned())
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

    /// The organisation's jobs that the filter lets through.
    pub async fn list(
        &mut self,
        org: &OrgId,
        filter: &SyncFilter,
        page: &PageRequest,
    ) -> Result<Page<SyncJob>, StoreError> {
        let select = Select::new(select!("WHERE org_id = $1"), [org.into()])
            .and_if("account_id = ?", filter.account)
            .and_if("agent_id = ?", filter.agent.as_ref())
            .and_if("status = ?", filter.status.map(SyncStatus::as_str))
            .page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, sync_job)
    }

    /// The oldest job that waits for this agent, or for any agent of its account.
    pub async fn waiting_for(
        &mut self,
        org: &OrgId,
        account: AccountId,
        agent: &AgentId,
    ) -> Result<Option<SyncJob>, StoreError> {
        let sql = select!(
            "WHERE org_id = $1 AND account_id = $2 AND status = 'pending'
            AND (agent_id = $3 OR agent_id IS NULL) ORDER BY created_at, id LIMIT 1"
        );
        let query = self.conn.query(TABLE, sql).bind(org).bind(account).bind(agent);
        query.fetch_optional().await?.as_ref().map(sync_job).transpose()
    }

    /// For which of these agents a job waits, in one statement however many they are: one of its own,
    /// or one for any agent of its account.
    pub async fn waiting_for_any(
        &mut self,
        agents: &BTreeSet<&AgentId>,
    ) -> Result<HashSet<AgentId>, StoreError> {
        let rows: serde_json::Value =
            agents.iter().map(|agent| serde_json::json!({ "id": agent })).collect();
        let table = self.conn.dialect().rows_of_json(1, &[("id", JsonType::Text)]);
        let select = Select::dynamic([
            "SELECT DISTINCT a.id AS agent_id FROM ",
            &table,
            " JOIN agents AS a ON a.id = r.id
             JOIN sync_jobs AS j ON j.org_id = a.org_id AND j.account_id = a.account_id
             AND j.status = 'pending' AND (j.agent_id = a.id OR j.agent_id IS NULL)",
        ]);
        let rows = self.conn.select(TABLE, select).bind(rows.to_string()).fetch_all().await?;
        rows.iter().map(|row| row.get("agent_id")).collect()
    }

    /// The job of this agent that has not ended.
    pub async fn open_of(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
    ) -> Result<Option<SyncJob>, StoreError> {
        let sql =
            select!("WHERE org_id = $1 AND agent_id = $2 AND status IN ('pending', 'running')");
        let row = self.conn.query(TABLE, sql).bind(org).bind(agent).fetch_optional().await?;
        row.as_ref().map(sync_job).transpose()
    }

    /// Of each of these agents the run that has not ended, and the newest one that has.
    pub async fn of_agents(
        &mut self,
        org: &OrgId,
        agents: &[&AgentId],
    ) -> Result<Vec<SyncJob>, StoreError> {
        let named = self.conn.dialect().texts_of_json("$2", "n");
        let select = Select::dynamic([
            select!("WHERE org_id = $1 AND id IN (SELECT "),
            "(SELECT j.id FROM sync_jobs AS j WHERE j.org_id = $1 AND j.agent_id = n.value
                AND j.finished_at IS NOT NULL ORDER BY j.created_at DESC, j.id DESC LIMIT 1) FROM ",
            &named,
            " UNION ALL SELECT j.id FROM ",
            &named,
            " JOIN sync_jobs AS j ON j.org_id = $1 AND j.agent_id = n.value
                AND j.status IN ('pending', 'running')) ORDER BY created_at DESC, id DESC",
        ]);
        let agents = serde_json::Value::from_iter(agents.iter().map(|id| id.as_str()));
        let query = self.conn.select(TABLE, select).bind(org).bind(agents.to_string());
        query.fetch_all().await?.iter().map(sync_job).collect()
    }

    /// A chunk of a job, if it has arrived.
    pub async fn chunk(
        &mut self,
        org: &OrgId,
        id: &SyncJobId,
        number: u32,
    ) -> Result<Option<SyncChunk>, StoreError> {
        let sql = "SELECT chunk, digest, found_count, created_count, updated_count FROM sync_chunks
            WHERE org_id = $1 AND job_id = $2 AND chunk = $3";
        let query = self.conn.query("sync_chunks", sql).bind(org).bind(id).bind(number);
        let chunk = |row: Row| {
            Ok(SyncChunk {
                number: row.get("chunk")?,
                digest: row.get("digest")?,
                counts: counts(&row)?,
            })
        };
        query.fetch_optional().await?.map(chunk).transpose()
    }

    /// The lowest and the highest number of the chunks of a job, and how many there are.
    pub async fn chunk_span(&mut self, id: &SyncJobId) -> Result<(u32, u32, u32), StoreError> {
        let sql = "SELECT COALESCE(MIN(chunk), 0) AS lowest, COALESCE(MAX(chunk), 0) AS highest,
            COUNT(*) AS arrived FROM sync_chunks WHERE job_id = $1";
        let row = self.conn.query("sync_chunks", sql).bind(id).fetch_one().await?;
        Ok((row.get("lowest")?, row.get("highest")?, row.get("arrived")?))
    }
}

impl SyncJobs<'_, ReadWrite> {
    /// The organisation's job of that id; nobody else changes it until the transaction ends.
    pub async fn hold(
        &mut self,
        org: &OrgId,
        id: &SyncJobId,
    ) -> Result<Option<SyncJob>, StoreError> {
        let select = Select::new(select!("WHERE org_id = $1"), [org.into()]).and("id = ?", id);
        let select = select.ending(self.conn.dialect().held());
        let row = self.conn.select(TABLE, select).fetch_optional().await?;
        row.as_ref().map(sync_job).transpose()
    }

    /// Keeps a new job. [`StoreError::Conflict`] `sync_job_open` when its agent has one that has not
    /// ended, `sync_job_id` when the id is taken.
    pub async fn insert(&mut self, job: &SyncJob) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO sync_jobs (id, org_id, account_id, agent_id, status, source, asked_by,
            taken_by, created_at, begun_at, heard_at, finished_at, chunks, found_count,
            created_count, updated_count, stale_count, outcomes, error)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
            $19)";
        let query = self.conn.query(TABLE, sql);
        let query = query.bind(&job.id).bind(&job.org).bind(job.account).bind(job.agent.as_ref());
        let query = query.bind(job.status.as_str()).bind(job.source.as_str());
        let query = query.bind(job.asked_by.as_str()).bind(job.taken_by.as_deref());
        let query = query.bind(job.created_at).bind(job.begun_at).bind(job.heard_at);
        let query = query.bind(job.finished_at).bind(job.chunks).bind(count(job.counts.found()));
        let query = query.bind(count(job.counts.created)).bind(count(job.counts.updated));
        let query = query.bind(count(job.stale)).bind(outcomes_text(&job.outcomes));
        query.bind(job.error.as_deref()).execute().await?;
        Ok(())
    }

    /// Saves what can change about a job. [`StoreError::Conflict`] `sync_job_open` when its agent has
    /// another one that has not ended.
    pub async fn save(&mut self, job: &SyncJob) -> Result<(), StoreError> {
        let sql = "UPDATE sync_jobs SET agent_id = $3, status = $4, taken_by = $5, begun_at = $6,
            heard_at = $7, finished_at = $8, chunks = $9, found_count = $10, created_count = $11,
            updated_count = $12, stale_count = $13, outcomes = $14, error = $15, source = $16
            WHERE org_id = $1 AND id = $2";
        let query = self.conn.query(TABLE, sql).bind(&job.org).bind(&job.id);
        let query = query.bind(job.agent.as_ref()).bind(job.status.as_str());
        let query = query.bind(job.taken_by.as_deref()).bind(job.begun_at).bind(job.heard_at);
        let query = query.bind(job.finished_at).bind(job.chunks).bind(count(job.counts.found()));
        let query = query.bind(count(job.counts.created)).bind(count(job.counts.updated));
        let query = query.bind(count(job.stale)).bind(outcomes_text(&job.outcomes));
        query.bind(job.error.as_deref()).bind(job.source.as_str()).execute().await?;
        if job.finished_at.is_some() {
            let sql = "UPDATE sync_chunks SET delivered = '[]' WHERE job_id = $1";
            self.conn.query("sync_chunks", sql).bind(&job.id).execute().await?;
        }
        Ok(())
    }

    /// Keeps a chunk with the numbers of the resources that it delivered, a JSON array.
    pub async fn add_chunk(
        &mut self,
        job: &SyncJob,
        chunk: &SyncChunk,
        delivered: &str,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO sync_chunks (job_id, chunk, org_id, digest, delivered, found_count,
            created_count, updated_count) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let query = self.conn.query("sync_chunks", sql).bind(&job.id).bind(chunk.number);
        let query = query.bind(&job.org).bind(chunk.digest.as_str()).bind(delivered);
        let query = query.bind(count(chunk.counts.found())).bind(count(chunk.counts.created));
        query.bind(count(chunk.counts.updated)).execute().await?;
        Ok(())
    }

    /// Jobs of any organisation that somebody took and has been silent about since `silent`, or that
    /// nobody took since `waiting`. Each is held.
    pub async fn dropped(
        &mut self,
        silent: Timestamp,
        waiting: Timestamp,
        limit: u32,
    ) -> Result<Vec<SyncJob>, StoreError> {
        let select = Select::new(
            select!(
                "WHERE status IN ('pending', 'running')
                AND ((status = 'running' AND heard_at < $1) OR (status = 'pending' AND created_at < $2))"
            ),
            [silent.into(), waiting.into()],
        );
        let select = select.limit(limit).ending(self.conn.dialect().held());
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        rows.iter().map(sync_job).collect()
    }

    /// Forgets jobs that ended before `before` and to which nothing refers any more; answers how
    /// many.
    pub async fn purge(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM sync_jobs WHERE id IN (SELECT j.id FROM sync_jobs AS j
            WHERE j.finished_at < $1
            AND NOT EXISTS (SELECT 1 FROM resources AS x
                WHERE x.org_id = j.org_id AND x.job_id = j.id)
            AND NOT EXISTS (SELECT 1 FROM resource_changes AS c
                WHERE c.org_id = j.org_id AND c.job_id = j.id)
            LIMIT $2)";
        self.conn.query(TABLE, sql).bind(before).bind(limit).execute().await
    }
}
