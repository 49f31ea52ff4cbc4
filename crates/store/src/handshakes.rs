//! What handshakes leave behind: live challenges, and the continuation that shows a fork.

use argosy_domain::{agent::Agent, digest::Sha256, id::AgentId, time::Timestamp};

use crate::{
    agents::{self, agents},
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
    /// An agent as it stands, and its continuation: none before its first handshake.
    pub async fn applicant(
        &mut self,
        agent: &AgentId,
    ) -> Result<Option<(Agent, Option<Continuation>)>, StoreError> {
        let sql = concat!(
            "SELECT ",
            agents!(columns),
            ", c.current_sha256, c.previous_sha256 FROM agents AS a
             LEFT JOIN continuations AS c ON c.agent_id = a.id WHERE a.id = $1"
        );
        let row = self.conn.query(CONTINUATIONS, sql).bind(agent).fetch_optional().await?;
        let Some(row) = row else { return Ok(None) };
        let current: Option<Sha256> = row.optional("current_sha256")?;
        let previous = row.optional("previous_sha256")?;
        let continuation = current.map(|current| Continuation { current, previous });
        Ok(Some((agents::agent(&row)?, continuation)))
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

    /// Takes a challenge away like [`Self::consume_challenge`], and the agent's other ones with it,
    /// where it is there.
    pub async fn consume_last_challenge(
        &mut self,
        agent: &AgentId,
        challenge_sha256: Sha256,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "DELETE FROM handshake_challenges WHERE agent_id = $1
            AND EXISTS (SELECT 1 FROM handshake_challenges AS shown
                WHERE shown.agent_id = $1 AND shown.challenge_sha256 = $2)
            RETURNING challenge_sha256, expires_at";
        let query = self.conn.query(CHALLENGES, sql).bind(agent).bind(challenge_sha256);
        for row in query.fetch_all().await? {
            if row.get::<Sha256>("challenge_sha256")? == challenge_sha256 {
                return Ok(row.get::<Timestamp>("expires_at")? > now);
            }
        }
        Ok(false)
    }

    /// Forgets challenges that are over at `now`, and answers how many there were.
    pub async fn purge_expired(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM handshake_challenges WHERE expires_at <= $1";
        self.conn.query(CHALLENGES, sql).bind(now).execute().await
    }

    /// Replaces the agent's continuation, with the commit at the latest.
    pub fn set_continuation(
        &mut self,
        agent: &AgentId,
        continuation: Continuation,
    ) -> Result<(), StoreError> {
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
            .later()
    }
}
