//! Agents in numbers, of an organisation or of all: by status, by health, by version, by when they were
//! heard, by what is odd.

use std::time::Duration;

use argosy_domain::{
    agent::AgentStatus,
    id::OrgId,
    limits::{HEALTHY_WITHIN, STALE_WITHIN},
    time::Timestamp,
};

use super::{Agents, HealthCounts, TABLE};
use crate::{error::StoreError, page::Select, value::Row};

/// Spans of silence that [`Agents::silence_in`] tells apart, shortest first.
pub const SILENCE_BOUNDS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(24 * 3600),
];

impl<A> Agents<'_, A> {
    /// The agents of an organisation, or all, by their status.
    pub async fn counts_in(
        &mut self,
        org: Option<&OrgId>,
    ) -> Result<Vec<(AgentStatus, u64)>, StoreError> {
        let base = "SELECT status, COUNT(*) AS n FROM agents WHERE status IS NOT NULL";
        let select = Select::new(base, []).and_if("org_id = ?", org);
        let select = select.ending(" GROUP BY status ORDER BY status");
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        let count = |row: &Row| Ok((row.parsed("status", AgentStatus::parse)?, row.get("n")?));
        rows.iter().map(count).collect()
    }

    /// How the approved agents of an organisation, or all, are at `now`.
    pub async fn health_in(
        &mut self,
        org: Option<&OrgId>,
        now: Timestamp,
    ) -> Result<HealthCounts, StoreError> {
        let base = "SELECT COALESCE(SUM(CASE WHEN p.last_seen > $1 THEN 1 ELSE 0 END), 0) AS fresh,
            COALESCE(SUM(CASE WHEN p.last_seen > $2 THEN 1 ELSE 0 END), 0) AS known,
            COALESCE(SUM(CASE WHEN p.connected THEN 1 ELSE 0 END), 0) AS linked,
            COUNT(*) AS total FROM agents AS a LEFT JOIN agent_presence AS p ON p.agent_id = a.id
            WHERE a.status = 'approved'";
        let since = [HEALTHY_WITHIN, STALE_WITHIN].map(|span| now.minus(span).into());
        let select = Select::new(base, since).and_if("a.org_id = ?", org);
        let Some(row) = self.conn.select(TABLE, select).fetch_optional().await? else {
            return Ok(HealthCounts::default());
        };
        let (healthy, known): (u64, u64) = (row.get("fresh")?, row.get("known")?);
        let total: u64 = row.get("total")?;
        Ok(HealthCounts {
            healthy,
            stale: known.saturating_sub(healthy),
            offline: total.saturating_sub(known),
            connected: row.get("linked")?,
        })
    }
    /// How many admitted agents have which version.
    pub async fn versions_in(&mut self, org: &OrgId) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = "SELECT version, COUNT(*) AS n FROM agents WHERE org_id = $1
            AND status IN ('approved', 'quarantined') AND version IS NOT NULL
            GROUP BY version ORDER BY version";
        let rows = self.conn.query(TABLE, sql).bind(org).fetch_all().await?;
        rows.iter().map(|row| Ok((row.get("version")?, row.get("n")?))).collect()
    }

    /// How many admitted agents have been silent at `now` for less than each of
    /// [`SILENCE_BOUNDS`], for longer, and for ever.
    pub async fn silence_in(
        &mut self,
        org: &OrgId,
        now: Timestamp,
    ) -> Result<[u64; SILENCE_BOUNDS.len() + 2], StoreError> {
        let sql = "SELECT CAST(CASE WHEN p.last_seen IS NULL THEN 6 WHEN p.last_seen > $2 THEN 0
            WHEN p.last_seen > $3 THEN 1 WHEN p.last_seen > $4 THEN 2 WHEN p.last_seen > $5 THEN 3
            WHEN p.last_seen > $6 THEN 4 ELSE 5 END AS BIGINT) AS band, COUNT(*) AS n
            FROM agents AS a LEFT JOIN agent_presence AS p ON p.agent_id = a.id
            WHERE a.org_id = $1 AND a.status IN ('approved', 'quarantined') GROUP BY 1";
        let query = self.conn.query(TABLE, sql).bind(org);
        let query = SILENCE_BOUNDS.iter().fold(query, |query, span| query.bind(now.minus(*span)));
        let mut counts = [0; SILENCE_BOUNDS.len() + 2];
        for row in query.fetch_all().await? {
            let band: u64 = row.get("band")?;
            if let Some(count) = usize::try_from(band).ok().and_then(|band| counts.get_mut(band)) {
                *count = row.get("n")?;
            }
        }
        Ok(counts)
    }

    /// How many live agents an operator should look at.
    pub async fn count_under_review(&mut self, org: &OrgId) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM agents WHERE org_id = $1 AND review IS NOT NULL
            AND status IN ('approved', 'quarantined')";
        self.conn.query(TABLE, sql).bind(org).fetch_one().await?.get("n")
    }

    /// How many registrations of an organisation wait for an operator.
    pub async fn count_pending(&mut self, org: &OrgId) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM agents WHERE org_id = $1 AND status = 'pending'";
        self.conn.query(TABLE, sql).bind(org).fetch_one().await?.get("n")
    }
}
