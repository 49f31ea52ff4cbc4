//! Fan-outs: orders to many agents, whom they are for, and how far they are.

use std::collections::BTreeMap;

use argosy_domain::{
    command::{CommandKind, Withdrawal},
    fan_out::{FanOut, FanOutEnd, FanOutState, Tally},
    id::{AgentId, CommandId, FanOutId, OrgId},
    time::Timestamp,
};

use crate::{
    agents::AgentFilter,
    dialect::{Dialect, JsonType},
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    value::Row,
};

const TABLE: &str = "fan_outs";
const TARGETS: &str = "fan_out_targets";
const ORDER: (&str, &str) = ("created_at", "id");

selection! {
    select = "fan_outs",
    "id, org_id, kind, params, selector, concurrency, errors_max, created_by, created_at,
    expires_at, idempotency_key, state, ended_at"
}

aggregate! {
    /// Fan-outs.
    FanOuts
}

/// One agent of a fan-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanOutTarget {
    /// Its place among the others; they are begun in this order.
    pub position: i64,
    /// The agent.
    pub agent: AgentId,
}

/// How one agent of a fan-out stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanOutPlace {
    /// Its place among the others.
    pub position: i64,
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// Its command, once it was given.
    pub command: Option<CommandId>,
    /// `waiting`, `skipped`, or the state of its command.
    pub state: String,
    /// Why it got no command, or why that did not succeed.
    pub detail: Option<String>,
}

/// Which agents of a fan-out to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FanOutPlaces {
    /// In one of these states, as [`FanOutPlace::state`] has them; in whichever where none is named.
    pub states: Vec<String>,
    /// Behind this position.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
}

fn place(row: &Row) -> Result<FanOutPlace, StoreError> {
    Ok(FanOutPlace {
        position: row.get("position")?,
        agent: row.get("agent_id")?,
        name: row.get("name")?,
        command: row.optional("command_id")?,
        state: row.get("place")?,
        detail: row.optional("detail")?,
    })
}

fn state(row: &Row) -> Result<FanOutState, StoreError> {
    let name: String = row.get("state")?;
    if name == FanOutState::Running.as_str() {
        return Ok(FanOutState::Running);
    }
    let how = FanOutEnd::ALL.into_iter().find(|end| end.as_str() == name);
    Ok(FanOutState::Ended {
        how: how.ok_or_else(|| row.corrupt("state"))?,
        at: row.get("ended_at")?,
    })
}

fn fan_out(row: &Row) -> Result<FanOut, StoreError> {
    Ok(FanOut {
        id: row.get("id")?,
        org: row.get("org_id")?,
        kind: row.parsed("kind", |name| CommandKind::parse(name).ok())?,
        params: row.get("params")?,
        selector: row.get("selector")?,
        concurrency: row.get("concurrency")?,
        errors_max: row.optional("errors_max")?,
        created_by: row.get("created_by")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        idempotency_key: row.optional("idempotency_key")?,
        state: state(row)?,
    })
}

