//! Commands: each agent's ordered queue, and what became of it.
//!
//! *Invariant:* a state is saved only over the state that the decision was made on.

mod rows;
mod together;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use argosy_domain::{
    command::{Command, CommandSeq, CommandState, Withdrawal},
    id::{AgentId, CommandId, FanOutId, JournalId, OrgId},
    time::Timestamp,
};

pub use self::together::{Alike, DueCommand, NewPlace, Said};

use self::rows::{command, end_detail, state_at};
use crate::{
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    value::Row,
};

const TABLE: &str = "commands";
const JOURNALS: &str = "agent_journals";
const GIVEN_BY: &str = "id IN (SELECT command_id FROM fan_out_targets WHERE fan_out_id = ?)";
const ORDER: (&str, &str) = ("created_at", "id");

selection! {
    select = "commands",
    "id, org_id, agent_id, kind, params, params_sha256, sequence, created_by, created_at,
    expires_at, idempotency_key, state, state_at, end_detail, result_payload, receipt,
    receipt_signature, withdrawn_at, withdrawn_by"
}
use select as commands;

aggregate! {
    /// Commands.
    Commands
}

/// Conditions on commands; absent ones let everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandFilter {
    /// The agent.
    pub agent: Option<AgentId>,
    /// In one of these states or outcomes, by their public names; in whichever where none is named.
    pub states: Vec<String>,
    /// Given then or later.
    pub since: Option<Timestamp>,
    /// The fan-out that gave it.
    pub fan_out: Option<FanOutId>,
}

/// Commands of one span of time that are in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandCount {
    /// When the span begins.
    pub from: Timestamp,
    /// The public name of the state or outcome.
    pub state: String,
    /// How many.
    pub commands: u64,
}

