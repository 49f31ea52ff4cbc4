//! Inventory: the newest report of each subsystem of each agent.

use argosy_domain::{
    id::{AgentId, CommandId, OrgId},
    subsystem::Subsystem,
    time::Timestamp,
};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    value::Row,
};

const TABLE: &str = "inventory";

selection! {
    select = "inventory",
    "agent_id, subsystem, org_id, report, captured_at, received_at, command_id, duration_ms"
}

aggregate! {
    /// Reports.
    Inventory
}

/// A report as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryRow {
    /// Its tenant.
    pub org: OrgId,
    /// Whose it is.
    pub agent: AgentId,
    /// Of what.
    pub subsystem: Subsystem,
    /// The report, JSON.
    pub report: Vec<u8>,
    /// When the agent collected it, by the agent's clock.
    pub captured_at: Timestamp,
    /// When the server took it in.
    pub received_at: Timestamp,
    /// The command that asked for it; none when the schedule did.
    pub command: Option<CommandId>,
    /// How long the collection took.
    pub duration_ms: i64,
}

fn inventory(row: &Row) -> Result<InventoryRow, StoreError> {
    Ok(InventoryRow {
        org: row.get("org_id")?,
        agent: row.get("agent_id")?,
        subsystem: row.parsed("subsystem", |name| Subsystem::parse(name).ok())?,
        report: row.get("report")?,
        captured_at: row.get("captured_at")?,
        received_at: row.get("received_at")?,
        command: row.optional("command_id")?,
        duration_ms: row.get("duration_ms")?,
    })
}

impl<A> Inventory<'_, A> {
    /// The newest report of one subsystem.
    pub async fn get(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
        subsystem: Subsystem,
    ) -> Result<Option<InventoryRow>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND agent_id = $2 AND subsystem = $3");
        let query = self.conn.query(TABLE, sql).bind(org).bind(agent).bind(subsystem.as_str());
        query.fetch_optional().await?.as_ref().map(inventory).transpose()
    }

    /// The newest report of each subsystem that has reported.
    pub async fn all(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
    ) -> Result<Vec<InventoryRow>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND agent_id = $2 ORDER BY subsystem");
        let rows = self.conn.query(TABLE, sql).bind(org).bind(agent).fetch_all().await?;
        rows.iter().map(inventory).collect()
    }
}

impl Inventory<'_, ReadWrite> {
    /// Keeps a report unless a newer one (by `captured_at`) is there; answers whether it did.
    pub async fn put(&mut self, row: &InventoryRow) -> Result<bool, StoreError> {
        let sql = "INSERT INTO inventory (org_id, agent_id, subsystem, report, captured_at,
            received_at, command_id, duration_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (agent_id, subsystem) DO UPDATE SET report = excluded.report,
            captured_at = excluded.captured_at, received_at = excluded.received_at,
            command_id = excluded.command_id, duration_ms = excluded.duration_ms
            WHERE inventory.captured_at <= excluded.captured_at";
        self.conn
            .query(TABLE, sql)
            .bind(&row.org)
            .bind(&row.agent)
            .bind(row.subsystem.as_str())
            .bind(row.report.as_slice())
            .bind(row.captured_at)
            .bind(row.received_at)
            .bind(row.command.as_ref())
            .bind(row.duration_ms)
            .changed()
            .await
    }
}
