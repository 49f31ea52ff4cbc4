//! Commands of many agents by one statement.
//!
//! Where several are changed they are held in the order of their ids first, so that two servers never
//! wait for each other.

use std::collections::{BTreeSet, HashMap, HashSet};

use argosy_domain::{
    command::{Command, CommandKind, CommandResult, CommandSeq, CommandState, End},
    digest::Sha256,
    id::{AgentId, CommandId, OrgId},
    time::Timestamp,
};
use serde_json::{Value, json};

use super::{
    Commands, TABLE, commands,
    rows::{command, end_detail, state, state_at},
};
use crate::{
    dialect::{Dialect, JsonType},
    error::StoreError,
    handle::ReadWrite,
    page::Select,
    value::{Row, storable},
};

/// A command that its agent is to hear of.
#[derive(Debug, Clone)]
pub struct DueCommand {
    /// Whose it is.
    pub agent: AgentId,
    /// Its id.
    pub id: CommandId,
    /// How far it is.
    pub state: CommandState,
    /// Whether it is no longer wanted.
    pub withdrawn: bool,
    /// What was not sent by then is not sent.
    pub expires_at: Timestamp,
    /// The size of its parameters.
    pub params_bytes: u64,
}

/// What an agent said of a command: that it has it, or has started it.
#[derive(Debug, Clone)]
pub struct Said {
    /// The tenant.
    pub org: OrgId,
    /// Who said it.
    pub agent: AgentId,
    /// Of what.
    pub command: CommandId,
    /// Received or running.
    pub next: CommandState,
}

/// What many new commands have in common.
#[derive(Debug, Clone, Copy)]
pub struct Alike<'a> {
    /// The tenant.
    pub org: &'a OrgId,
    /// What is to be done.
    pub kind: CommandKind,
    /// Its parameters.
    pub params: &'a [u8],
    /// Who gave them.
    pub created_by: &'a str,
    /// When.
    pub created_at: Timestamp,
    /// What was not sent by then is not sent.
    pub expires_at: Timestamp,
}

/// The place of a new command in an agent's order.
#[derive(Debug, Clone)]
pub struct NewPlace {
    /// Its id.
    pub command: CommandId,
    /// Whose it is.
    pub agent: AgentId,
    /// Where.
    pub sequence: CommandSeq,
}

fn due_command(row: &Row) -> Result<DueCommand, StoreError> {
    Ok(DueCommand {
        agent: row.get("agent_id")?,
        id: row.get("id")?,
        state: state(row)?,
        withdrawn: row.optional::<Timestamp>("withdrawn_at")?.is_some(),
        expires_at: row.get("expires_at")?,
        params_bytes: row.get("params_bytes")?,
    })
}

impl<A> Commands<'_, A> {
    /// What these agents have not acknowledged, and what they are to be told is no longer wanted: of
    /// each in its order, at most `limit`.
    pub async fn due_for(
        &mut self,
        agents: &BTreeSet<AgentId>,
        limit: u32,
    ) -> Result<Vec<DueCommand>, StoreError> {
        let named = self.conn.dialect().texts_of_json("$1", "n");
        let select = Select::dynamic([
            "SELECT * FROM (SELECT c.agent_id, c.id, c.sequence, c.state, c.state_at, c.end_detail,
                c.withdrawn_at, c.expires_at, CAST(LENGTH(c.params) AS BIGINT) AS params_bytes,
                ROW_NUMBER() OVER (PARTITION BY c.agent_id ORDER BY c.sequence) AS place FROM ",
            &named,
            " JOIN commands AS c ON c.agent_id = n.value
                AND c.state IN ('queued', 'sent', 'received', 'running')
                AND (c.state IN ('queued', 'sent') OR c.withdrawn_at IS NOT NULL)) AS due
             WHERE place <= $2 ORDER BY agent_id, sequence",
        ]);
        let query = self.conn.select(TABLE, select).bind(json!(agents).to_string()).bind(limit);
        query.fetch_all().await?.iter().map(due_command).collect()
    }

    /// The commands of these ids, whosever they are.
    pub async fn named(
        &mut self,
        ids: impl IntoIterator<Item = &CommandId>,
    ) -> Result<HashMap<CommandId, Command>, StoreError> {
        let ids: Value = ids.into_iter().map(|id| json!(id)).collect();
        let named = self.conn.dialect().texts_of_json("$1", "n");
        let select = Select::dynamic([commands!("WHERE id IN (SELECT n.value FROM "), &named, ")"]);
        let rows = self.conn.select(TABLE, select).bind(ids.to_string()).fetch_all().await?;
        rows.iter().map(|row| command(row).map(|command| (command.id.clone(), command))).collect()
    }
}