impl<A> Commands<'_, A> {
    /// The organisation's command of that id.
    pub async fn get(
        &mut self,
        org: &OrgId,
        id: &CommandId,
    ) -> Result<Option<Command>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND id = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).fetch_optional().await?;
        row.as_ref().map(command).transpose()
    }

    /// The command that the organisation asked for with this key before.
    pub async fn find_by_idempotency_key(
        &mut self,
        org: &OrgId,
        key: &str,
    ) -> Result<Option<Command>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND idempotency_key = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(key).fetch_optional().await?;
        row.as_ref().map(command).transpose()
    }

    /// The agent's commands that have not ended, in their order, at most `limit`.
    pub async fn open_for(
        &mut self,
        agent: &AgentId,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError> {
        let sql = select!(
            "WHERE agent_id = $1
            AND state IN ('queued', 'sent', 'received', 'running') ORDER BY sequence LIMIT $2"
        );
        let rows = self.conn.query(TABLE, sql).bind(agent).bind(limit).fetch_all().await?;
        rows.iter().map(command).collect()
    }

    /// Agents whose stream a server holds and for which commands wait that were given, or withdrawn,
    /// since then.
    pub async fn waiting_at(
        &mut self,
        replica: &str,
        since: Timestamp,
    ) -> Result<Vec<AgentId>, StoreError> {
        let sql = "SELECT DISTINCT c.agent_id FROM commands AS c
            JOIN agent_presence AS p ON p.agent_id = c.agent_id
            WHERE p.connected AND p.replica = $1
            AND c.state IN ('queued', 'sent', 'received', 'running')
            AND ((c.state = 'queued' AND c.created_at >= $2) OR c.withdrawn_at >= $2)";
        let rows = self.conn.query(TABLE, sql).bind(replica).bind(since).fetch_all().await?;
        rows.iter().map(|row| row.get("agent_id")).collect()
    }

    /// The journal that the agent showed when it was last here.
    pub async fn journal(&mut self, agent: &AgentId) -> Result<Option<JournalId>, StoreError> {
        let sql = "SELECT journal FROM agent_journals WHERE agent_id = $1";
        let row = self.conn.query(JOURNALS, sql).bind(agent).fetch_optional().await?;
        row.map(|row| row.get("journal")).transpose()
    }

    /// How far the agent's order goes; none when there is no such agent.
    pub async fn sequence(&mut self, agent: &AgentId) -> Result<Option<CommandSeq>, StoreError> {
        let sql = "SELECT command_sequence FROM agents WHERE id = $1";
        let row = self.conn.query("agents", sql).bind(agent).fetch_optional().await?;
        row.map(|row| row.get("command_sequence").map(CommandSeq)).transpose()
    }

    /// How many of the agent's commands have not ended.
    pub async fn count_open(&mut self, agent: &AgentId) -> Result<u32, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM commands WHERE agent_id = $1
            AND state IN ('queued', 'sent', 'received', 'running')";
        self.conn.query(TABLE, sql).bind(agent).fetch_one().await?.get("n")
    }

    /// How many commands of each of these agents have not ended, in one statement however many they
    /// are; those that have none are left out.
    pub async fn count_open_of(
        &mut self,
        agents: impl IntoIterator<Item = &AgentId>,
    ) -> Result<HashMap<AgentId, u32>, StoreError> {
        let agents: BTreeSet<_> = agents.into_iter().collect();
        let rows: serde_json::Value =
            agents.into_iter().map(|agent| serde_json::json!({ "id": agent })).collect();
        let table = self.conn.dialect().rows_of_json(1, &[("id", JsonType::Text)]);
        let select = Select::dynamic([
            "SELECT c.agent_id, COUNT(*) AS n FROM ",
            &table,
            " JOIN commands AS c ON c.agent_id = r.id
             AND c.state IN ('queued', 'sent', 'received', 'running') GROUP BY c.agent_id",
        ]);
        let rows = self.conn.select(TABLE, select).bind(rows.to_string()).fetch_all().await?;
        rows.iter().map(|row| Ok((row.get("agent_id")?, row.get("n")?))).collect()
    }

    /// Commands of an organisation, or of all, that have not ended.
    pub async fn count_open_in(&mut self, org: Option<&OrgId>) -> Result<u64, StoreError> {
        let base = "SELECT COUNT(*) AS n FROM commands
            WHERE state IN ('queued', 'sent', 'received', 'running')";
        let select = Select::new(base, []).and_if("org_id = ?", org);
        let row = self.conn.select(TABLE, select).fetch_optional().await?;
        row.map_or(Ok(0), |row| row.get("n"))
    }

    /// How many commands were given since `since`, by spans of `step` and by state.
    pub async fn history_in(
        &mut self,
        org: &OrgId,
        since: Timestamp,
        step: Duration,
    ) -> Result<Vec<CommandCount>, StoreError> {
        let sql = "SELECT created_at / $3 AS slot, state, COUNT(*) AS n FROM commands
            WHERE org_id = $1 AND created_at >= $2 GROUP BY 1, 2";
        let micros = i64::try_from(step.as_micros()).unwrap_or(i64::MAX).max(1);
        let query = self.conn.query(TABLE, sql).bind(org).bind(since).bind(micros);
        let count = |row: &Row| {
            let slot: i64 = row.get("slot")?;
            let from = Timestamp::from_micros(slot * micros);
            Ok(CommandCount { from, state: row.get("state")?, commands: row.get("n")? })
        };
        query.fetch_all().await?.iter().map(count).collect()
    }

    /// The organisation's commands that the filter lets through.
    pub async fn list(
        &mut self,
        org: &OrgId,
        filter: &CommandFilter,
        page: &PageRequest,
    ) -> Result<Page<Command>, StoreError> {
        let select = Select::new(select!("WHERE org_id = $1"), [org.into()])
            .and_if("agent_id = ?", filter.agent.as_ref())
            .and_if("created_at >= ?", filter.since)
            .and_any("state", filter.states.iter().map(|state| state.as_str().into()))
            .and_if(GIVEN_BY, filter.fan_out.as_ref())
            .page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, command)
    }
}

