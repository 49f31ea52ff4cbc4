//! The end of a run: what it read whole and did not deliver is stale, and nothing else.

use std::collections::HashMap;

use argosy_domain::{
    discovery::RegionOutcome,
    id::{AccountId, OrgId, SyncJobId},
    time::Timestamp,
};
use serde_json::json;

use super::{Resources, TABLE};
use crate::{dialect::JsonType, error::StoreError, handle::ReadWrite, page::Select};

/// A run whose last chunk has come.
#[derive(Debug, Clone, Copy)]
pub struct RunEnd<'a> {
    /// Its tenant.
    pub org: &'a OrgId,
    /// Its job.
    pub job: &'a SyncJobId,
    /// When it began.
    pub begun_at: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// What became of each region.
    pub outcomes: &'a [RegionOutcome],
}

const PLACES: &[(&str, JsonType)] =
    &[("account_id", JsonType::Int), ("provider", JsonType::Text), ("region", JsonType::Text)];

/// The places that the run read whole, as a JSON array.
fn places(outcomes: &[RegionOutcome]) -> String {
    let read = outcomes.iter().filter(|outcome| outcome.failure.is_none());
    let place = |outcome: &RegionOutcome| {
        json!({
            "account_id": outcome.account.0, "provider": outcome.provider,
            "region": outcome.region,
        })
    };
    read.map(place).collect::<serde_json::Value>().to_string()
}

impl<A> Resources<'_, A> {
    /// When something of each account was last read whole; accounts of which nothing was are not there.
    pub async fn last_reads(
        &mut self,
        org: &OrgId,
    ) -> Result<HashMap<AccountId, Timestamp>, StoreError> {
        let sql = "SELECT account_id, MAX(seen_at) AS seen_at FROM sync_regions WHERE org_id = $1
            GROUP BY account_id";
        let rows = self.conn.query("sync_regions", sql).bind(org).fetch_all().await?;
        rows.iter().map(|row| Ok((row.get("account_id")?, row.get("seen_at")?))).collect()
    }
}

impl Resources<'_, ReadWrite> {
    /// Ends a run: marks as stale what is active in the places that it read whole and that it did not
    /// deliver; answers how many. A place that a run which began later has read is left alone, and so
    /// is what was written since this one began. What this run delivered is active, whoever thought
    /// otherwise meanwhile.
    pub async fn end_run(&mut self, run: RunEnd<'_>) -> Result<u64, StoreError> {
        self.revive(run).await?;
        let places_text = places(run.outcomes);
        if places_text == "[]" {
            return Ok(0);
        }
        let dialect = self.conn.dialect();
        let table = dialect.rows_of_json(1, PLACES);
        let delivered = dialect.texts_of_json("c.delivered", "d");
        let stale = Select::dynamic([
            "UPDATE resources SET status = 'stale', job_id = $3, last_seen_at = COALESCE(
                (SELECT g.seen_at FROM sync_regions AS g WHERE g.account_id = resources.account_id
                 AND g.provider = resources.provider AND g.region = resources.region
                 AND g.seen_at > resources.last_seen_at), last_seen_at)
             WHERE id IN (SELECT x.id FROM ",
            &table,
            " JOIN resources AS x ON x.org_id = $2 AND x.account_id = r.account_id
                AND x.provider = r.provider AND x.region = r.region
             LEFT JOIN sync_regions AS g ON g.account_id = r.account_id
                AND g.provider = r.provider AND g.region = r.region
             WHERE x.status = 'active' AND x.last_seen_at <= $4
             AND (g.begun_at IS NULL OR g.begun_at <= $4)
             EXCEPT SELECT d.value FROM sync_chunks AS c, ",
            &delivered,
            " WHERE c.job_id = $3)",
        ]);
        let query = self.conn.select(TABLE, stale).bind(places_text.as_str());
        let gone = query.bind(run.org).bind(run.job).bind(run.begun_at).execute().await?;
        if gone > 0 {
            let sql = "INSERT INTO resource_changes (row_id, job_id, kind, org_id, at, fields)
                SELECT id, job_id, 'vanished', org_id, $3, '[]' FROM resources
                WHERE org_id = $1 AND job_id = $2 AND status = 'stale'
                ON CONFLICT (row_id, job_id, kind) DO NOTHING";
            let query = self.conn.query("resource_changes", sql).bind(run.org).bind(run.job);
            query.bind(run.now).execute().await?;
        }
        self.note_places(run, places_text).await?;
        Ok(gone)
    }

    /// Another run may have ended while this one was under way, and have called stale what this one
    /// delivered.
    async fn revive(&mut self, run: RunEnd<'_>) -> Result<(), StoreError> {
        let sql = "SELECT 1 AS one FROM sync_regions WHERE org_id = $1 AND seen_at >= $2 LIMIT 1";
        let others = self.conn.query("sync_regions", sql).bind(run.org).bind(run.begun_at);
        if others.fetch_optional().await?.is_none() {
            return Ok(());
        }
        let delivered = self.conn.dialect().texts_of_json("c.delivered", "d");
        let wronged = [
            "(SELECT x.id FROM sync_chunks AS c, ",
            &delivered,
            " JOIN resources AS x ON x.id = d.value WHERE c.job_id = $2 AND x.status = 'stale')",
        ]
        .concat();
        let note = Select::dynamic([
            "INSERT INTO resource_changes (row_id, job_id, kind, org_id, at, fields)
             SELECT id, $2, 'reappeared', $1, $3, '[]' FROM resources WHERE org_id = $1 AND id IN ",
            &wronged,
            " ON CONFLICT (row_id, job_id, kind) DO NOTHING",
        ]);
        let query = self.conn.select("resource_changes", note).bind(run.org).bind(run.job);
        if query.bind(run.now).execute().await? == 0 {
            return Ok(());
        }
        let revive = Select::dynamic([
            "UPDATE resources SET status = 'active', job_id = $2, last_seen_at = $3
             WHERE org_id = $1 AND id IN ",
            &wronged,
        ]);
        let query = self.conn.select(TABLE, revive).bind(run.org).bind(run.job);
        query.bind(run.now).execute().await?;
        Ok(())
    }

    /// Everything that is active in these places was seen.
    async fn note_places(&mut self, run: RunEnd<'_>, places: String) -> Result<(), StoreError> {
        let table = self.conn.dialect().rows_of_json(1, PLACES);
        let upsert = Select::dynamic([
            "INSERT INTO sync_regions (account_id, provider, region, org_id, begun_at, seen_at)
             SELECT r.account_id, r.provider, r.region, $2, $3, $4 FROM ",
            &table,
            " WHERE TRUE ON CONFLICT (account_id, provider, region)
             DO UPDATE SET begun_at = excluded.begun_at, seen_at = excluded.seen_at
             WHERE sync_regions.begun_at <= excluded.begun_at",
        ]);
        let query = self.conn.select("sync_regions", upsert).bind(places);
        query.bind(run.org).bind(run.begun_at).bind(run.now).execute().await?;
        Ok(())
    }
}
