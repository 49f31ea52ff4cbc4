//! Batches that agents have delivered: each counts once, however often it arrives.

use argosy_domain::{
    id::{AgentId, BatchId, OrgId},
    time::Timestamp,
};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate},
};

const TABLE: &str = "uploaded_batches";

aggregate! {
    /// Delivered batches.
    Uploads
}

impl Uploads<'_, ReadWrite> {
    /// Remembers a batch; answers whether it is new. What it holds belongs into the same
    /// transaction.
    pub async fn remember(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
        batch: &BatchId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO uploaded_batches (org_id, agent_id, batch, received_at)
            VALUES ($1, $2, $3, $4) ON CONFLICT (agent_id, batch) DO NOTHING";
        self.conn.query(TABLE, sql).bind(org).bind(agent).bind(batch).bind(now).changed().await
    }

    /// Forgets batches that arrived before `before`; answers how many.
    pub async fn purge(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM uploaded_batches WHERE received_at < $1";
        self.conn.query(TABLE, sql).bind(before).execute().await
    }
}