impl Commands<'_, ReadWrite> {
    /// The agent's next place in its order; none when there is no such agent. Whoever else asks
    /// for the same agent waits until this transaction ends.
    pub async fn next_sequence(
        &mut self,
        agent: &AgentId,
    ) -> Result<Option<CommandSeq>, StoreError> {
        let sql = "UPDATE agents SET command_sequence = command_sequence + 1
            WHERE id = $1 RETURNING command_sequence";
        let row = self.conn.query("agents", sql).bind(agent).fetch_optional().await?;
        row.map(|row| row.get("command_sequence").map(CommandSeq)).transpose()
    }

    /// Lets the agent's order go on behind `at_least`, which the agent has already seen; false
    /// when it does so anyway.
    pub async fn raise_sequence(
        &mut self,
        agent: &AgentId,
        at_least: CommandSeq,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE agents SET command_sequence = $2
            WHERE id = $1 AND command_sequence < $2";
        self.conn.query("agents", sql).bind(agent).bind(at_least.0).changed().await
    }

    /// Keeps a new command. [`StoreError::Conflict`] `command_id` or `command_idempotency_key`.
    pub async fn insert(&mut self, command: &Command) -> Result<(), StoreError> {
        let sql = "INSERT INTO commands (id, org_id, agent_id, kind, params, params_sha256,
            sequence, created_by, created_at, expires_at, idempotency_key, state, state_at,
            end_detail, result_payload, receipt, receipt_signature)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
        let result = command.result.as_ref();
        self.conn
            .query(TABLE, sql)
            .bind(&command.id)
            .bind(&command.org)
            .bind(&command.agent)
            .bind(command.kind.as_str())
            .bind(command.params.as_slice())
            .bind(command.params_sha256)
            .bind(command.sequence.0)
            .bind(command.created_by.as_str())
            .bind(command.created_at)
            .bind(command.expires_at)
            .bind(command.idempotency_key.as_deref())
            .bind(command.state.as_str())
            .bind(state_at(&command.state))
            .bind(end_detail(&command.state))
            .bind(result.map(|result| result.payload.as_slice()))
            .bind(result.and_then(|result| result.receipt.as_deref()))
            .bind(result.and_then(|result| result.receipt_signature.as_deref()))
            .execute()
            .await?;
        Ok(())
    }

    /// Saves a state over the one that is expected (by its public name); false when it is no
    /// longer that one.
    pub async fn save_state(
        &mut self,
        id: &CommandId,
        state: &CommandState,
        expected: &str,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE commands SET state = $2, state_at = $3, end_detail = $4
            WHERE id = $1 AND state = $5";
        self.conn
            .query(TABLE, sql)
            .bind(id)
            .bind(state.as_str())
            .bind(state_at(state))
            .bind(end_detail(state))
            .bind(expected)
            .changed()
            .await
    }

    /// Notes that a command which was sent is no longer wanted; false when it has ended, or when
    /// somebody said so before.
    pub async fn withdraw(
        &mut self,
        id: &CommandId,
        withdrawal: &Withdrawal,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE commands SET withdrawn_at = $2, withdrawn_by = $3
            WHERE id = $1 AND withdrawn_at IS NULL AND state IN ('sent', 'received', 'running')";
        let query = self.conn.query(TABLE, sql).bind(id).bind(withdrawal.at);
        query.bind(withdrawal.by.as_str()).changed().await
    }

    /// Gives a command a new place in its agent's order.
    pub async fn resequence(
        &mut self,
        id: &CommandId,
        sequence: CommandSeq,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE commands SET sequence = $2 WHERE id = $1";
        self.conn.query(TABLE, sql).bind(id).bind(sequence.0).changed().await
    }

    /// Ends queued commands whose time is over at `now`, at most 500, and answers which.
    pub async fn expire_queued(&mut self, now: Timestamp) -> Result<Vec<CommandId>, StoreError> {
        let sql = "UPDATE commands SET state = 'expired', state_at = $1 WHERE id IN (
            SELECT id FROM commands WHERE state = 'queued' AND expires_at <= $1
            ORDER BY expires_at LIMIT 500) AND state = 'queued' RETURNING id";
        let rows = self.conn.query(TABLE, sql).bind(now).fetch_all().await?;
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// Commands that were sent and whose time was over before `before`, at most 500.
    pub async fn overdue(&mut self, before: Timestamp) -> Result<Vec<Command>, StoreError> {
        let sql = select!(
            "WHERE state IN ('sent', 'received', 'running')
            AND expires_at < $1 ORDER BY expires_at LIMIT 500"
        );
        let rows = self.conn.query(TABLE, sql).bind(before).fetch_all().await?;
        rows.iter().map(command).collect()
    }

    /// The journal that the agent shows now; true when it had another one before.
    pub async fn save_journal(
        &mut self,
        (org, agent): (&OrgId, &AgentId),
        journal: &JournalId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let known = self.journal(agent).await?;
        if known.as_ref() == Some(journal) {
            return Ok(false);
        }
        let sql = "INSERT INTO agent_journals (agent_id, org_id, journal, since)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (agent_id) DO UPDATE SET journal = excluded.journal, since = excluded.since";
        let query = self.conn.query(JOURNALS, sql).bind(agent).bind(org).bind(journal);
        query.bind(now).execute().await?;
        Ok(known.is_some())
    }
}
