//! Agents of service keys: the ids that other people's programs chose for themselves.
//!
//! *Invariant:* an id belongs, in its organisation, to one key for ever, or until its agent is
//! deleted; the database itself refuses a second one.

use argosy_domain::id::{AgentId, ApiKeyId, OrgId};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
};

const TABLE: &str = "service_agents";

selection! {
    select = "service_agents",
    "org_id, called, key_id, agent_id"
}

aggregate! {
    /// Agents of service keys.
    ServiceAgents
}

/// An id that a program chose, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAgent {
    /// Its tenant.
    pub org: OrgId,
    /// The chosen id.
    pub called: String,
    /// The key that brought it into being; no other may use it.
    pub key: ApiKeyId,
    /// The agent that it is.
    pub agent: AgentId,
}

impl<A> ServiceAgents<'_, A> {
    /// How many agents a key has brought into being.
    pub async fn count_of(&mut self, org: &OrgId, key: &ApiKeyId) -> Result<u32, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM service_agents WHERE org_id = $1 AND key_id = $2";
        self.conn.query(TABLE, sql).bind(org).bind(key).fetch_one().await?.get("n")
    }

    /// Whose the id is: by what the program calls itself, or by the agent's own id.
    pub async fn find(
        &mut self,
        org: &OrgId,
        called: &str,
    ) -> Result<Option<ServiceAgent>, StoreError> {
        let sql = select!(
            "WHERE org_id = $1 AND (called = $2 OR agent_id = $2)
            ORDER BY CASE WHEN called = $2 THEN 0 ELSE 1 END LIMIT 1"
        );
        let query = self.conn.query(TABLE, sql).bind(org).bind(called);
        let row = query.fetch_optional().await?;
        row.map(|row| {
            Ok(ServiceAgent {
                org: row.get("org_id")?,
                called: row.get("called")?,
                key: row.get("key_id")?,
                agent: row.get("agent_id")?,
            })
        })
        .transpose()
    }
}

impl ServiceAgents<'_, ReadWrite> {
    /// Takes an id. [`StoreError::Conflict`] `service_agent` when it was taken a moment ago.
    pub async fn insert(&mut self, bound: &ServiceAgent) -> Result<(), StoreError> {
        let sql = "INSERT INTO service_agents (org_id, called, key_id, agent_id)
            VALUES ($1, $2, $3, $4)";
        let query = self.conn.query(TABLE, sql).bind(&bound.org).bind(bound.called.as_str());
        query.bind(&bound.key).bind(&bound.agent).execute().await?;
        Ok(())
    }
}
