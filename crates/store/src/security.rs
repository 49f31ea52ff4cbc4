//! Security events, folded: repeats within a while are one row with a count, so that whoever
//! attacks again and again fills no disk.

use argosy_domain::{
    id::{AgentId, OrgId},
    security::SecurityKind,
    time::Timestamp,
};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    value::Row,
};

const TABLE: &str = "security_events";
const ORDER: (&str, &str) = ("last_at", "id");

selection! {
    select = "security_events",
    "id, org_id, fold_key, kind, agent_id, source, detail, first_at, last_at, times"
}

aggregate! {
    /// Security events.
    SecurityEvents
}

/// An event that is being written, or several of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityEvent {
    /// Its id where it is the first of its kind, a UUIDv7.
    pub id: String,
    /// The tenant that it is about.
    pub org: OrgId,
    /// The same for all that are one row.
    pub fold_key: String,
    /// What was seen.
    pub kind: SecurityKind,
    /// About which agent, where it is about one.
    pub agent: Option<AgentId>,
    /// Network address that it came from.
    pub source: Option<String>,
    /// The rest: a JSON object without secrets.
    pub detail: String,
    /// The first of them.
    pub first_at: Timestamp,
    /// The last of them.
    pub last_at: Timestamp,
    /// How many they are.
    pub times: u64,
}

/// An event as it is kept. The kind is text: an older or newer version may have written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityRow {
    /// Its id.
    pub id: String,
    /// The tenant that it is about.
    pub org: OrgId,
    /// What was seen.
    pub kind: String,
    /// About which agent.
    pub agent: Option<String>,
    /// Network address that it came from.
    pub source: Option<String>,
    /// The rest of the last one, JSON.
    pub detail: String,
    /// The first of them.
    pub first_at: Timestamp,
    /// The last of them.
    pub last_at: Timestamp,
    /// How many they are.
    pub times: u64,
}

/// Conditions on events; absent ones let everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityFilter {
    /// What was seen, exactly.
    pub kind: Option<SecurityKind>,
    /// About which agent.
    pub agent: Option<AgentId>,
    /// Seen then or later.
    pub since: Option<Timestamp>,
}

fn security_row(row: &Row) -> Result<SecurityRow, StoreError> {
    Ok(SecurityRow {
        id: row.get("id")?,
        org: row.get("org_id")?,
        kind: row.get("kind")?,
        agent: row.optional("agent_id")?,
        source: row.optional("source")?,
        detail: row.get("detail")?,
        first_at: row.get("first_at")?,
        last_at: row.get("last_at")?,
        times: row.get("times")?,
    })
}

impl<A> SecurityEvents<'_, A> {
    /// The organisation's events that the filter lets through, the last seen first.
    pub async fn list(
        &mut self,
        org: &OrgId,
        filter: &SecurityFilter,
        page: &PageRequest,
    ) -> Result<Page<SecurityRow>, StoreError> {
        let select = Select::new(select!("WHERE org_id = $1"), [org.into()])
            .and_if("kind = ?", filter.kind.map(SecurityKind::as_str))
            .and_if("agent_id = ?", filter.agent.as_ref())
            .and_if("last_at >= ?", filter.since)
            .page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, security_row)
    }
}

impl SecurityEvents<'_, ReadWrite> {
    /// Writes an event, or adds it to the row of its like.
    pub async fn record(&mut self, event: &SecurityEvent) -> Result<(), StoreError> {
        let sql = "INSERT INTO security_events
            (id, org_id, fold_key, kind, agent_id, source, detail, first_at, last_at, times)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            ON CONFLICT (org_id, fold_key) DO UPDATE SET detail = excluded.detail,
            times = security_events.times + excluded.times, last_at =
            CASE WHEN security_events.last_at > excluded.last_at
            THEN security_events.last_at ELSE excluded.last_at END";
        self.conn
            .query(TABLE, sql)
            .bind(event.id.as_str())
            .bind(&event.org)
            .bind(event.fold_key.as_str())
            .bind(event.kind.as_str())
            .bind(event.agent.as_ref())
            .bind(event.source.as_deref())
            .bind(event.detail.as_str())
            .bind(event.first_at)
            .bind(event.last_at)
            .bind(i64::try_from(event.times).unwrap_or(i64::MAX))
            .execute()
            .await?;
        Ok(())
    }

    /// Removes what was last seen before `before`, and of each organisation all but the newest
    /// `kept`. Answers how many rows.
    pub async fn purge(&mut self, before: Timestamp, kept: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM security_events WHERE last_at < $1";
        let mut gone = self.conn.query(TABLE, sql).bind(before).execute().await?;
        let sql = "SELECT org_id FROM security_events GROUP BY org_id HAVING COUNT(*) > $1";
        let crowded = self.conn.query(TABLE, sql).bind(kept).fetch_all().await?;
        for row in crowded {
            let org: OrgId = row.get("org_id")?;
            let sql = "DELETE FROM security_events WHERE org_id = $1 AND (last_at, id) <= (
                SELECT last_at, id FROM security_events WHERE org_id = $1
                ORDER BY last_at DESC, id DESC LIMIT 1 OFFSET $2)";
            gone += self.conn.query(TABLE, sql).bind(&org).bind(kept).execute().await?;
        }
        Ok(gone)
    }
}