impl<A> FanOuts<'_, A> {
    /// The organisation's fan-out of that id.
    pub async fn get(&mut self, org: &OrgId, id: &FanOutId) -> Result<Option<FanOut>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND id = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).fetch_optional().await?;
        row.as_ref().map(fan_out).transpose()
    }

    /// The fan-out that the organisation asked for with this key before.
    pub async fn find_by_idempotency_key(
        &mut self,
        org: &OrgId,
        key: &str,
    ) -> Result<Option<FanOut>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND idempotency_key = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(key).fetch_optional().await?;
        row.as_ref().map(fan_out).transpose()
    }

    /// The organisation's fan-outs.
    pub async fn list(
        &mut self,
        org: &OrgId,
        page: &PageRequest,
    ) -> Result<Page<FanOut>, StoreError> {
        let select = Select::new(select!("WHERE org_id = $1"), [org.into()]);
        let rows = self.conn.select(TABLE, select.page(ORDER, page)).fetch_all().await?;
        page_of(rows, page, ORDER, fan_out)
    }

    /// Those that run, whosever they are, the oldest first.
    pub async fn running(&mut self) -> Result<Vec<FanOut>, StoreError> {
        let sql = select!("WHERE state = 'running' ORDER BY created_at, id");
        self.conn.query(TABLE, sql).fetch_all().await?.iter().map(fan_out).collect()
    }

    /// How many of its agents stand where.
    pub async fn tally(&mut self, id: &FanOutId) -> Result<Tally, StoreError> {
        let sql = "SELECT CASE WHEN t.skipped IS NOT NULL THEN 'skipped'
                WHEN t.command_id IS NULL THEN 'waiting' ELSE c.state END AS place,
            COUNT(*) AS n FROM fan_out_targets AS t
            LEFT JOIN commands AS c ON c.org_id = t.org_id AND c.id = t.command_id
            WHERE t.fan_out_id = $1 GROUP BY 1";
        let rows = self.conn.query(TARGETS, sql).bind(id).fetch_all().await?;
        let count = |row: &Row| Ok((row.get("place")?, row.get("n")?));
        Ok(Tally(rows.iter().map(count).collect::<Result<BTreeMap<_, _>, StoreError>>()?))
    }

    /// Its agents one by one, in their order.
    pub async fn places(
        &mut self,
        org: &OrgId,
        id: &FanOutId,
        wanted: &FanOutPlaces,
    ) -> Result<Vec<FanOutPlace>, StoreError> {
        let base = "SELECT * FROM (SELECT t.position, t.agent_id, t.command_id, a.name,
            COALESCE(t.skipped, c.end_detail) AS detail,
            CASE WHEN t.skipped IS NOT NULL THEN 'skipped'
                WHEN t.command_id IS NULL THEN 'waiting' ELSE c.state END AS place
            FROM fan_out_targets AS t
            JOIN agents AS a ON a.org_id = t.org_id AND a.id = t.agent_id
            LEFT JOIN commands AS c ON c.org_id = t.org_id AND c.id = t.command_id
            WHERE t.org_id = $1 AND t.fan_out_id = $2) AS places WHERE position > $3";
        let values = [org.into(), id.into(), wanted.after.into()];
        let select = Select::new(base, values)
            .and_any("place", wanted.states.iter().map(|state| state.as_str().into()))
            .ending(" ORDER BY position")
            .limit(wanted.limit);
        self.conn.select(TARGETS, select).fetch_all().await?.iter().map(place).collect()
    }

    /// The agents whose command has not been given yet, in their order, at most `limit`.
    pub async fn waiting(
        &mut self,
        id: &FanOutId,
        limit: u32,
    ) -> Result<Vec<FanOutTarget>, StoreError> {
        let sql = "SELECT position, agent_id FROM fan_out_targets WHERE fan_out_id = $1
            AND command_id IS NULL AND skipped IS NULL ORDER BY position LIMIT $2";
        let rows = self.conn.query(TARGETS, sql).bind(id).bind(limit).fetch_all().await?;
        let target = |row: &Row| {
            Ok(FanOutTarget { position: row.get("position")?, agent: row.get("agent_id")? })
        };
        rows.iter().map(target).collect()
    }
}

