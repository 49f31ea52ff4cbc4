//! What handshakes leave behind: live challenges, and the continuation that shows a fork.

use std::collections::{HashMap, HashSet};

use argosy_domain::{agent::Agent, digest::Sha256, id::AgentId, time::Timestamp};
use serde_json::json;

use crate::{
    agents::{self, agents},
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate},
    page::Select,
    value::Row,
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

/// A challenge that is to be remembered.
#[derive(Debug, Clone)]
pub struct NewChallenge {
    /// Whose it is.
    pub agent: AgentId,
    /// Its digest.
    pub sha256: Sha256,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it dies.
    pub expires_at: Timestamp,
}

/// A challenge that was answered, and what the agent was taken for when its answer was checked.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Whose it is.
    pub agent: AgentId,
    /// Digest of the challenge.
    pub challenge_sha256: Sha256,
    /// The agent's epoch.
    pub epoch: i64,
    /// The key that the answer verified under.
    pub identity_key: [u8; 32],
    /// The machine that it was shown to come from.
    pub machine_id: Option<String>,
    /// The version that it showed.
    pub version: String,
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
        Ok(Some((agents::agent(&row)?, continuation(&row)?)))
    }
}

impl Handshakes<'_, ReadWrite> {
    /// Remembers challenges, each of an agent that has fewer than `live_max` live ones, earlier ones of
    /// the same batch counted. Answers which were: not those of agents that have as many, or that do not
    /// exist. Those that end later than one would were made before the clock was set back, and do not
    /// count.
    pub async fn insert_challenges(
        &mut self,
        challenges: &[&NewChallenge],
        live_max: u32,
    ) -> Result<HashSet<Sha256>, StoreError> {
        // Of two at once one counts after the other.
        self.conn.hold_agents(challenges.iter().map(|challenge| &challenge.agent)).await?;
        let mut earlier = HashMap::<&AgentId, u32>::new();
        let mut rows = Vec::with_capacity(challenges.len());
        for challenge in challenges {
            let earlier = earlier.entry(&challenge.agent).or_default();
            rows.push(json!({
                "id": challenge.agent, "challenge": challenge.sha256.hex(), "earlier": earlier,
                "made": challenge.created_at.as_micros(), "ends": challenge.expires_at.as_micros(),
            }));
            *earlier += 1;
        }
        let columns = [
            ("id", JsonType::Text),
            ("challenge", JsonType::Bytes),
            ("earlier", JsonType::Int),
            ("made", JsonType::Int),
            ("ends", JsonType::Int),
        ];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let insert = Select::dynamic([
            "INSERT INTO handshake_challenges
             (agent_id, org_id, challenge_sha256, created_at, expires_at)
             SELECT a.id, a.org_id, r.challenge, r.made, r.ends FROM ",
            &table,
            " JOIN agents AS a ON a.id = r.id
             WHERE r.earlier + (SELECT COUNT(*) FROM handshake_challenges AS h
                WHERE h.agent_id = r.id AND h.expires_at > r.made AND h.expires_at <= r.ends) < $2
             RETURNING challenge_sha256",
        ]);
        let query = self.conn.select(CHALLENGES, insert).bind(json!(rows).to_string());
        let kept = query.bind(i64::from(live_max)).fetch_all().await?;
        kept.iter().map(|row| row.get("challenge_sha256")).collect()
    }

    /// Which of these agents are still what they were taken for, approved or quarantined, while the
    /// challenge that each answered lives; and their continuations. Nobody else changes them before
    /// this transaction ends.
    pub async fn standing(
        &mut self,
        answered: &[&Answered],
        now: Timestamp,
    ) -> Result<HashMap<AgentId, Option<Continuation>>, StoreError> {
        self.conn.hold_agents(answered.iter().map(|answered| &answered.agent)).await?;
        let row = |answered: &&Answered| {
            json!({
                "id": answered.agent, "challenge": answered.challenge_sha256.hex(),
                "epoch": answered.epoch, "identity": Sha256(answered.identity_key).hex(),
                "machine": answered.machine_id, "version": answered.version,
            })
        };
        let columns = [
            ("id", JsonType::Text),
            ("challenge", JsonType::Bytes),
            ("epoch", JsonType::Int),
            ("identity", JsonType::Bytes),
            ("machine", JsonType::Text),
            ("version", JsonType::Text),
        ];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let select = Select::dynamic([
            "SELECT a.id, c.current_sha256, c.previous_sha256 FROM ",
            &table,
            " JOIN agents AS a ON a.id = r.id AND a.epoch = r.epoch
                AND a.status IN ('approved', 'quarantined') AND a.identity_key = r.identity
                AND COALESCE(a.machine_id, '') = COALESCE(r.machine, '') AND a.version = r.version
             JOIN handshake_challenges AS h ON h.agent_id = r.id
                AND h.challenge_sha256 = r.challenge AND h.expires_at > $2
             LEFT JOIN continuations AS c ON c.agent_id = a.id",
        ]);
        let rows: serde_json::Value = answered.iter().map(row).collect();
        let query = self.conn.select(CONTINUATIONS, select).bind(rows.to_string()).bind(now);
        let rows = query.fetch_all().await?;
        rows.iter().map(|row| Ok((row.get("id")?, continuation(row)?))).collect()
    }

    /// Takes every challenge of these agents away, and answers which: who had one is known by that it is
    /// among them, for nobody else takes it too.
    pub async fn consume_all(
        &mut self,
        agents: impl Iterator<Item = &AgentId>,
    ) -> Result<HashSet<(AgentId, Sha256)>, StoreError> {
        let agents: serde_json::Value = agents.map(|agent| json!(agent)).collect();
        let named = self.conn.dialect().texts_of_json("$1", "n");
        let delete = Select::dynamic([
            "DELETE FROM handshake_challenges WHERE agent_id IN (SELECT n.value FROM ",
            &named,
            ") RETURNING agent_id, challenge_sha256",
        ]);
        let rows = self.conn.select(CHALLENGES, delete).bind(agents.to_string());
        let rows = rows.fetch_all().await?;
        rows.iter().map(|row| Ok((row.get("agent_id")?, row.get("challenge_sha256")?))).collect()
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

    /// Replaces continuations, with the commit at the latest.
    pub fn set_continuations(
        &mut self,
        continuations: &[(&AgentId, Continuation)],
    ) -> Result<(), StoreError> {
        let row = |(agent, continuation): &(&AgentId, Continuation)| {
            let previous = continuation.previous.map(Sha256::hex);
            json!({ "id": agent, "current": continuation.current.hex(), "previous": previous })
        };
        let columns =
            [("id", JsonType::Text), ("current", JsonType::Bytes), ("previous", JsonType::Bytes)];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let upsert = Select::dynamic([
            "INSERT INTO continuations (agent_id, org_id, current_sha256, previous_sha256)
             SELECT a.id, a.org_id, r.current, r.previous FROM ",
            &table,
            " JOIN agents AS a ON a.id = r.id WHERE TRUE ORDER BY a.id
             ON CONFLICT (agent_id) DO UPDATE SET current_sha256 = excluded.current_sha256,
             previous_sha256 = excluded.previous_sha256",
        ]);
        let rows: serde_json::Value = continuations.iter().map(row).collect();
        self.conn.select(CONTINUATIONS, upsert).bind(rows.to_string()).later()
    }
}

fn continuation(row: &Row) -> Result<Option<Continuation>, StoreError> {
    let current: Option<Sha256> = row.optional("current_sha256")?;
    let previous = row.optional("previous_sha256")?;
    Ok(current.map(|current| Continuation { current, previous }))
}
