//! Discovered resources. Ingest is one batch statement for each chunk.
//!
//! A resource's own number follows from organisation, account, provider, region, type and the
//! provider's id, so the same thing seen twice is one row, whoever sees it.

use std::collections::BTreeMap;

use argosy_domain::{
    digest::Sha256,
    id::{AccountId, OrgId, ResourceRowId, SyncJobId},
    resource::{Resource, ResourceStatus},
    time::Timestamp,
};
use serde_json::json;

use crate::{
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, contains_pattern, page_of},
    value::{Row, Value, storable},
};

const TABLE: &str = "resources";
const ORDER: (&str, &str) = ("first_seen_at", "id");

selection! {
    select = "resources",
    "id, org_id, account_id, job_id, provider, region, resource_type, resource_id, name,
    cidr, parent_resource_id, metadata, content_sha256, status, first_seen_at,
    last_seen_at"
}

aggregate! {
    /// Resources.
    Resources
}

/// What an upsert did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpsertCounts {
    /// New resources.
    pub created: u64,
    /// Resources that differ from what was known, or came back.
    pub updated: u64,
    /// Resources as they were known.
    pub unchanged: u64,
}

impl UpsertCounts {
    /// All of them.
    pub fn found(self) -> u64 {
        self.created + self.updated + self.unchanged
    }
}

/// A resource as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceRow {
    /// Its number here.
    pub id: ResourceRowId,
    /// Its tenant.
    pub org: OrgId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// The job that saw it last.
    pub job: SyncJobId,
    /// What it is.
    pub resource: Resource,
    /// Whether the last whole run over its scope saw it.
    pub status: ResourceStatus,
    /// When it was first seen, by the server's clock.
    pub first_seen_at: Timestamp,
    /// When it was last seen.
    pub last_seen_at: Timestamp,
}

/// Conditions on resources; absent ones let everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceFilter {
    /// Its account.
    pub account: Option<AccountId>,
    /// Such as `aws`.
    pub provider: Option<String>,
    /// Such as `eu-central-1`.
    pub region: Option<String>,
    /// Such as `vpc`.
    pub resource_type: Option<String>,
    /// Active or stale.
    pub status: Option<ResourceStatus>,
    /// Found anywhere in name, provider's id or address range; case does not matter.
    pub q: Option<String>,
}

fn resource_row(row: &Row) -> Result<ResourceRow, StoreError> {
    let metadata: String = row.get("metadata")?;
    Ok(ResourceRow {
        id: row.get("id")?,
        org: row.get("org_id")?,
        account: row.get("account_id")?,
        job: row.get("job_id")?,
        resource: Resource {
            provider: row.get("provider")?,
            region: row.get("region")?,
            resource_type: row.get("resource_type")?,
            resource_id: row.get("resource_id")?,
            name: row.get("name")?,
            cidr: row.optional("cidr")?,
            parent_resource_id: row.optional("parent_resource_id")?,
            metadata: serde_json::from_str(&metadata).map_err(|_| row.corrupt("metadata"))?,
        },
        status: row.parsed("status", ResourceStatus::parse)?,
        first_seen_at: row.get("first_seen_at")?,
        last_seen_at: row.get("last_seen_at")?,
    })
}

/// The columns that a batch carries for each resource.
const BATCH: &[(&str, JsonType)] = &[
    ("id", JsonType::Text),
    ("provider", JsonType::Text),
    ("region", JsonType::Text),
    ("resource_type", JsonType::Text),
    ("resource_id", JsonType::Text),
    ("name", JsonType::Text),
    ("cidr", JsonType::Text),
    ("parent_resource_id", JsonType::Text),
    ("metadata", JsonType::Text),
    ("content_sha256", JsonType::Text),
];

/// A chunk as one JSON text, each resource once and in the order of their numbers.
fn batch(org: &OrgId, account: AccountId, resources: &[Resource]) -> (usize, String) {
    let mut rows = BTreeMap::new();
    for resource in resources {
        let key = json!([
            org.as_str(),
            account.0,
            resource.provider,
            resource.region,
            resource.resource_type,
            resource.resource_id,
        ]);
        let number = hex::encode(&Sha256::of(key.to_string().as_bytes()).0[..16]);
        let text = |text: &str| storable(text.to_owned());
        let metadata = serde_json::Value::Object(resource.metadata.clone()).to_string();
        let cidr = resource.cidr.as_deref().map(text);
        let parent = resource.parent_resource_id.as_deref().map(text);
        let content = json!([resource.name, cidr, parent, metadata]).to_string();
        let row = json!({
            "id": number,
            "provider": text(&resource.provider),
            "region": text(&resource.region),
            "resource_type": text(&resource.resource_type),
            "resource_id": text(&resource.resource_id),
            "name": text(&resource.name),
            "cidr": cidr,
            "parent_resource_id": parent,
            "metadata": metadata,
            "content_sha256": hex::encode(Sha256::of(content.as_bytes()).0),
        });
        rows.insert(number, row);
    }
    (rows.len(), rows.into_values().collect::<serde_json::Value>().to_string())
}