impl FanOuts<'_, ReadWrite> {
    /// Keeps a new fan-out for the approved agents that the filter lets through; answers how many
    /// they are. [`StoreError::Conflict`] `fan_out_idempotency_key`.
    pub async fn insert(
        &mut self,
        fan_out: &FanOut,
        filter: &AgentFilter,
    ) -> Result<u64, StoreError> {
        let sql = "INSERT INTO fan_outs (id, org_id, kind, params, selector, concurrency,
            errors_max, created_by, created_at, expires_at, idempotency_key, state)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        self.conn
            .query(TABLE, sql)
            .bind(&fan_out.id)
            .bind(&fan_out.org)
            .bind(fan_out.kind.as_str())
            .bind(fan_out.params.as_slice())
            .bind(fan_out.selector.as_str())
            .bind(fan_out.concurrency)
            .bind(fan_out.errors_max)
            .bind(fan_out.created_by.as_str())
            .bind(fan_out.created_at)
            .bind(fan_out.expires_at)
            .bind(fan_out.idempotency_key.as_deref())
            .bind(fan_out.state.as_str())
            .execute()
            .await?;
        let base = "INSERT INTO fan_out_targets (org_id, fan_out_id, agent_id, position)
            SELECT a.org_id, $2, a.id, ROW_NUMBER() OVER (ORDER BY a.registered_at, a.id)
            FROM agents AS a LEFT JOIN agent_presence AS p ON p.agent_id = a.id
            WHERE a.org_id = $1 AND a.status = 'approved'";
        let select = Select::new(base, [(&fan_out.org).into(), (&fan_out.id).into()]);
        let select = filter.conditions(select, self.conn.dialect());
        self.conn.select(TARGETS, select).execute().await
    }

    /// The fan-out, where it still runs. Whoever else would move it waits until this transaction
    /// ends.
    pub async fn hold(&mut self, id: &FanOutId) -> Result<Option<FanOut>, StoreError> {
        let sql = select!(returning "UPDATE fan_outs SET state = state WHERE id = $1 AND state = 'running'
           ");
        let row = self.conn.query(TABLE, sql).bind(id).fetch_optional().await?;
        row.as_ref().map(fan_out).transpose()
    }

    /// The commands of some of its agents were given, by position; kept with the commit at the latest.
    pub fn begun(&mut self, id: &FanOutId, begun: &[(i64, &CommandId)]) -> Result<(), StoreError> {
        let row = |(position, command): &(i64, &CommandId)| serde_json::json!({ "fan_out": id, "place": position, "command": command });
        let columns =
            [("fan_out", JsonType::Text), ("place", JsonType::Int), ("command", JsonType::Text)];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let update = Select::dynamic([
            "UPDATE fan_out_targets SET command_id = r.command FROM ",
            &table,
            // Named by the row: else SQLite reads the rows anew for each agent of the fan-out.
            " WHERE fan_out_id = r.fan_out AND position = r.place",
        ]);
        let rows: serde_json::Value = begun.iter().map(row).collect();
        self.conn.select(TARGETS, update).bind(rows.to_string()).later()
    }

    /// One of its agents gets no command, and why.
    pub async fn skip(
        &mut self,
        id: &FanOutId,
        position: i64,
        why: &str,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE fan_out_targets SET skipped = $3 WHERE fan_out_id = $1 AND position = $2";
        self.conn.query(TARGETS, sql).bind(id).bind(position).bind(why).execute().await?;
        Ok(())
    }

    /// It is over; false when it was before.
    pub async fn end(
        &mut self,
        id: &FanOutId,
        how: FanOutEnd,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE fan_outs SET state = $2, ended_at = $3
            WHERE id = $1 AND state = 'running'";
        self.conn.query(TABLE, sql).bind(id).bind(how.as_str()).bind(at).changed().await
    }

    /// Withdraws its commands that have not ended: those that were not sent end, of the others their
    /// agents are to be told. Answers those agents.
    pub async fn withdraw(
        &mut self,
        id: &FanOutId,
        withdrawal: &Withdrawal,
    ) -> Result<Vec<AgentId>, StoreError> {
        let detail = format!("withdrawn by {}", withdrawal.by);
        if self.conn.dialect() == Dialect::Postgres {
            // In the order of their ids, as everybody does who holds several.
            let sql = "SELECT id FROM commands
                WHERE id IN (SELECT command_id FROM fan_out_targets WHERE fan_out_id = $1)
                AND state IN ('queued', 'sent', 'received', 'running') ORDER BY id FOR UPDATE";
            self.conn.query("commands", sql).bind(id).fetch_all().await?;
        }
        let sql = "UPDATE commands SET state = 'cancelled', state_at = $2, end_detail = $3
            WHERE state = 'queued'
            AND id IN (SELECT command_id FROM fan_out_targets WHERE fan_out_id = $1)";
        let query = self.conn.query("commands", sql).bind(id).bind(withdrawal.at);
        query.bind(detail).execute().await?;
        let sql = "UPDATE commands SET withdrawn_at = $2, withdrawn_by = $3
            WHERE withdrawn_at IS NULL AND state IN ('sent', 'received', 'running')
            AND id IN (SELECT command_id FROM fan_out_targets WHERE fan_out_id = $1)
            RETURNING agent_id";
        let query = self.conn.query("commands", sql).bind(id).bind(withdrawal.at);
        let rows = query.bind(withdrawal.by.as_str()).fetch_all().await?;
        rows.iter().map(|row| row.get("agent_id")).collect()
    }
}
