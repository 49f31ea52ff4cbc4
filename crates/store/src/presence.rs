//! Presence: when an agent was last seen, and whether a stream of it is open. Kept apart from the
//! agents because every heartbeat changes it.

use argosy_domain::{id::AgentId, time::Timestamp};

use crate::{
    authorities::AuthorityChange,
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate},
    page::Select,
    times::{TIMES, newest_times},
};

const TABLE: &str = "agent_presence";

aggregate! {
    /// Presence of agents.
    Presence
}

impl<A> Presence<'_, A> {
    /// The number of the agent's newest stream, open or not.
    pub async fn stream(&mut self, agent: &AgentId) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT stream FROM agent_presence WHERE agent_id = $1";
        let row = self.conn.query(TABLE, sql).bind(agent).fetch_optional().await?;
        row.map(|row| row.get("stream")).transpose()
    }

    /// How many agents have an open stream.
    pub async fn count_connected(&mut self) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM agent_presence WHERE connected";
        self.conn.query(TABLE, sql).fetch_one().await?.get("n")
    }
}

impl Presence<'_, ReadWrite> {
    /// Notes signs of life, in one statement however many they are. Earlier ones change nothing,
    /// and agents that do not exist are passed over. Answers how many rows changed.
    pub async fn touch_many(&mut self, seen: &[(AgentId, Timestamp)]) -> Result<u64, StoreError> {
        let rows = self.conn.dialect().rows_of_json(1, TIMES);
        let seen = newest_times(seen.iter().map(|(agent, at)| (agent.as_str(), *at)));
        let select = Select::dynamic([
            "INSERT INTO agent_presence (agent_id, org_id, last_seen, connected)
             SELECT a.id, a.org_id, r.at, FALSE FROM ",
            &rows,
            " JOIN agents AS a ON a.id = r.id WHERE TRUE ORDER BY a.id
             ON CONFLICT (agent_id) DO UPDATE SET last_seen = excluded.last_seen
             WHERE agent_presence.last_seen IS NULL
             OR agent_presence.last_seen < excluded.last_seen",
        ]);
        self.conn.select(TABLE, select).bind(seen).execute().await
    }

    /// A stream of the agent was opened at `at` on a server; answers its number, by which the
    /// newest is known. Where a server that runs holds an older one, it hears of it. None when
    /// there is no such agent. Streams of one agent are opened one after the other.
    pub async fn open_stream(
        &mut self,
        agent: &AgentId,
        replica: &str,
        at: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        // Its presence may not exist yet, so the agent is what is held.
        let hold = self.conn.dialect().hold_agent();
        if self.conn.query("agents", hold).bind(agent).fetch_optional().await?.is_none() {
            return Ok(None);
        }
        let sql = "SELECT 1 AS n FROM agent_presence AS p JOIN replicas AS r ON r.id = p.replica
            WHERE p.agent_id = $1 AND p.connected AND p.replica <> $2";
        let query = self.conn.query(TABLE, sql).bind(agent).bind(replica);
        if query.fetch_optional().await?.is_some() {
            self.conn.authority_changed(AuthorityChange::Agent(agent.clone()));
        }
        let sql = "INSERT INTO agent_presence (agent_id, org_id, last_seen, connected, replica,
            stream) SELECT id, org_id, $2, TRUE, $3, 1 FROM agents WHERE id = $1
            ON CONFLICT (agent_id) DO UPDATE SET connected = TRUE, replica = excluded.replica,
            stream = agent_presence.stream + 1, last_seen =
            CASE WHEN COALESCE(agent_presence.last_seen, 0) > excluded.last_seen
            THEN agent_presence.last_seen ELSE excluded.last_seen END RETURNING stream";
        let query = self.conn.query(TABLE, sql).bind(agent).bind(at).bind(replica);
        query.fetch_optional().await?.map(|row| row.get("stream")).transpose()
    }

    /// Streams that a server holds are open after all: others took it for dead. Those that are not
    /// the newest of their agents any more are passed over. Answers how many are open.
    pub async fn reopen_streams(
        &mut self,
        replica: &str,
        held: &[(AgentId, i64)],
    ) -> Result<u64, StoreError> {
        let columns = [("agent_id", JsonType::Text), ("stream", JsonType::Int)];
        let rows = self.conn.dialect().rows_of_json(1, &columns);
        let held: serde_json::Value = held
            .iter()
            .map(|(agent, stream)| serde_json::json!({ "agent_id": agent, "stream": stream }))
            .collect();
        // In the order of their ids, so that two servers never wait for each other.
        let select = Select::dynamic([
            "INSERT INTO agent_presence (agent_id, org_id, connected, replica, stream)
             SELECT p.agent_id, p.org_id, TRUE, $2, p.stream FROM ",
            &rows,
            " JOIN agent_presence AS p ON p.agent_id = r.agent_id AND p.stream = r.stream
             WHERE TRUE ORDER BY p.agent_id
             ON CONFLICT (agent_id) DO UPDATE SET connected = TRUE, replica = excluded.replica
             WHERE agent_presence.stream = excluded.stream",
        ]);
        self.conn.select(TABLE, select).bind(held.to_string()).bind(replica).execute().await
    }

    /// A stream was closed at `at`, which also is a sign of life. False when a newer one was opened
    /// meanwhile, here or elsewhere: then nothing changes.
    pub async fn close_stream(
        &mut self,
        agent: &AgentId,
        stream: i64,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE agent_presence SET connected = FALSE, replica = NULL, last_seen =
            CASE WHEN COALESCE(last_seen, 0) > $3 THEN last_seen ELSE $3 END
            WHERE agent_id = $1 AND stream = $2";
        self.conn.query(TABLE, sql).bind(agent).bind(stream).bind(at).changed().await
    }

    /// No stream is open: at the start of a server that is the only one.
    pub async fn clear_connected(&mut self) -> Result<u64, StoreError> {
        let sql = "UPDATE agent_presence SET connected = FALSE, replica = NULL WHERE connected";
        self.conn.query(TABLE, sql).execute().await
    }
}
