//! Measured values of agents, thinned out as they age.
//!
//! Each value is counted in one bucket of every resolution in the transaction that brings it; so a
//! history of any length costs a bounded number of rows and no background work but forgetting.

use std::collections::BTreeMap;

use argosy_domain::{
    id::{AgentId, OrgId},
    telemetry::{MetricName, Resolution, Sample, Summary},
    time::Timestamp,
};

use crate::{
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate},
    page::Select,
    value::{Row, storable},
};

const SERIES: &str = "telemetry_series";
const BUCKETS: &str = "telemetry_buckets";

aggregate! {
    /// Measured values.
    Telemetry
}

/// A series and its newest value.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesRow {
    /// What is measured.
    pub metric: String,
    /// Of which part of the host; empty for all of it.
    pub label: String,
    /// The newest value.
    pub value: f64,
    /// When it was measured.
    pub at: Timestamp,
}

/// What one bucket of one series holds.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketRow {
    /// Of which part of the host.
    pub label: String,
    /// When the bucket begins.
    pub at: Timestamp,
    /// What it holds.
    pub summary: Summary,
}

fn series(row: &Row) -> Result<SeriesRow, StoreError> {
    Ok(SeriesRow {
        metric: row.get("metric")?,
        label: row.get("label")?,
        value: row.get("value")?,
        at: row.get("at")?,
    })
}

fn bucket(row: &Row) -> Result<BucketRow, StoreError> {
    let summary = Summary {
        count: row.get("samples")?,
        low: row.get("low")?,
        high: row.get("high")?,
        total: row.get("total")?,
    };
    Ok(BucketRow { label: row.get("label")?, at: row.get("bucket_at")?, summary })
}

impl<A> Telemetry<'_, A> {
    /// The agent's series with their newest values.
    pub async fn series(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
    ) -> Result<Vec<SeriesRow>, StoreError> {
        let sql = "SELECT metric, label, value, at FROM telemetry_series
            WHERE org_id = $1 AND agent_id = $2 ORDER BY metric, label";
        let rows = self.conn.query(SERIES, sql).bind(org).bind(agent).fetch_all().await?;
        rows.iter().map(series).collect()
    }

    /// The buckets of a metric between two times, oldest first, `limit` at most.
    pub async fn buckets(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
        metric: &MetricName,
        resolution: Resolution,
        (since, until): (Timestamp, Timestamp),
        limit: u32,
    ) -> Result<Vec<BucketRow>, StoreError> {
        let sql = "SELECT label, bucket_at, samples, low, high, total FROM telemetry_buckets
            WHERE org_id = $1 AND agent_id = $2 AND metric = $3 AND resolution_s = $4
            AND bucket_at >= $5 AND bucket_at <= $6 ORDER BY bucket_at, label LIMIT $7";
        let query = self.conn.query(BUCKETS, sql).bind(org).bind(agent).bind(metric.as_str());
        let query = query.bind(resolution.seconds()).bind(since).bind(until).bind(limit);
        query.fetch_all().await?.iter().map(bucket).collect()
    }
}

/// Each series once, with its newest value.
fn newest_of(samples: &[Sample]) -> serde_json::Value {
    let mut newest: BTreeMap<(&str, &str), &Sample> = BTreeMap::new();
    for sample in samples {
        let kept = newest.entry((sample.metric.as_str(), &sample.label)).or_insert(sample);
        if sample.at >= kept.at {
            *kept = sample;
        }
    }
    let row = |((metric, label), sample): ((&str, &str), &Sample)| {
        serde_json::json!({
            "metric": metric,
            "label": storable(label.to_owned()),
            "value": sample.value,
            "at": sample.at.as_micros(),
        })
    };
    newest.into_iter().map(row).collect()
}

/// Each bucket once, because a statement cannot change a row twice; those that would be forgotten
/// at once are left out.
fn buckets_of(samples: &[Sample], now: Timestamp) -> serde_json::Value {
    let mut buckets: BTreeMap<_, Summary> = BTreeMap::new();
    for sample in samples {
        let age = now.since(sample.at);
        for resolution in Resolution::ALL.into_iter().filter(|kept| kept.kept() >= age) {
            let key =
                (sample.metric.as_str(), resolution, resolution.bucket(sample.at), &sample.label);
            let one = Summary::of(sample.value);
            buckets.entry(key).and_modify(|sum| *sum = sum.and(one)).or_insert(one);
        }
    }
    let row = |((metric, resolution, at, label), sum): (
        (&str, Resolution, Timestamp, &String),
        Summary,
    )| {
        serde_json::json!({
            "metric": metric,
            "label": storable(label.clone()),
            "resolution_s": resolution.seconds(),
            "bucket_at": at.as_micros(),
            "samples": sum.count,
            "low": sum.low,
            "high": sum.high,
            "total": sum.total,
        })
    };
    buckets.into_iter().map(row).collect()
}