impl Commands<'_, ReadWrite> {
    async fn hold(&mut self, ids: impl Iterator<Item = &CommandId>) -> Result<(), StoreError> {
        let dialect = self.conn.dialect();
        if dialect == Dialect::Sqlite {
            return Ok(());
        }
        let ids: Value = ids.map(|id| json!(id)).collect();
        let named = dialect.texts_of_json("$1", "n");
        let select = Select::dynamic([
            "SELECT id FROM commands WHERE id IN (SELECT n.value FROM ",
            &named,
            ") ORDER BY id",
            dialect.held(),
        ]);
        self.conn.select(TABLE, select).bind(ids.to_string()).fetch_all().await?;
        Ok(())
    }

    /// Saves states over those that are expected (by their public names), and answers the commands
    /// whose state was the expected one, as they are now.
    pub async fn save_states(
        &mut self,
        moves: &[(&CommandId, &CommandState, &str)],
    ) -> Result<Vec<Command>, StoreError> {
        self.hold(moves.iter().map(|(id, ..)| *id)).await?;
        let row = |(id, next, was): &(&CommandId, &CommandState, &str)| {
            json!({
                "command": id, "was": was, "next": next.as_str(),
                "moved": state_at(next).map(Timestamp::as_micros),
                "detail": end_detail(next).map(|detail| storable(detail.to_owned())),
            })
        };
        let columns = [
            ("command", JsonType::Text),
            ("was", JsonType::Text),
            ("next", JsonType::Text),
            ("moved", JsonType::Int),
            ("detail", JsonType::Text),
        ];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let update = Select::dynamic([
            "UPDATE commands SET state = r.next, state_at = r.moved, end_detail = r.detail FROM ",
            &table,
            commands!(returning " WHERE commands.id = r.command AND commands.state = r.was"),
        ]);
        let rows: Value = moves.iter().map(row).collect();
        let rows = self.conn.select(TABLE, update).bind(rows.to_string()).fetch_all().await?;
        rows.iter().map(command).collect()
    }

    /// Moves commands on to what their agents said of them, and answers which it moved: not those that
    /// have gone as far already, nor those of another agent. Each agent says of a command once.
    pub async fn advance(
        &mut self,
        said: &[&Said],
    ) -> Result<HashSet<(CommandId, AgentId)>, StoreError> {
        self.hold(said.iter().map(|said| &said.command)).await?;
        let row = |said: &&Said| {
            json!({
                "command": said.command, "org": said.org, "agent": said.agent,
                "next": said.next.as_str(),
                "moved": state_at(&said.next).map(Timestamp::as_micros),
            })
        };
        let columns = [
            ("command", JsonType::Text),
            ("org", JsonType::Text),
            ("agent", JsonType::Text),
            ("next", JsonType::Text),
            ("moved", JsonType::Int),
        ];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        // What has started was received; what was received is not received again.
        let update = Select::dynamic([
            "UPDATE commands SET state = r.next, state_at = r.moved FROM ",
            &table,
            " WHERE commands.id = r.command AND commands.org_id = r.org
             AND commands.agent_id = r.agent AND (commands.state IN ('queued', 'sent')
             OR (commands.state = 'received' AND r.next = 'running'))
             RETURNING commands.id, commands.agent_id",
        ]);
        let rows: Value = said.iter().map(row).collect();
        let rows = self.conn.select(TABLE, update).bind(rows.to_string()).fetch_all().await?;
        rows.iter().map(|row| Ok((row.get("id")?, row.get("agent_id")?))).collect()
    }

    /// Saves ends and what the agents said about them, over the states that are expected; answers whose
    /// state was the expected one.
    pub async fn save_ends(
        &mut self,
        ends: &[(&CommandId, &End, &CommandResult, &str)],
    ) -> Result<HashSet<CommandId>, StoreError> {
        self.hold(ends.iter().map(|(id, ..)| *id)).await?;
        let row = |(id, end, result, was): &(&CommandId, &End, &CommandResult, &str)| {
            json!({
                "command": id, "was": was, "next": end.outcome.as_str(),
                "moved": end.at.as_micros(), "detail": end.detail.clone().map(storable),
                "payload": hex::encode(&result.payload),
                "said": result.receipt.as_ref().map(hex::encode),
                "signature": result.receipt_signature.as_ref().map(hex::encode),
            })
        };
        let columns = [
            ("command", JsonType::Text),
            ("was", JsonType::Text),
            ("next", JsonType::Text),
            ("moved", JsonType::Int),
            ("detail", JsonType::Text),
            ("payload", JsonType::Bytes),
            ("said", JsonType::Bytes),
            ("signature", JsonType::Bytes),
        ];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let update = Select::dynamic([
            "UPDATE commands SET state = r.next, state_at = r.moved, end_detail = r.detail,
             result_payload = r.payload, receipt = r.said, receipt_signature = r.signature FROM ",
            &table,
            " WHERE commands.id = r.command AND commands.state = r.was RETURNING commands.id",
        ]);
        let rows: Value = ends.iter().map(row).collect();
        let rows = self.conn.select(TABLE, update).bind(rows.to_string()).fetch_all().await?;
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// The next place in the order of each of these agents; none for one that does not exist. Whoever
    /// else asks for one of them waits until this transaction ends.
    pub async fn next_sequences(
        &mut self,
        agents: &BTreeSet<&AgentId>,
    ) -> Result<HashMap<AgentId, CommandSeq>, StoreError> {
        self.conn.hold_agents(agents.iter().copied()).await?;
        let named = self.conn.dialect().texts_of_json("$1", "n");
        let update = Select::dynamic([
            "UPDATE agents SET command_sequence = command_sequence + 1
             WHERE id IN (SELECT n.value FROM ",
            &named,
            ") RETURNING id, command_sequence",
        ]);
        let rows = self.conn.select("agents", update).bind(json!(agents).to_string());
        let rows = rows.fetch_all().await?;
        let next = |row: &Row| Ok((row.get("id")?, CommandSeq(row.get("command_sequence")?)));
        rows.iter().map(next).collect()
    }

    /// Keeps new commands, queued, that differ in their ids, agents and places alone.
    pub async fn insert_alike(
        &mut self,
        alike: &Alike<'_>,
        places: &[NewPlace],
    ) -> Result<(), StoreError> {
        let row = |place: &NewPlace| json!({ "id": place.command, "agent": place.agent, "sequence": place.sequence.0 });
        let columns =
            [("id", JsonType::Text), ("agent", JsonType::Text), ("sequence", JsonType::Int)];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let insert = Select::dynamic([
            "INSERT INTO commands (id, org_id, agent_id, kind, params, params_sha256, sequence,
             created_by, created_at, expires_at, state)
             SELECT r.id, $2, r.agent, $3, $4, $5, r.sequence, $6, $7, $8, 'queued' FROM ",
            &table,
        ]);
        let rows: Value = places.iter().map(row).collect();
        self.conn
            .select(TABLE, insert)
            .bind(rows.to_string())
            .bind(alike.org)
            .bind(alike.kind.as_str())
            .bind(alike.params)
            .bind(Sha256::of(alike.params))
            .bind(alike.created_by)
            .bind(alike.created_at)
            .bind(alike.expires_at)
            .execute()
            .await?;
        Ok(())
    }
}
