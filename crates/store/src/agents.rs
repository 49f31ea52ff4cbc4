//! Agents: who they are and where they stand. When they were seen is [`crate::Presence`]'s.
//!
//! *Invariant:* among the live agents (pending, approved, quarantined) of an organisation no name
//! and no identity key is there twice; the database itself refuses it.

mod filter;
mod overview;
mod rows;

use std::collections::{BTreeSet, HashMap};

use argosy_domain::{
    agent::{Agent, AgentStatus},
    digest::Sha256,
    id::{AgentId, OrgId, TokenId},
    labels::Labels,
    review::{Appearance, Review},
    time::Timestamp,
};

pub use filter::AgentFilter;
pub use overview::SILENCE_BOUNDS;
pub(crate) use rows::agent;
use rows::{StateColumns, agent_view};

use crate::{
    authorities::AuthorityChange,
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
};

const TABLE: &str = "agents";

aggregate! {
    /// Agents.
    Agents
}

/// An agent and its presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentView {
    /// The agent.
    pub agent: Agent,
    /// Its last sign of life.
    pub last_seen: Option<Timestamp>,
    /// Whether a stream of it is open.
    pub connected: bool,
    /// What the program behind a service key calls it.
    pub called: Option<String>,
    /// The agent that took over from it.
    pub replaced_by: Option<AgentId>,
}

/// How the approved agents of an organisation are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HealthCounts {
    /// Seen within five minutes.
    pub healthy: u64,
    /// Seen within fifteen minutes.
    pub stale: u64,
    /// Not seen since, or never.
    pub offline: u64,
    /// With an open stream.
    pub connected: u64,
}

selection! {
    select = "agents AS a",
    "a.id, a.org_id, a.account_id, a.name, a.status, a.status_at, a.status_by,
    a.status_reason, a.approved_by, a.approved_at, a.approved_fingerprint, a.identity_key,
    a.encryption_key, a.fingerprint, a.statement_sha256, a.machine_id, a.version,
    a.platform, a.hostname, a.labels, a.token_id, a.source, a.registered_at, a.epoch,
    a.command_sequence, a.key_delivery, a.last_origin, a.review"
}

macro_rules! view {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            crate::agents::agents!(columns),
            ", p.last_seen, p.connected, s.called, r.successor_id FROM agents AS a
             LEFT JOIN agent_presence AS p ON p.agent_id = a.id
             LEFT JOIN service_agents AS s ON s.org_id = a.org_id AND s.agent_id = a.id
             LEFT JOIN agent_replacements AS r ON r.agent_id = a.id WHERE ",
            $condition
        )
    };
}
pub(crate) use select as agents;
use view;