impl Telemetry<'_, ReadWrite> {
    /// Counts values of one agent. Of series that are new, only as many are taken as keep the agent
    /// within `series_max`; the values of the others are dropped. Three statements, however many
    /// values there are.
    pub async fn add(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
        samples: &[Sample],
        series_max: u32,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let newest = newest_of(samples).to_string();
        let columns = [
            ("metric", JsonType::Text),
            ("label", JsonType::Text),
            ("value", JsonType::Real),
            ("at", JsonType::Int),
        ];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let known = "(SELECT 1 FROM telemetry_series AS s WHERE s.agent_id = $2
             AND s.metric = r.metric AND s.label = r.label)";
        let insert = Select::dynamic([
            "INSERT INTO telemetry_series (org_id, agent_id, metric, label, value, at)
             SELECT $3, $2, r.metric, r.label, r.value, r.at FROM ",
            &table,
            " WHERE TRUE ORDER BY CASE WHEN EXISTS ",
            known,
            " THEN 0 ELSE 1 END, r.metric, r.label LIMIT $4
             ON CONFLICT (agent_id, metric, label) DO UPDATE SET
             value = excluded.value, at = excluded.at WHERE telemetry_series.at <= excluded.at",
        ]);
        let room = Select::dynamic([
            "SELECT (SELECT COUNT(*) FROM telemetry_series WHERE agent_id = $2) AS held,
             COUNT(CASE WHEN EXISTS ",
            known,
            " THEN 1 END) AS known FROM ",
            &table,
        ]);
        let query = self.conn.select(SERIES, room).bind(newest.as_str()).bind(agent);
        let row = query.fetch_one().await?;
        let (held, known): (u32, u32) = (row.get("held")?, row.get("known")?);
        let taken = known + series_max.saturating_sub(held);
        let query = self.conn.select(SERIES, insert).bind(newest).bind(agent).bind(org);
        query.bind(taken).execute().await?;
        self.count(org, agent, &buckets_of(samples, now).to_string()).await
    }

    async fn count(&mut self, org: &OrgId, agent: &AgentId, rows: &str) -> Result<(), StoreError> {
        let columns = [
            ("metric", JsonType::Text),
            ("label", JsonType::Text),
            ("resolution_s", JsonType::Int),
            ("bucket_at", JsonType::Int),
            ("samples", JsonType::Int),
            ("low", JsonType::Real),
            ("high", JsonType::Real),
            ("total", JsonType::Real),
        ];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let upsert = Select::dynamic([
            "INSERT INTO telemetry_buckets (org_id, agent_id, metric, label, resolution_s,
             bucket_at, samples, low, high, total)
             SELECT $2, $3, r.metric, r.label, r.resolution_s, r.bucket_at, r.samples, r.low,
             r.high, r.total FROM ",
            &table,
            " JOIN telemetry_series AS s ON s.agent_id = $3 AND s.metric = r.metric
             AND s.label = r.label WHERE TRUE
             ON CONFLICT (agent_id, metric, resolution_s, bucket_at, label) DO UPDATE SET
             samples = telemetry_buckets.samples + excluded.samples,
             low = CASE WHEN excluded.low < telemetry_buckets.low THEN excluded.low
             ELSE telemetry_buckets.low END,
             high = CASE WHEN excluded.high > telemetry_buckets.high THEN excluded.high
             ELSE telemetry_buckets.high END,
             total = telemetry_buckets.total + excluded.total",
        ]);
        let query = self.conn.select(BUCKETS, upsert).bind(rows).bind(org).bind(agent);
        query.execute().await?;
        Ok(())
    }

    /// Forgets buckets that are older than their resolution is kept, `rows_max` at most, the finest
    /// first; answers how many.
    pub async fn purge(&mut self, now: Timestamp, rows_max: u32) -> Result<u64, StoreError> {
        let mut gone = 0;
        for resolution in Resolution::ALL {
            let sql = "DELETE FROM telemetry_buckets
                WHERE (agent_id, metric, resolution_s, bucket_at, label) IN
                (SELECT agent_id, metric, resolution_s, bucket_at, label FROM telemetry_buckets
                WHERE resolution_s = $1 AND bucket_at < $2 LIMIT $3)";
            let before = now.minus(resolution.kept());
            let room = rows_max.saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX));
            let query = self.conn.query(BUCKETS, sql).bind(resolution.seconds()).bind(before);
            gone += query.bind(room).execute().await?;
        }
        Ok(gone)
    }

    /// Forgets series that have no value since `before`, so that others find room; their buckets
    /// stay. Answers how many.
    pub async fn forget_series(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM telemetry_series WHERE at < $1";
        self.conn.query(SERIES, sql).bind(before).execute().await
    }
}
