//! What happened to resources after they appeared.

use argosy_domain::{
    discovery::ChangeKind,
    id::{OrgId, ResourceRowId, SyncJobId},
    time::Timestamp,
};
use serde_json::json;

use super::Resources;
use crate::{dialect::JsonType, error::StoreError, handle::ReadWrite, page::Select, value::Row};

const TABLE: &str = "resource_changes";

/// Something that happened to a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceChange {
    /// What.
    pub kind: ChangeKind,
    /// When, by the server's clock.
    pub at: Timestamp,
    /// The job that noticed.
    pub job: SyncJobId,
    /// The fields that are different, where something changed.
    pub fields: Vec<String>,
}

/// A change that is about to be written.
pub(super) struct Change {
    pub(super) number: String,
    pub(super) kind: ChangeKind,
    pub(super) fields: Vec<&'static str>,
}

const BATCH: &[(&str, JsonType)] =
    &[("row_id", JsonType::Text), ("kind", JsonType::Text), ("fields", JsonType::Text)];

fn change(row: &Row) -> Result<ResourceChange, StoreError> {
    Ok(ResourceChange {
        kind: row.parsed("kind", ChangeKind::parse)?,
        at: row.get("at")?,
        job: row.get("job_id")?,
        fields: row.get("fields")?,
    })
}

impl<A> Resources<'_, A> {
    /// The newest changes of a resource, newest first.
    pub async fn changes_of(
        &mut self,
        org: &OrgId,
        id: &ResourceRowId,
        limit: u32,
    ) -> Result<Vec<ResourceChange>, StoreError> {
        let sql = "SELECT kind, at, job_id, fields FROM resource_changes
            WHERE org_id = $1 AND row_id = $2 ORDER BY at DESC, kind LIMIT $3";
        let query = self.conn.query(TABLE, sql).bind(org).bind(id).bind(limit);
        query.fetch_all().await?.iter().map(change).collect()
    }
}

impl Resources<'_, ReadWrite> {
    /// Writes changes down; what the same job noticed before is replaced.
    pub(super) async fn add_changes(
        &mut self,
        org: &OrgId,
        job: &SyncJobId,
        now: Timestamp,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        let rows = changes.iter().map(|change| {
            let fields = serde_json::Value::from_iter(change.fields.iter().copied()).to_string();
            json!({ "row_id": change.number, "kind": change.kind.as_str(), "fields": fields })
        });
        let rows = rows.collect::<serde_json::Value>().to_string();
        let table = self.conn.dialect().rows_of_json(1, BATCH);
        let insert = Select::dynamic([
            "INSERT INTO resource_changes (row_id, job_id, kind, org_id, at, fields)
             SELECT r.row_id, $2, r.kind, $3, $4, r.fields FROM ",
            &table,
            " WHERE TRUE ON CONFLICT (row_id, job_id, kind)
             DO UPDATE SET at = excluded.at, fields = excluded.fields",
        ]);
        let query = self.conn.select(TABLE, insert).bind(rows);
        query.bind(job).bind(org).bind(now).execute().await?;
        Ok(())
    }

    /// Forgets changes before `before`; answers how many.
    pub async fn purge_changes(
        &mut self,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let sql = "DELETE FROM resource_changes WHERE (row_id, job_id, kind) IN
            (SELECT row_id, job_id, kind FROM resource_changes WHERE at < $1 LIMIT $2)";
        self.conn.query(TABLE, sql).bind(before).bind(limit).execute().await
    }
}
