//! Subsystems of agents: the schedule that the server wants, and what the agent reports of it.

use std::{collections::BTreeMap, time::Duration};

use argosy_domain::{
    id::{AgentId, OrgId},
    subsystem::{Schedule, Subsystem},
    time::Timestamp,
};

use crate::{
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::Select,
    value::{Row, Value},
};

const TABLE: &str = "subsystems";

selection! {
    select = "subsystems",
    "agent_id, subsystem, org_id, enabled, auto_run, interval_s, timeout_s, generation,
    breaker, last_run_at, last_error"
}

aggregate! {
    /// Subsystems.
    Subsystems
}

/// A subsystem of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubsystemRow {
    /// Which one.
    pub subsystem: Subsystem,
    /// When it runs by itself.
    pub schedule: Schedule,
    /// The reported state of its breaker: `closed`, `open` or `half_open`.
    pub breaker: String,
    /// Rises with every change of the schedule.
    pub generation: i64,
    /// When it last ran.
    pub last_run_at: Option<Timestamp>,
    /// Why its last run failed; none when it did not.
    pub last_error: Option<String>,
}

fn seconds(span: Duration) -> Value {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX).into()
}

fn subsystem_row(row: &Row) -> Result<SubsystemRow, StoreError> {
    Ok(SubsystemRow {
        subsystem: row.parsed("subsystem", |name| Subsystem::parse(name).ok())?,
        schedule: Schedule {
            enabled: row.get("enabled")?,
            auto_run: row.get("auto_run")?,
            interval: Duration::from_secs(row.get("interval_s")?),
            timeout: Duration::from_secs(row.get("timeout_s")?),
        },
        breaker: row.get("breaker")?,
        generation: row.get("generation")?,
        last_run_at: row.optional("last_run_at")?,
        last_error: row.optional("last_error")?,
    })
}

impl<A> Subsystems<'_, A> {
    /// The agent's subsystems, by name.
    pub async fn list(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
    ) -> Result<Vec<SubsystemRow>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND agent_id = $2 ORDER BY subsystem");
        let rows = self.conn.query(TABLE, sql).bind(org).bind(agent).fetch_all().await?;
        rows.iter().map(subsystem_row).collect()
    }

    /// The reported breakers of many agents: agent → subsystem → state.
    pub async fn breakers_of(
        &mut self,
        agents: &[AgentId],
    ) -> Result<BTreeMap<AgentId, BTreeMap<String, String>>, StoreError> {
        let wanted = self.conn.dialect().rows_of_json(1, &[("id", JsonType::Text)]);
        let ids: serde_json::Value =
            agents.iter().map(|id| serde_json::json!({ "id": id.as_str() })).collect();
        let select = Select::dynamic([
            "SELECT s.agent_id, s.subsystem, s.breaker FROM subsystems AS s JOIN ",
            &wanted,
            " ON s.agent_id = r.id",
        ]);
        let rows = self.conn.select(TABLE, select).bind(ids.to_string()).fetch_all().await?;
        let mut breakers = BTreeMap::<AgentId, BTreeMap<String, String>>::new();
        for row in &rows {
            let of_agent = breakers.entry(row.get("agent_id")?).or_default();
            of_agent.insert(row.get("subsystem")?, row.get("breaker")?);
        }
        Ok(breakers)
    }

    /// Breakers of admitted agents that are not closed: agent, its name, subsystem.
    pub async fn open_breakers_in(
        &mut self,
        org: &OrgId,
        limit: u32,
    ) -> Result<Vec<(AgentId, String, String)>, StoreError> {
        let sql = "SELECT s.agent_id, a.name, s.subsystem FROM subsystems AS s
            JOIN agents AS a ON a.id = s.agent_id WHERE s.org_id = $1 AND s.breaker <> 'closed'
            AND a.status IN ('approved', 'quarantined') ORDER BY a.name, s.subsystem LIMIT $2";
        let rows = self.conn.query(TABLE, sql).bind(org).bind(limit).fetch_all().await?;
        let open = |row: &Row| Ok((row.get("agent_id")?, row.get("name")?, row.get("subsystem")?));
        rows.iter().map(open).collect()
    }
}

impl Subsystems<'_, ReadWrite> {
    /// Gives the agent every subsystem of this version that it does not have yet, with the default
    /// schedule. What it has stays as it is.
    pub fn ensure_defaults(&mut self, org: &OrgId, agent: &AgentId) -> Result<(), StoreError> {
        let sql = "INSERT INTO subsystems (org_id, agent_id, subsystem, enabled, auto_run,
            interval_s, timeout_s, generation, breaker)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 1, 'closed')
            ON CONFLICT (agent_id, subsystem) DO NOTHING";
        for subsystem in Subsystem::ALL {
            let schedule = subsystem.default_schedule();
            self.conn
                .query(TABLE, sql)
                .bind(org)
                .bind(agent)
                .bind(subsystem.as_str())
                .bind(schedule.enabled)
                .bind(schedule.auto_run)
                .bind(seconds(schedule.interval))
                .bind(seconds(schedule.timeout))
                .later()?;
        }
        Ok(())
    }

    /// Keeps what the agent reported of a run: the breaker's state (`closed`, `open`,
    /// `half_open`), when it ran, and why it failed. False when the agent has no such subsystem.
    pub async fn save_report(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
        subsystem: Subsystem,
        breaker: &str,
        last_run_at: Timestamp,
        last_error: Option<&str>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE subsystems SET breaker = $4, last_run_at = $5, last_error = $6
            WHERE org_id = $1 AND agent_id = $2 AND subsystem = $3";
        self.conn
            .query(TABLE, sql)
            .bind(org)
            .bind(agent)
            .bind(subsystem.as_str())
            .bind(breaker)
            .bind(last_run_at)
            .bind(last_error)
            .changed()
            .await
    }

    /// Gives every agent the subsystems of this version that it does not have yet. Answers how many
    /// rows were made.
    pub async fn ensure_defaults_of_all(&mut self) -> Result<u64, StoreError> {
        let sql = "INSERT INTO subsystems (org_id, agent_id, subsystem, enabled, auto_run,
            interval_s, timeout_s, generation, breaker)
            SELECT a.org_id, a.id, $1, $2, $3, $4, $5, 1, 'closed' FROM agents AS a
            WHERE NOT EXISTS (SELECT 1 FROM subsystems AS s
                WHERE s.agent_id = a.id AND s.subsystem = $1)
            ON CONFLICT (agent_id, subsystem) DO NOTHING";
        let mut made = 0;
        for subsystem in Subsystem::ALL {
            let schedule = subsystem.default_schedule();
            let query = self.conn.query(TABLE, sql).bind(subsystem.as_str());
            let query = query.bind(schedule.enabled).bind(schedule.auto_run);
            let query = query.bind(seconds(schedule.interval)).bind(seconds(schedule.timeout));
            made += query.execute().await?;
        }
        Ok(made)
    }

    /// Saves the schedule of a subsystem; false when the agent has no such subsystem.
    pub async fn save_schedule(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
        subsystem: Subsystem,
        schedule: &Schedule,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE subsystems SET enabled = $4, auto_run = $5, interval_s = $6,
            timeout_s = $7, generation = generation + 1
            WHERE org_id = $1 AND agent_id = $2 AND subsystem = $3";
        let query = self.conn.query(TABLE, sql).bind(org).bind(agent).bind(subsystem.as_str());
        let query = query.bind(schedule.enabled).bind(schedule.auto_run);
        let query = query.bind(seconds(schedule.interval)).bind(seconds(schedule.timeout));
        query.changed().await
    }
}
