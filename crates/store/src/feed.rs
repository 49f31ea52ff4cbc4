//! What changed lately, for those who watch: small rows, read again and again.
//!
//! *Invariant:* whoever reads with a time gets what is committed and changed at that time or later;
//! what commits late carries an earlier time, so readers look back a little and pass over what they
//! know.

use argosy_domain::{
    agent::AgentStatus,
    discovery::SyncStatus,
    id::{AccountId, AgentId, CommandId, OrgId, SyncJobId},
    time::Timestamp,
};

use crate::{error::StoreError, handle::aggregate, value::Row};

aggregate! {
    /// What changed lately.
    Feed
}

/// A command as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandNow {
    /// The command.
    pub id: CommandId,
    /// Its agent.
    pub agent: AgentId,
    /// Its kind.
    pub kind: String,
    /// The public name of its state or outcome.
    pub state: String,
    /// Since when.
    pub at: Timestamp,
}

/// An agent as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentNow {
    /// The agent.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: AgentStatus,
    /// Since when.
    pub status_at: Timestamp,
    /// When it was last seen.
    pub last_seen: Option<Timestamp>,
    /// Whether a stream of it is open.
    pub connected: bool,
}

/// A run of discovery as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncNow {
    /// Its job.
    pub id: SyncJobId,
    /// The account that it is about.
    pub account: AccountId,
    /// The agent that carries it out, where there is one.
    pub agent: Option<AgentId>,
    /// How far it is.
    pub status: SyncStatus,
    /// Chunks that arrived.
    pub chunks: u32,
    /// Since when.
    pub at: Timestamp,
}

fn sync_now(row: &Row) -> Result<SyncNow, StoreError> {
    Ok(SyncNow {
        id: row.get("id")?,
        account: row.get("account_id")?,
        agent: row.optional("agent_id")?,
        status: row.parsed("status", SyncStatus::parse)?,
        chunks: row.get("chunks")?,
        at: row.get("at")?,
    })
}

fn command_now(row: &Row) -> Result<CommandNow, StoreError> {
    Ok(CommandNow {
        id: row.get("id")?,
        agent: row.get("agent_id")?,
        kind: row.get("kind")?,
        state: row.get("state")?,
        at: row.get("at")?,
    })
}

fn agent_now(row: &Row) -> Result<AgentNow, StoreError> {
    Ok(AgentNow {
        id: row.get("id")?,
        name: row.get("name")?,
        status: row.parsed("status", AgentStatus::parse)?,
        status_at: row.get("status_at")?,
        last_seen: row.optional("last_seen")?,
        connected: row.optional("connected")?.unwrap_or(false),
    })
}

impl<A> Feed<'_, A> {
    /// Commands whose state began at `since` or later, the oldest change first, at most `limit`.
    pub async fn commands(
        &mut self,
        org: &OrgId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<CommandNow>, StoreError> {
        let sql = "SELECT * FROM (
                SELECT id, agent_id, kind, state, state_at AS at FROM commands
                WHERE org_id = $1 AND state_at >= $2
                UNION ALL
                SELECT id, agent_id, kind, state, created_at AS at FROM commands
                WHERE org_id = $1 AND created_at >= $2 AND state_at IS NULL
            ) AS changed ORDER BY at, id LIMIT $3";
        let query = self.conn.query("commands", sql).bind(org).bind(since).bind(limit);
        query.fetch_all().await?.iter().map(command_now).collect()
    }

    /// Live agents, and those that left at `since` or later, at most `limit`.
    pub async fn agents(
        &mut self,
        org: &OrgId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<AgentNow>, StoreError> {
        let sql = "SELECT a.id, a.name, a.status, a.status_at, p.last_seen, p.connected
            FROM agents AS a LEFT JOIN agent_presence AS p ON p.agent_id = a.id
            WHERE a.org_id = $1
            AND (a.status IN ('pending', 'approved', 'quarantined') OR a.status_at >= $2)
            ORDER BY a.status_at, a.id LIMIT $3";
        let query = self.conn.query("agents", sql).bind(org).bind(since).bind(limit);
        query.fetch_all().await?.iter().map(agent_now).collect()
    }

    /// Runs of discovery of which something was heard at `since` or later, the oldest news first, at
    /// most `limit`.
    pub async fn syncs(
        &mut self,
        org: &OrgId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<SyncNow>, StoreError> {
        let sql = "SELECT * FROM (
                SELECT id, account_id, agent_id, status, chunks, finished_at AS at FROM sync_jobs
                WHERE org_id = $1 AND finished_at >= $2
                UNION ALL
                SELECT id, account_id, agent_id, status, chunks,
                    COALESCE(heard_at, begun_at, created_at) AS at FROM sync_jobs
                WHERE org_id = $1 AND status IN ('pending', 'running')
            ) AS changed WHERE at >= $2 ORDER BY at, id LIMIT $3";
        let query = self.conn.query("sync_jobs", sql).bind(org).bind(since).bind(limit);
        query.fetch_all().await?.iter().map(sync_now).collect()
    }

    /// Agents whose status began at `since` or later, the oldest change first, at most `limit`.
    pub async fn changed_agents(
        &mut self,
        org: &OrgId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<AgentNow>, StoreError> {
        let sql = "SELECT a.id, a.name, a.status, a.status_at, p.last_seen, p.connected
            FROM agents AS a LEFT JOIN agent_presence AS p ON p.agent_id = a.id
            WHERE a.org_id = $1 AND a.status_at >= $2 ORDER BY a.status_at, a.id LIMIT $3";
        let query = self.conn.query("agents", sql).bind(org).bind(since).bind(limit);
        query.fetch_all().await?.iter().map(agent_now).collect()
    }
}
