//! What handshakes leave behind: live challenges, and the continuation that shows a fork.

use argosy_domain::{digest::Sha256, id::AgentId, time::Timestamp};

use crate::{
    dialect::Dialect,
    error::StoreError,
    handle::{ReadWrite, aggregate},
};

const CHALLENGES: &str = "handshake_challenges";
const CONTINUATIONS: &str = "continuations";

aggregate! {
    /// Challenges and continuations.
    Handshakes
}

/// Digests of the values that an agent may present at its next handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Continuation {
    /// The one that it was given last.
    pub current: Sha256,
    /// The one before: the agent may not have heard of the last.
    pub previous: Option<Sha256>,
}

impl<A> Handshakes<'_, A> {
    /// The agent's continuation; none before its first handshake.
    pub async fn continuation(
        &mut self,
        agent: &AgentId,
    ) -> Result<Option<Continuation>, StoreError> {
        let sql = "SELECT current_sha256, previous_sha256 FROM continuations WHERE agent_id = $1";
        let row = self.conn.query(CONTINUATIONS, sql).bind(agent).fetch_optional().await?;
        row.map(|row| {
            Ok(Continuation {
                current: row.get("current_sha256")?,
                previous: row.optional("previous_sha256")?,
            })
        })
        .transpose()
    }
}

impl Handshakes<'_, ReadWrite> {
    /// Remembers a challenge of an agent that has fewer than `live_max` live ones; false when it has as
    /// many, or when there is no such agent. Those that end later than this one would were made before
    /// the clock was set back, and do not count.
    pub async fn insert_challenge(
        &mut self,
        agent: &AgentId,
        challenge_sha256: Sha256,
        (created_at, expires_at): (Timestamp, Timestamp),
        live_max: u32,
    ) -> Result<bool, StoreError> {
        if self.conn.dialect() == Dialect::Postgres {
            // Of two at once one counts after the other. On SQLite whoever writes is alone.
            let hold = self.conn.dialect().hold_agent();
            self.conn.query("agents", hold).bind(agent).fetch_optional().await?;
        }
        let sql = "INSERT INTO handshake_challenges
            (agent_id, org_id, challenge_sha256, created_at, expires_at)
            SELECT id, org_id, $2, $3, $4 FROM agents WHERE id = $1
            AND (SELECT COUNT(*) FROM handshake_challenges
                WHERE agent_id = $1 AND expires_at > $3 AND expires_at <= $4) < $5";
        let query = self.conn.query(CHALLENGES, sql).bind(agent).bind(challenge_sha256);
        query.bind(created_at).bind(expires_at).bind(i64::from(live_max)).changed().await
    }

    /// Takes a challenge away: true for the first who presents it while it is live at `now`. It is
    /// gone afterwards, also when it was too late.
    pub async fn consume_challenge(
        &mut self,
        agent: &AgentId,
        challenge_sha256: Sha256,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "DELETE FROM handshake_challenges
            WHERE agent_id = $1 AND challenge_sha256 = $2 RETURNING expires_at";
        let query = self.conn.query(CHALLENGES, sql).bind(agent).bind(challenge_sha256);
        match query.fetch_optional().await? {
            Some(row) => Ok(row.get::<Timestamp>("expires_at")? > now),
            None => Ok(false),
        }
    }

    /// Forgets every challenge of an agent, and answers how many there were.
    pub async fn forget_challenges(&mut self, agent: &AgentId) -> Result<u64, StoreError> {
        let sql = "DELETE FROM handshake_challenges WHERE agent_id = $1";
        self.conn.query(CHALLENGES, sql).bind(agent).execute().await
    }

    /// Forgets challenges that are over at `now`, and answers how many there were.
    pub async fn purge_expired(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM handshake_challenges WHERE expires_at <= $1";
        self.conn.query(CHALLENGES, sql).bind(now).execute().await
    }

    /// Replaces the agent's continuation; false when there is no such agent.
    pub async fn set_continuation(
        &mut self,
        agent: &AgentId,
        continuation: Continuation,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO continuations
            (agent_id, org_id, current_sha256, previous_sha256)
            SELECT id, org_id, $2, $3 FROM agents WHERE id = $1
            ON CONFLICT (agent_id) DO UPDATE SET current_sha256 = excluded.current_sha256,
            previous_sha256 = excluded.previous_sha256";
        let previous = continuation.previous;
        self.conn
            .query(CONTINUATIONS, sql)
            .bind(agent)
            .bind(continuation.current)
            .bind(previous.as_ref().map(|digest| digest.0.as_slice()))
            .changed()
            .await
    }
}
