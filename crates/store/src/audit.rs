//! The audit log. Entries are written in the transaction of what they tell about; afterwards the
//! sealer gives them their place in the chain (`chain`), and nothing else of them ever changes.

mod chain;

use argosy_domain::{audit::AuditAction, chain::ChainedEntry, id::OrgId, time::Timestamp};

pub use self::chain::{CheckpointRow, OrgChain, SealedRow};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    value::Row,
};

const TABLE: &str = "audit_entries";
const ORDER: (&str, &str) = ("at", "id");

selection! {
    select = "audit_entries",
    "ordinal, id, org_id, at, actor, action, target, detail, source, trace_id, position,
    link"
}

aggregate! {
    /// The audit log.
    Audit
}

/// An entry that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its id, a UUIDv7.
    pub id: String,
    /// The tenant that it is about.
    pub org: OrgId,
    /// When.
    pub at: Timestamp,
    /// Who: `user:…`, `service:…`, `agent:…`, `token:…` or `server`.
    pub actor: String,
    /// What.
    pub action: AuditAction,
    /// To whom or what.
    pub target: Option<String>,
    /// The rest: a JSON object without secrets.
    pub detail: String,
    /// Network address that the request came from.
    pub source: Option<String>,
    /// Joins it to the log.
    pub trace_id: Option<String>,
}

/// An entry as it is kept. The action is text: an older or newer version may have written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its id.
    pub id: String,
    /// The tenant that it is about.
    pub org: OrgId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What, `noun.verb`.
    pub action: String,
    /// To whom or what.
    pub target: Option<String>,
    /// The rest, JSON.
    pub detail: String,
    /// Network address that the request came from.
    pub source: Option<String>,
    /// Joins it to the log.
    pub trace_id: Option<String>,
}

impl AuditRow {
    /// The entry as it is chained: every column, each as it is stored.
    pub fn chained(&self) -> ChainedEntry {
        ChainedEntry {
            action: self.action.clone(),
            actor: self.actor.clone(),
            at: self.at.to_string(),
            detail: self.detail.clone(),
            id: self.id.clone(),
            org: self.org.to_string(),
            source: self.source.clone(),
            target: self.target.clone(),
            trace_id: self.trace_id.clone(),
        }
    }
}

/// Conditions on entries; absent ones let everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Who, exactly.
    pub actor: Option<String>,
    /// What, exactly.
    pub action: Option<String>,
    /// To whom or what, exactly.
    pub target: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
}

fn audit_row(row: &Row) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        id: row.get("id")?,
        org: row.get("org_id")?,
        at: row.get("at")?,
        actor: row.get("actor")?,
        action: row.get("action")?,
        target: row.optional("target")?,
        detail: row.get("detail")?,
        source: row.optional("source")?,
        trace_id: row.optional("trace_id")?,
    })
}

impl<A> Audit<'_, A> {
    /// The organisation's entries that the filter lets through.
    pub async fn list(
        &mut self,
        org: &OrgId,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditRow>, StoreError> {
        let select = Select::new(select!("WHERE org_id = $1"), [org.into()])
            .and_if("actor = ?", filter.actor.as_deref())
            .and_if("action = ?", filter.action.as_deref())
            .and_if("target = ?", filter.target.as_deref())
            .and_if("at >= ?", filter.since)
            .page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, audit_row)
    }
}

impl Audit<'_, ReadWrite> {
    /// Writes an entry.
    pub fn record(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        let sql = "INSERT INTO audit_entries
            (id, org_id, at, actor, action, target, detail, source, trace_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        self.conn
            .query(TABLE, sql)
            .bind(entry.id.as_str())
            .bind(&entry.org)
            .bind(entry.at)
            .bind(entry.actor.as_str())
            .bind(entry.action.as_str())
            .bind(entry.target.as_deref())
            .bind(entry.detail.as_str())
            .bind(entry.source.as_deref())
            .bind(entry.trace_id.as_deref())
            .later()
    }
}