impl<A> Agents<'_, A> {
    async fn one(
        &mut self,
        sql: &'static str,
        values: impl IntoIterator<Item = crate::value::Value>,
    ) -> Result<Option<Agent>, StoreError> {
        Ok(self.many(sql, values).await?.into_iter().next())
    }

    async fn many(
        &mut self,
        sql: &'static str,
        values: impl IntoIterator<Item = crate::value::Value>,
    ) -> Result<Vec<Agent>, StoreError> {
        let query = self.conn.query(TABLE, sql);
        let query = values.into_iter().fold(query, |query, value| query.bind(value));
        query.fetch_all().await?.iter().map(agent).collect()
    }

    /// The organisation's agent of that id.
    pub async fn get(&mut self, org: &OrgId, id: &AgentId) -> Result<Option<Agent>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND id = $2");
        self.one(sql, [org.into(), id.into()]).await
    }

    /// The organisation's agents of these ids.
    pub async fn named(
        &mut self,
        org: &OrgId,
        ids: &BTreeSet<&AgentId>,
    ) -> Result<HashMap<AgentId, Agent>, StoreError> {
        let named = self.conn.dialect().texts_of_json("$2", "n");
        let select = Select::dynamic([
            select!("WHERE a.org_id = $1 AND a.id IN (SELECT n.value FROM "),
            &named,
            ")",
        ]);
        let query =
            self.conn.select(TABLE, select).bind(org).bind(serde_json::json!(ids).to_string());
        let rows = query.fetch_all().await?;
        rows.iter().map(|row| agent(row).map(|agent| (agent.id.clone(), agent))).collect()
    }

    /// The agent of that id, whosever it is: for an agent that presents a credential.
    pub async fn find(&mut self, id: &AgentId) -> Result<Option<Agent>, StoreError> {
        self.one(select!("WHERE id = $1"), [id.into()]).await
    }

    /// The newest agent that registered with this very statement and this token.
    pub async fn find_by_statement(
        &mut self,
        org: &OrgId,
        token: &TokenId,
        statement_sha256: Sha256,
    ) -> Result<Option<Agent>, StoreError> {
        let sql = select!(
            "WHERE org_id = $1 AND token_id = $2 AND statement_sha256 = $3
            ORDER BY registered_at DESC, id DESC LIMIT 1"
        );
        self.one(sql, [org.into(), token.into(), statement_sha256.into()]).await
    }

    /// The live agent of the organisation that holds this identity key (raw, 32 bytes).
    pub async fn find_by_identity_key_live(
        &mut self,
        org: &OrgId,
        identity_key: &[u8; 32],
    ) -> Result<Option<Agent>, StoreError> {
        let sql = select!(
            "WHERE org_id = $1 AND identity_key = $2
            AND status IN ('pending', 'approved', 'quarantined')"
        );
        self.one(sql, [org.into(), identity_key.as_slice().into()]).await
    }

    /// The organisation's agents that the filter lets through.
    pub async fn list(
        &mut self,
        org: &OrgId,
        filter: &AgentFilter,
        page: &PageRequest,
    ) -> Result<Page<AgentView>, StoreError> {
        const ORDER: (&str, &str) = ("a.registered_at", "a.id");
        let select = filter.select(org, self.conn.dialect()).page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ("registered_at", "id"), agent_view)
    }

    /// How many of the organisation's agents the filter lets through.
    pub async fn count(&mut self, org: &OrgId, filter: &AgentFilter) -> Result<u64, StoreError> {
        let select = filter.count(org, self.conn.dialect());
        self.conn.select(TABLE, select).fetch_one().await?.get("n")
    }

    /// The organisation's agent of that id, with its presence.
    pub async fn view(
        &mut self,
        org: &OrgId,
        id: &AgentId,
    ) -> Result<Option<AgentView>, StoreError> {
        let sql = view!("a.org_id = $1 AND a.id = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).fetch_optional().await?;
        row.as_ref().map(agent_view).transpose()
    }

    /// The pending agents that registered before `before`, oldest first, at most 500.
    pub async fn pending_registered_before(
        &mut self,
        before: Timestamp,
    ) -> Result<Vec<Agent>, StoreError> {
        let sql = select!(
            "WHERE status = 'pending' AND registered_at < $1
            ORDER BY registered_at LIMIT 500"
        );
        self.many(sql, [before.into()]).await
    }

    /// The pending agents that registered with this token.
    pub async fn pending_of_token(
        &mut self,
        org: &OrgId,
        token: &TokenId,
    ) -> Result<Vec<Agent>, StoreError> {
        let sql = select!(
            "WHERE org_id = $1 AND token_id = $2
            AND status = 'pending' ORDER BY registered_at"
        );
        self.many(sql, [org.into(), token.into()]).await
    }
}