impl<A> Resources<'_, A> {
    /// The organisation's resources that the filter lets through.
    pub async fn list(
        &mut self,
        org: &OrgId,
        filter: &ResourceFilter,
        page: &PageRequest,
    ) -> Result<Page<ResourceRow>, StoreError> {
        let pattern = filter.q.as_deref().map(contains_pattern);
        let select = Select::new(select!("WHERE org_id = $1"), [org.into()])
            .and_if("account_id = ?", filter.account)
            .and_if("provider = ?", filter.provider.as_deref())
            .and_if("region = ?", filter.region.as_deref())
            .and_if("resource_type = ?", filter.resource_type.as_deref())
            .and_if("status = ?", filter.status.map(ResourceStatus::as_str))
            .and_if(
                "(LOWER(name) LIKE ? ESCAPE '!' OR LOWER(resource_id) LIKE ? ESCAPE '!' \
                 OR LOWER(cidr) LIKE ? ESCAPE '!')",
                pattern,
            )
            .page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, resource_row)
    }

    /// The organisation's resource of that number.
    pub async fn get(
        &mut self,
        org: &OrgId,
        id: &ResourceRowId,
    ) -> Result<Option<ResourceRow>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND id = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).fetch_optional().await?;
        row.as_ref().map(resource_row).transpose()
    }
}

impl Resources<'_, ReadWrite> {
    /// Takes a chunk of a job in: two statements however many resources there are. A resource that
    /// is there twice counts once. The job must exist.
    pub async fn upsert_many(
        &mut self,
        org: &OrgId,
        account: AccountId,
        job: &SyncJobId,
        resources: &[Resource],
        now: Timestamp,
    ) -> Result<UpsertCounts, StoreError> {
        let (found, rows) = batch(org, account, resources);
        let table = self.conn.dialect().rows_of_json(1, BATCH);
        let known = Select::dynamic([
            "SELECT COUNT(*) AS known, COUNT(CASE WHEN x.content_sha256 = r.content_sha256
             AND x.status = 'active' THEN 1 END) AS unchanged FROM ",
            &table,
            " JOIN resources AS x ON x.id = r.id",
        ]);
        let known = self.conn.select(TABLE, known).bind(rows.as_str()).fetch_one().await?;
        let (known, unchanged): (u64, u64) = (known.get("known")?, known.get("unchanged")?);
        let upsert = Select::dynamic([
            "INSERT INTO resources (id, org_id, account_id, job_id, provider, region,
             resource_type, resource_id, name, cidr, parent_resource_id, metadata, content_sha256,
             status, first_seen_at, last_seen_at)
             SELECT r.id, $2, $3, $4, r.provider, r.region, r.resource_type, r.resource_id, r.name,
             r.cidr, r.parent_resource_id, r.metadata, r.content_sha256, 'active', $5, $5 FROM ",
            &table,
            " WHERE TRUE ORDER BY r.id ON CONFLICT (id) DO UPDATE SET job_id = excluded.job_id,
             name = excluded.name, cidr = excluded.cidr,
             parent_resource_id = excluded.parent_resource_id, metadata = excluded.metadata,
             content_sha256 = excluded.content_sha256, status = 'active',
             last_seen_at = excluded.last_seen_at",
        ]);
        let query = self.conn.select(TABLE, upsert).bind(rows);
        query.bind(org).bind(account).bind(job).bind(now).execute().await?;
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        Ok(UpsertCounts {
            created: found.saturating_sub(known),
            updated: known.saturating_sub(unchanged),
            unchanged,
        })
    }

    /// Marks as stale what is active in this scope and was not seen by the job; answers how many.
    pub async fn mark_stale(
        &mut self,
        org: &OrgId,
        account: AccountId,
        provider: &str,
        regions: &[String],
        job: &SyncJobId,
    ) -> Result<u64, StoreError> {
        let base = "UPDATE resources SET status = 'stale' WHERE org_id = $1 AND account_id = $2
            AND provider = $3 AND job_id <> $4 AND status = 'active'";
        let values = [org.into(), account.into(), provider.into(), job.into()];
        let regions = Value::from_iter(regions.iter().map(String::as_str));
        let select = Select::new(base, values).and(self.conn.dialect().region_in_list(), regions);
        self.conn.select(TABLE, select).execute().await
    }
}
