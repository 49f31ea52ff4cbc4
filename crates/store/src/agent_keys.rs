//! The identity keys that an agent had before its present one, and the statements by which each was
//! replaced. A receipt is verified by the key of its time.

use argosy_domain::{
    id::{AgentId, OrgId},
    time::Timestamp,
};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    value::Row,
};

const TABLE: &str = "agent_key_rotations";

selection! {
    select = "agent_key_rotations",
    "org_id, agent_id, serial, replaced_key, statement, signature, successor_signature,
    rotated_at"
}

aggregate! {
    /// Replaced identity keys of agents.
    AgentKeys
}

/// A replacement of an agent's identity key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotationRow {
    /// The tenant.
    pub org: OrgId,
    /// The agent.
    pub agent: AgentId,
    /// Of the new key; the one that enrolled has 1.
    pub serial: i64,
    /// The old key, raw Ed25519.
    pub replaced_key: [u8; 32],
    /// The statement that both keys signed.
    pub statement: Vec<u8>,
    /// By the old key.
    pub signature: Vec<u8>,
    /// By the new key.
    pub successor_signature: Vec<u8>,
    /// When.
    pub rotated_at: Timestamp,
}

fn rotation(row: &Row) -> Result<KeyRotationRow, StoreError> {
    Ok(KeyRotationRow {
        org: row.get("org_id")?,
        agent: row.get("agent_id")?,
        serial: row.get("serial")?,
        replaced_key: row.get("replaced_key")?,
        statement: row.get("statement")?,
        signature: row.get("signature")?,
        successor_signature: row.get("successor_signature")?,
        rotated_at: row.get("rotated_at")?,
    })
}

impl<A> AgentKeys<'_, A> {
    /// Every replacement of an agent's identity key, oldest first.
    pub async fn rotations(&mut self, agent: &AgentId) -> Result<Vec<KeyRotationRow>, StoreError> {
        let sql = select!("WHERE agent_id = $1 ORDER BY serial");
        let rows = self.conn.query(TABLE, sql).bind(agent).fetch_all().await?;
        rows.iter().map(rotation).collect()
    }
}

impl AgentKeys<'_, ReadWrite> {
    /// Puts the new identity key in the place of the old one; false when the agent does not have the
    /// old one any more. [`StoreError::Conflict`]
    /// `agent_identity_key` where another live agent has the new one.
    pub async fn rotate(
        &mut self,
        row: &KeyRotationRow,
        new_key: &[u8; 32],
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE agents SET identity_key = $1
            WHERE org_id = $2 AND id = $3 AND identity_key = $4";
        let query = self.conn.query("agents", sql).bind(new_key.as_slice());
        let query = query.bind(&row.org).bind(&row.agent).bind(row.replaced_key.as_slice());
        if !query.changed().await? {
            return Ok(false);
        }
        let sql = "INSERT INTO agent_key_rotations (org_id, agent_id, serial, replaced_key,
            statement, signature, successor_signature, rotated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        self.conn
            .query(TABLE, sql)
            .bind(&row.org)
            .bind(&row.agent)
            .bind(row.serial)
            .bind(row.replaced_key.as_slice())
            .bind(row.statement.as_slice())
            .bind(row.signature.as_slice())
            .bind(row.successor_signature.as_slice())
            .bind(row.rotated_at)
            .execute()
            .await?;
        Ok(true)
    }
}
