//! The audit log: written inside the transaction of what it records, chained soon after.

mod chain;
mod lines;
mod verify;

use argosy_domain::{
    access::{Caller, Permission},
    audit::AuditAction,
    id::OrgId,
    time::Timestamp,
};
use argosy_store::{AuditEntry, AuditFilter, AuditRow, Page, Tx};
use serde_json::Value;

pub use self::chain::{
    AuditExport, CHECKPOINT_ENTRIES, CHECKPOINT_INTERVAL, EXPORT_BATCH, ExportPart, SEAL_BATCH,
    Sealed,
};
pub use self::verify::{VERIFIED_MAX, Verdict};
use super::{App, Origin, error::AppResult, paging::PageQuery};

/// What is recorded beside who, when and where.
#[derive(Debug)]
pub struct Event<'a> {
    /// What happened.
    pub action: AuditAction,
    /// In which organisation.
    pub org: &'a OrgId,
    /// To what.
    pub target: Option<String>,
    /// More; never a secret.
    pub detail: Value,
}

/// Which entries a list shows.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// By whom.
    pub actor: Option<String>,
    /// Such as `agent.approved`.
    pub action: Option<String>,
    /// To what.
    pub target: Option<String>,
    /// From then on.
    pub since: Option<Timestamp>,
}

impl App {
    /// Adds an entry to the transaction.
    pub(crate) async fn record(
        &self,
        tx: &mut Tx,
        actor: &str,
        origin: &Origin,
        event: Event<'_>,
    ) -> AppResult<()> {
        let entry = AuditEntry {
            id: self.ids().uuid().to_string(),
            org: event.org.clone(),
            at: self.now(),
            actor: actor.to_owned(),
            action: event.action,
            target: event.target,
            detail: event.detail.to_string(),
            source: origin.source.map(|source| source.to_string()),
            trace_id: origin.trace_id.clone(),
        };
        Ok(tx.audit().record(&entry)?)
    }

    /// Records an event by itself: refusals, which change nothing else.
    pub(crate) async fn record_alone(
        &self,
        op: &'static str,
        actor: &str,
        origin: &Origin,
        event: Event<'_>,
    ) -> AppResult<()> {
        let mut tx = self.store().write(op).await?;
        self.record(&mut tx, actor, origin, event).await?;
        Ok(tx.commit().await?)
    }

    /// The caller's audit log, newest first.
    pub async fn list_audit(
        &self,
        caller: &Caller,
        query: AuditQuery,
        page: &PageQuery,
    ) -> AppResult<Page<AuditRow>> {
        let org = Self::own_org(caller, Permission::AuditRead)?;
        let filter = AuditFilter {
            actor: query.actor,
            action: query.action,
            target: query.target,
            since: query.since,
        };
        let mut reader = self.store().read("audit.list").await?;
        Ok(reader.audit().list(org, &filter, &page.request()?).await?)
    }
}
