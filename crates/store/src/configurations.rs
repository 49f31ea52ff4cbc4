//! Which configuration each agent is to have, and which it has.

use std::collections::HashMap;

use argosy_domain::{
    configuration::Generation,
    id::{AgentId, OrgId},
    time::Timestamp,
};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::Select,
    value::Row,
};

const TABLE: &str = "agent_configurations";

selection! {
    select = "agent_configurations",
    "agent_id, org_id, wanted, changed_at, applied, applied_at, refused"
}

aggregate! {
    /// Configurations of agents.
    Configurations
}

/// Where the configuration of an agent stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigurationRow {
    /// The generation that it is to have.
    pub wanted: Generation,
    /// When that was decided.
    pub changed_at: Option<Timestamp>,
    /// The generation that it said to have.
    pub applied: Generation,
    /// When it said so.
    pub applied_at: Option<Timestamp>,
    /// Why it does not take the wanted one, in its word.
    pub refused: Option<String>,
}

fn configuration(row: &Row) -> Result<ConfigurationRow, StoreError> {
    Ok(ConfigurationRow {
        wanted: Generation(row.get("wanted")?),
        changed_at: row.optional("changed_at")?,
        applied: Generation(row.get("applied")?),
        applied_at: row.optional("applied_at")?,
        refused: row.optional("refused")?,
    })
}

impl<A> Configurations<'_, A> {
    /// Where the configuration of the agent stands; generation 0 where nobody changed it.
    pub async fn get(&mut self, agent: &AgentId) -> Result<ConfigurationRow, StoreError> {
        let sql = select!("WHERE agent_id = $1");
        let row = self.conn.query(TABLE, sql).bind(agent).fetch_optional().await?;
        row.as_ref().map_or_else(|| Ok(ConfigurationRow::default()), configuration)
    }

    /// Where the configurations of these agents stand; those that nobody changed are left out.
    pub async fn of(
        &mut self,
        agents: &[&AgentId],
    ) -> Result<HashMap<AgentId, ConfigurationRow>, StoreError> {
        let named = self.conn.dialect().texts_of_json("$1", "n");
        let select =
            Select::dynamic([select!("WHERE agent_id IN (SELECT n.value FROM "), &named, ")"]);
        let agents = serde_json::json!(agents).to_string();
        let rows = self.conn.select(TABLE, select).bind(agents).fetch_all().await?;
        rows.iter().map(|row| Ok((row.get("agent_id")?, configuration(row)?))).collect()
    }

    /// Agents whose stream a server holds and whose configuration was changed since then and is not
    /// theirs yet.
    pub async fn waiting_at(
        &mut self,
        replica: &str,
        since: Timestamp,
    ) -> Result<Vec<AgentId>, StoreError> {
        let sql = "SELECT c.agent_id FROM agent_configurations AS c
            JOIN agent_presence AS p ON p.agent_id = c.agent_id
            WHERE p.connected AND p.replica = $1 AND c.changed_at >= $2 AND c.applied < c.wanted";
        let rows = self.conn.query(TABLE, sql).bind(replica).bind(since).fetch_all().await?;
        rows.iter().map(|row| row.get("agent_id")).collect()
    }
}

impl Configurations<'_, ReadWrite> {
    /// The configuration of the agent was changed: its generation, which is higher than `held`, which
    /// the agent has already.
    pub async fn change(
        &mut self,
        (org, agent): (&OrgId, &AgentId),
        held: Generation,
        now: Timestamp,
    ) -> Result<Generation, StoreError> {
        let sql = "INSERT INTO agent_configurations (agent_id, org_id, wanted, changed_at, applied)
            VALUES ($1, $2, $3 + 1, $4, 0)
            ON CONFLICT (agent_id) DO UPDATE SET changed_at = excluded.changed_at, refused = NULL,
            wanted = CASE WHEN agent_configurations.wanted >= excluded.wanted
                THEN agent_configurations.wanted + 1 ELSE excluded.wanted END
            RETURNING wanted";
        let query = self.conn.query(TABLE, sql).bind(agent).bind(org).bind(held.0);
        Ok(Generation(query.bind(now).fetch_one().await?.get("wanted")?))
    }

    /// The agent says to have this one, or why it does not take the wanted one.
    pub async fn save_applied(
        &mut self,
        agent: &AgentId,
        applied: Generation,
        refused: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE agent_configurations SET applied = $2, refused = $3, applied_at = $4
            WHERE agent_id = $1";
        let query = self.conn.query(TABLE, sql).bind(agent).bind(applied.0).bind(refused);
        query.bind(now).execute().await?;
        Ok(())
    }
}
