//! What agents tell of: started, a breaker opened, something was lost.

use argosy_domain::{
    id::{AgentId, EventId, OrgId},
    telemetry::Severity,
    time::Timestamp,
};

use crate::{
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    value::{Row, storable},
};

const TABLE: &str = "agent_events";
const ORDER: (&str, &str) = ("at", "id");

selection! {
    select = "agent_events",
    "org_id, agent_id, id, kind, severity, message, at, received_at"
}

aggregate! {
    /// Events of agents.
    AgentEvents
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEventRow {
    /// As the agent numbers it.
    pub id: EventId,
    /// Whose it is.
    pub agent: AgentId,
    /// Such as `agent.started`.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// What happened, in words.
    pub message: String,
    /// When, by the agent's clock; never after `received_at`.
    pub at: Timestamp,
    /// When the server took it in.
    pub received_at: Timestamp,
}

/// Which events to list; what is absent lets everything through.
#[derive(Debug, Clone, Default)]
pub struct AgentEventFilter {
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this severity.
    pub severity: Option<Severity>,
    /// Not before this time.
    pub since: Option<Timestamp>,
}

fn event(row: &Row) -> Result<AgentEventRow, StoreError> {
    Ok(AgentEventRow {
        id: row.get("id")?,
        agent: row.get("agent_id")?,
        kind: row.get("kind")?,
        severity: row.parsed("severity", Severity::parse)?,
        message: row.get("message")?,
        at: row.get("at")?,
        received_at: row.get("received_at")?,
    })
}

const COLUMNS: &[(&str, JsonType)] = &[
    ("id", JsonType::Text),
    ("kind", JsonType::Text),
    ("severity", JsonType::Text),
    ("message", JsonType::Text),
    ("at", JsonType::Int),
    ("received_at", JsonType::Int),
];

impl<A> AgentEvents<'_, A> {
    /// The organisation's events that the filter lets through, newest first.
    pub async fn list(
        &mut self,
        org: &OrgId,
        filter: &AgentEventFilter,
        page: &PageRequest,
    ) -> Result<Page<AgentEventRow>, StoreError> {
        let select = Select::new(select!("WHERE org_id = $1"), [org.into()])
            .and_if("agent_id = ?", filter.agent.as_ref())
            .and_if("kind = ?", filter.kind.as_deref())
            .and_if("severity = ?", filter.severity.map(Severity::as_str))
            .and_if("at >= ?", filter.since)
            .page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, event)
    }
}

impl AgentEvents<'_, ReadWrite> {
    /// Adds events of one agent in one statement; those that are known by their id stay as they
    /// are. Then all but the newest `kept` go.
    pub async fn add(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
        events: &[AgentEventRow],
        kept: u32,
    ) -> Result<(), StoreError> {
        let rows: serde_json::Value = events
            .iter()
            .map(|event| {
                serde_json::json!({
                    "id": event.id.as_str(),
                    "kind": storable(event.kind.clone()),
                    "severity": event.severity.as_str(),
                    "message": storable(event.message.clone()),
                    "at": event.at.as_micros(),
                    "received_at": event.received_at.as_micros(),
                })
            })
            .collect();
        let table = self.conn.dialect().rows_of_json(1, COLUMNS);
        let insert = Select::dynamic([
            "INSERT INTO agent_events (org_id, agent_id, id, kind, severity, message, at, received_at)
             SELECT $2, $3, r.id, r.kind, r.severity, r.message, r.at, r.received_at FROM ",
            &table,
            " WHERE TRUE ON CONFLICT (agent_id, id) DO NOTHING",
        ]);
        let query = self.conn.select(TABLE, insert).bind(rows.to_string());
        query.bind(org).bind(agent).execute().await?;
        let surplus = "DELETE FROM agent_events WHERE agent_id = $1 AND (at, id) <= (SELECT at, id
            FROM agent_events WHERE agent_id = $1 ORDER BY at DESC, id DESC LIMIT 1 OFFSET $2)";
        self.conn.query(TABLE, surplus).bind(agent).bind(kept).execute().await?;
        Ok(())
    }

    /// Forgets events that arrived before `before`; answers how many.
    pub async fn purge(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM agent_events WHERE received_at < $1";
        self.conn.query(TABLE, sql).bind(before).execute().await
    }
}