impl Agents<'_, ReadWrite> {
    /// Keeps a new agent. [`StoreError::Conflict`] `agent_name`, `agent_identity_key` (of a live
    /// agent of the organisation) or `agent_id` (of any agent anywhere).
    pub async fn insert(&mut self, agent: &Agent) -> Result<(), StoreError> {
        let sql = "INSERT INTO agents (id, org_id, account_id, name, status, status_at, status_by,
            status_reason, approved_by, approved_at, approved_fingerprint, identity_key,
            encryption_key, fingerprint, statement_sha256, machine_id, version, platform, hostname,
            labels, token_id, source, registered_at, epoch, key_delivery, last_origin, review)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
            $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)";
        let state = StateColumns::of(&agent.state);
        let identity = agent.identity.as_ref();
        let query = self.conn.query(TABLE, sql).bind(&agent.id).bind(&agent.org);
        let query = query.bind(agent.account).bind(agent.name.as_str());
        state
            .bind(query)
            .bind(identity.map(|i| i.identity_key.as_slice()))
            .bind(identity.map(|i| i.encryption_key.as_slice()))
            .bind(identity.map(|i| i.fingerprint.to_string()).as_deref())
            .bind(identity.map(|i| i.statement_sha256.0.as_slice()))
            .bind(identity.and_then(|i| i.machine_id.as_deref()))
            .bind(agent.version.as_deref())
            .bind(agent.platform.as_deref())
            .bind(agent.hostname.as_deref())
            .bind(&agent.labels)
            .bind(agent.token.as_ref())
            .bind(agent.source.as_deref())
            .bind(agent.registered_at)
            .bind(agent.epoch)
            .bind(agent.key_delivery.as_str())
            .bind(agent.last_origin.as_ref())
            .bind(agent.review.as_ref())
            .execute()
            .await?;
        Ok(())
    }

    /// Saves the state of an agent, if it still stands where the decision found it; false when
    /// somebody else was faster. An approval that the new state does not carry stays on record.
    pub async fn save_state(
        &mut self,
        agent: &Agent,
        expected: AgentStatus,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE agents SET status = $1, status_at = $2, status_by = $3,
            status_reason = $4, approved_by = COALESCE($5, approved_by),
            approved_at = COALESCE($6, approved_at),
            approved_fingerprint = COALESCE($7, approved_fingerprint)
            WHERE org_id = $8 AND id = $9 AND status = $10";
        self.conn.authority_changed(AuthorityChange::Agent(agent.id.clone()));
        let saved = StateColumns::of(&agent.state)
            .bind(self.conn.query(TABLE, sql))
            .bind(&agent.org)
            .bind(&agent.id)
            .bind(expected.as_str())
            .changed()
            .await?;
        if saved && agent.state.status() == AgentStatus::Revoked {
            // It is no longer a host of the fleet, and nothing will be installed there.
            let sql = "DELETE FROM pending_packages WHERE agent_id = $1";
            self.conn.query("pending_packages", sql).bind(&agent.id).execute().await?;
        }
        Ok(saved)
    }

    /// Changes name and labels; false when there is no such agent.
    pub async fn save_profile(
        &mut self,
        org: &OrgId,
        id: &AgentId,
        name: &str,
        labels: &Labels,
    ) -> Result<bool, StoreError> {
        self.conn.authority_changed(AuthorityChange::Agent(id.clone()));
        let sql = "UPDATE agents SET name = $3, labels = $4 WHERE org_id = $1 AND id = $2";
        self.conn.query(TABLE, sql).bind(org).bind(id).bind(name).bind(labels).changed().await
    }

    /// Keeps what the agent says about itself; an absent value leaves the one before. Writes
    /// nothing, and answers false, when nothing differs.
    pub async fn save_reported(
        &mut self,
        id: &AgentId,
        version: Option<&str>,
        hostname: Option<&str>,
        platform: Option<&str>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE agents SET version = COALESCE($2, version),
            hostname = COALESCE($3, hostname), platform = COALESCE($4, platform)
            WHERE id = $1 AND (COALESCE($2, version, '') <> COALESCE(version, '')
            OR COALESCE($3, hostname, '') <> COALESCE(hostname, '')
            OR COALESCE($4, platform, '') <> COALESCE(platform, ''))";
        let query = self.conn.query(TABLE, sql).bind(id);
        let changed = query.bind(version).bind(hostname).bind(platform).changed().await?;
        if changed {
            self.conn.authority_changed(AuthorityChange::Agent(id.clone()));
        }
        Ok(changed)
    }

    /// Holds agents, in the order of their ids, until the transaction ends: whoever is to change several
    /// rows of agents that others change too begins with it. On SQLite whoever writes is alone.
    pub async fn hold(&mut self, agents: impl Iterator<Item = &AgentId>) -> Result<(), StoreError> {
        self.conn.hold_agents(agents).await
    }

    /// Keeps from where agents last proved their keys, with the commit at the latest.
    pub fn save_origins(&mut self, origins: &[(&AgentId, &Appearance)]) -> Result<(), StoreError> {
        let text = |origin: &Appearance| serde_json::to_string(origin).unwrap_or_default();
        let row = |(id, origin): &(&AgentId, &Appearance)| serde_json::json!({ "id": id, "origin": text(origin) });
        let columns = [("id", JsonType::Text), ("origin", JsonType::Text)];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let update = Select::dynamic([
            "UPDATE agents SET last_origin = r.origin FROM ",
            &table,
            " WHERE agents.id = r.id",
        ]);
        let rows: serde_json::Value = origins.iter().map(row).collect();
        self.conn.select(TABLE, update).bind(rows.to_string()).later()
    }

    /// Keeps, or clears, what an operator should look at.
    pub async fn save_review(
        &mut self,
        id: &AgentId,
        review: Option<&Review>,
    ) -> Result<bool, StoreError> {
        self.conn.authority_changed(AuthorityChange::Agent(id.clone()));
        let sql = "UPDATE agents SET review = $2 WHERE id = $1";
        self.conn.query(TABLE, sql).bind(id).bind(review).changed().await
    }

    /// Binds the agent to another machine.
    pub async fn save_machine(
        &mut self,
        id: &AgentId,
        machine_id: &str,
    ) -> Result<bool, StoreError> {
        self.conn.authority_changed(AuthorityChange::Agent(id.clone()));
        let sql = "UPDATE agents SET machine_id = $2 WHERE id = $1";
        self.conn.query(TABLE, sql).bind(id).bind(machine_id).changed().await
    }

    /// Records that another agent took over, and the epoch below which the earlier is fenced off.
    pub async fn save_replacement(
        &mut self,
        earlier: &Agent,
        successor: &AgentId,
        epoch: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO agent_replacements
            (agent_id, org_id, successor_id, epoch, replaced_at) VALUES ($1, $2, $3, $4, $5)";
        let query = self.conn.query("agent_replacements", sql).bind(&earlier.id);
        query.bind(&earlier.org).bind(successor).bind(epoch).bind(now).execute().await?;
        Ok(())
    }

    /// Voids what names the present epoch, and answers the new one; none when there is no agent.
    pub async fn bump_epoch(&mut self, id: &AgentId) -> Result<Option<i64>, StoreError> {
        self.conn.authority_changed(AuthorityChange::Agent(id.clone()));
        let sql = "UPDATE agents SET epoch = epoch + 1 WHERE id = $1 RETURNING epoch";
        let row = self.conn.query(TABLE, sql).bind(id).fetch_optional().await?;
        row.map(|row| row.get("epoch")).transpose()
    }

    /// Deletes an agent with its keys, sessions, commands and reports; what it discovered and what
    /// was audited stays. False when there is no such agent.
    pub async fn delete(&mut self, org: &OrgId, id: &AgentId) -> Result<bool, StoreError> {
        let sql = "UPDATE sync_jobs SET agent_id = NULL WHERE org_id = $1 AND agent_id = $2";
        self.conn.query("sync_jobs", sql).bind(org).bind(id).execute().await?;
        self.conn.authority_changed(AuthorityChange::Agent(id.clone()));
        let sql = "DELETE FROM agents WHERE org_id = $1 AND id = $2";
        self.conn.query(TABLE, sql).bind(org).bind(id).changed().await
    }
}
