//! Servers on one database: which run, and which of them does what only one may do.
//!
//! *Invariant:* times here are the database's own, so that servers whose clocks differ agree.

use std::time::Duration;

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate},
    page::Select,
};

const REPLICAS: &str = "replicas";
const LEASES: &str = "leases";

aggregate! {
    /// Servers and leases.
    Replicas
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl<A> Replicas<'_, A> {
    /// Servers that were seen within `alive_within`.
    pub async fn count_alive(&mut self, alive_within: Duration) -> Result<u64, StoreError> {
        let now = self.conn.dialect().now_micros();
        let select =
            Select::dynamic(["SELECT COUNT(*) AS n FROM replicas WHERE seen_at > ", now, " - $1"]);
        let query = self.conn.select(REPLICAS, select).bind(micros(alive_within));
        query.fetch_one().await?.get("n")
    }
}

impl Replicas<'_, ReadWrite> {
    /// A server says that it runs. False when it was not known: it has just started, or others
    /// have buried it.
    pub async fn beat(&mut self, id: &str) -> Result<bool, StoreError> {
        let now = self.conn.dialect().now_micros();
        let select = Select::dynamic(["UPDATE replicas SET seen_at = ", now, " WHERE id = $1"]);
        if self.conn.select(REPLICAS, select).bind(id).execute().await? > 0 {
            return Ok(true);
        }
        let select = Select::dynamic([
            "INSERT INTO replicas (id, started_at, seen_at) VALUES ($1, ",
            now,
            ", ",
            now,
            ") ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        ]);
        self.conn.select(REPLICAS, select).bind(id).execute().await?;
        Ok(false)
    }

    /// A server ends, and holds no stream and no lease any more.
    pub async fn leave(&mut self, id: &str) -> Result<(), StoreError> {
        let sql = "UPDATE agent_presence SET connected = FALSE, replica = NULL
            WHERE replica = $1";
        self.conn.query("agent_presence", sql).bind(id).execute().await?;
        let sql = "UPDATE leases SET expires_at = 0 WHERE holder = $1";
        self.conn.query(LEASES, sql).bind(id).execute().await?;
        let sql = "DELETE FROM replicas WHERE id = $1";
        self.conn.query(REPLICAS, sql).bind(id).execute().await?;
        Ok(())
    }

    /// Forgets servers that were not seen within `alive_within`, and the streams that they, or
    /// nobody, held. Answers how many streams.
    pub async fn bury(&mut self, alive_within: Duration) -> Result<u64, StoreError> {
        let now = self.conn.dialect().now_micros();
        let select = Select::dynamic(["DELETE FROM replicas WHERE seen_at <= ", now, " - $1"]);
        self.conn.select(REPLICAS, select).bind(micros(alive_within)).execute().await?;
        let sql = "UPDATE agent_presence SET connected = FALSE, replica = NULL
            WHERE connected AND (replica IS NULL OR replica NOT IN (SELECT id FROM replicas))";
        self.conn.query("agent_presence", sql).execute().await
    }

    /// Takes or renews a lease for `span`. Answers its epoch, which rises with each new holder;
    /// none while another server has it.
    pub async fn lease(
        &mut self,
        name: &'static str,
        holder: &str,
        span: Duration,
    ) -> Result<Option<i64>, StoreError> {
        let now = self.conn.dialect().now_micros();
        let select = Select::dynamic([
            "INSERT INTO leases (name, holder, epoch, expires_at) VALUES ($1, $2, 1, ",
            now,
            " + $3) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder,
            expires_at = excluded.expires_at, epoch = leases.epoch +
            CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END
            WHERE leases.holder = excluded.holder OR leases.expires_at <= ",
            now,
            " RETURNING epoch",
        ]);
        let query = self.conn.select(LEASES, select).bind(name).bind(holder).bind(micros(span));
        query.fetch_optional().await?.map(|row| row.get("epoch")).transpose()
    }
}
