//! Sessions of agents, and the proofs that were seen at the opening of streams.

use argosy_domain::{
    digest::Sha256,
    id::{AgentId, OrgId, SessionId},
    time::Timestamp,
};

use serde_json::json;

use crate::{
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::Select,
    value::Row,
};

const TABLE: &str = "sessions";
const PROOFS: &str = "dpop_proofs";

selection! {
    select = "sessions",
    "id, org_id, agent_id, jkt, epoch, issued_at, expires_at, ended_at"
}

aggregate! {
    /// Sessions and remembered proofs.
    Sessions
}

/// A session, as it was minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id, the token's `sid`.
    pub id: SessionId,
    /// Its tenant.
    pub org: OrgId,
    /// Whose it is.
    pub agent: AgentId,
    /// Thumbprint of the key that it is bound to (RFC 7638).
    pub jkt: String,
    /// The agent's epoch at that time.
    pub epoch: i64,
    /// When it was minted.
    pub issued_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was ended before that.
    pub ended_at: Option<Timestamp>,
}

fn session(row: &Row) -> Result<Session, StoreError> {
    Ok(Session {
        id: row.get("id")?,
        org: row.get("org_id")?,
        agent: row.get("agent_id")?,
        jkt: row.get("jkt")?,
        epoch: row.get("epoch")?,
        issued_at: row.get("issued_at")?,
        expires_at: row.get("expires_at")?,
        ended_at: row.optional("ended_at")?,
    })
}

impl<A> Sessions<'_, A> {
    /// The session of that id.
    pub async fn find(&mut self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let sql = select!("WHERE id = $1");
        let row = self.conn.query(TABLE, sql).bind(id).fetch_optional().await?;
        row.as_ref().map(session).transpose()
    }
}

impl Sessions<'_, ReadWrite> {
    /// Keeps new sessions, with the commit at the latest.
    pub fn insert(&mut self, sessions: &[&Session]) -> Result<(), StoreError> {
        let row = |session: &&Session| {
            json!({
                "id": session.id, "org": session.org, "agent": session.agent, "jkt": session.jkt,
                "epoch": session.epoch, "issued": session.issued_at.as_micros(),
                "expires": session.expires_at.as_micros(),
                "ended": session.ended_at.map(Timestamp::as_micros),
            })
        };
        let columns = [
            ("id", JsonType::Text),
            ("org", JsonType::Text),
            ("agent", JsonType::Text),
            ("jkt", JsonType::Text),
            ("epoch", JsonType::Int),
            ("issued", JsonType::Int),
            ("expires", JsonType::Int),
            ("ended", JsonType::Int),
        ];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let insert = Select::dynamic([
            "INSERT INTO sessions
             (id, org_id, agent_id, jkt, epoch, issued_at, expires_at, ended_at)
             SELECT r.id, r.org, r.agent, r.jkt, r.epoch, r.issued, r.expires, r.ended FROM ",
            &table,
        ]);
        let rows: serde_json::Value = sessions.iter().map(row).collect();
        self.conn.select(TABLE, insert).bind(rows.to_string()).later()
    }

    /// Ends every session of the agent, and answers how many were open.
    pub async fn end_of_agent(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let sql = "UPDATE sessions SET ended_at = $3
            WHERE org_id = $1 AND agent_id = $2 AND ended_at IS NULL AND expires_at > $3";
        self.conn.query(TABLE, sql).bind(org).bind(agent).bind(now).execute().await
    }

    /// Forgets sessions that ended by themselves before `before`.
    pub async fn purge_expired(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM sessions WHERE expires_at <= $1";
        self.conn.query(TABLE, sql).bind(before).execute().await
    }

    /// Remembers a proof by the digest of its `jti`; true when it was not seen before.
    pub async fn remember_proof(
        &mut self,
        jti_sha256: Sha256,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO dpop_proofs (jti_sha256, expires_at) VALUES ($1, $2)
            ON CONFLICT (jti_sha256) DO NOTHING";
        self.conn.query(PROOFS, sql).bind(jti_sha256).bind(expires_at).changed().await
    }

    /// Forgets proofs that are too old to be accepted at `now` anyway.
    pub async fn purge_proofs(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM dpop_proofs WHERE expires_at <= $1";
        self.conn.query(PROOFS, sql).bind(now).execute().await
    }
}
