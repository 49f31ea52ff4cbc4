//! Discovered resources. Ingest is one batch statement for each chunk.
//!
//! A resource's own number follows from organisation, account, provider, region, type and the
//! provider's id, so the same thing seen twice is one row, whoever sees it. *Invariant:* a resource
//! that is as it was known is not written; that it was seen stands in its region's row.

mod changes;
mod ingest;
mod outline;
mod runs;
mod stretches;

use argosy_domain::{
    id::{AccountId, OrgId, ResourceRowId, SyncJobId},
    resource::{Resource, ResourceStatus},
    time::Timestamp,
};

use crate::{
    dialect::Dialect,
    error::StoreError,
    handle::{aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    value::Row,
};

pub use changes::ResourceChange;
pub use ingest::Upserted;
pub use runs::RunEnd;
pub use stretches::ReadStretch;

const TABLE: &str = "resources";
const ORDER: (&str, &str) = ("first_seen_at", "id");

selection! {
    select = "resources",
    "id, org_id, account_id, job_id, first_job, provider, region, resource_type, resource_id, name,
    cidr, parent_resource_id, metadata, content_sha256, status, first_seen_at, last_seen_at,
    (SELECT g.seen_at FROM sync_regions AS g WHERE g.account_id = resources.account_id
        AND g.provider = resources.provider AND g.region = resources.region) AS region_seen_at"
}

// Behind the macro, which it uses.
mod search;

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
    /// Adds those of another chunk.
    pub fn add(&mut self, other: Self) {
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
    }

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
    /// The job that wrote it last.
    pub job: SyncJobId,
    /// The job that saw it first, where that was kept.
    pub first_job: Option<SyncJobId>,
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
    /// Only networks that lie in nothing.
    pub roots: bool,
}

/// As much of a network or subnet as its address ranges need.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkRow {
    /// Its number here.
    pub id: ResourceRowId,
    /// Its account.
    pub account: AccountId,
    /// Such as `aws`.
    pub provider: String,
    /// Such as `eu-central-1`.
    pub region: String,
    /// Such as `vpc`.
    pub resource_type: String,
    /// The provider's own id.
    pub resource_id: String,
    /// For people.
    pub name: String,
    /// Its first range.
    pub cidr: Option<String>,
    /// The provider's id of what contains it.
    pub parent: Option<String>,
    /// Whatever else the provider says.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

fn network(row: &Row) -> Result<NetworkRow, StoreError> {
    let metadata: String = row.get("metadata")?;
    Ok(NetworkRow {
        id: row.get("id")?,
        account: row.get("account_id")?,
        provider: row.get("provider")?,
        region: row.get("region")?,
        resource_type: row.get("resource_type")?,
        resource_id: row.get("resource_id")?,
        name: row.get("name")?,
        cidr: row.optional("cidr")?,
        parent: row.optional("parent_resource_id")?,
        metadata: serde_json::from_str(&metadata).map_err(|_| row.corrupt("metadata"))?,
    })
}

fn resource_row(row: &Row) -> Result<ResourceRow, StoreError> {
    let metadata: String = row.get("metadata")?;
    let status = row.parsed("status", ResourceStatus::parse)?;
    let written_at: Timestamp = row.get("last_seen_at")?;
    let region_seen_at: Option<Timestamp> = row.optional("region_seen_at")?;
    Ok(ResourceRow {
        id: row.get("id")?,
        org: row.get("org_id")?,
        account: row.get("account_id")?,
        job: row.get("job_id")?,
        first_job: row.optional("first_job")?,
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
        status,
        first_seen_at: row.get("first_seen_at")?,
        last_seen_at: match status {
            ResourceStatus::Active => region_seen_at.map_or(written_at, |at| at.max(written_at)),
            ResourceStatus::Stale => written_at,
        },
    })
}

impl<A> Resources<'_, A> {
    /// The organisation's resources that the filter lets through.
    pub async fn list(
        &mut self,
        org: &OrgId,
        filter: &ResourceFilter,
        page: &PageRequest,
    ) -> Result<Page<ResourceRow>, StoreError> {
        let rows = self.found(org, filter, page).await?;
        page_of(rows, page, ORDER, resource_row)
    }

    /// The active resources that lie in one of these, by the provider's ids; at most `limit`.
    pub async fn children_of(
        &mut self,
        org: &OrgId,
        parents: &[&str],
        limit: u32,
    ) -> Result<Vec<ResourceRow>, StoreError> {
        let base = select!("WHERE org_id = $1 AND status = 'active'");
        let parents: crate::value::Value = parents.iter().copied().collect();
        let condition = match self.conn.dialect() {
            Dialect::Sqlite => "parent_resource_id IN (SELECT value FROM json_each(?))",
            Dialect::Postgres => {
                "parent_resource_id IN (SELECT json_array_elements_text(CAST(? AS JSON)))"
            }
        };
        let select = Select::new(base, [org.into()]).and(condition, parents);
        // Sorted here: SQLite would walk every resource in that order rather than look these few up.
        let rows = self.conn.select(TABLE, select.limit(limit)).fetch_all().await?;
        let mut rows = rows.iter().map(resource_row).collect::<Result<Vec<_>, _>>()?;
        let key = |row: &ResourceRow| {
            let resource = &row.resource;
            (resource.resource_type.clone(), resource.name.clone(), row.id.clone())
        };
        rows.sort_by_cached_key(key);
        Ok(rows)
    }

    /// The organisation's active networks, and its active subnets that have an address range. Networks
    /// of some providers have none of their own.
    pub async fn networks(
        &mut self,
        org: &OrgId,
        account: Option<AccountId>,
        page: &PageRequest,
    ) -> Result<Page<NetworkRow>, StoreError> {
        const BASE: &str = "SELECT id, account_id, provider, region, resource_type, resource_id,
            name, cidr, parent_resource_id, metadata, first_seen_at FROM resources
            WHERE org_id = $1 AND status = 'active' AND (
                resource_type IN ('vpc', 'network', 'virtual_network')
                OR (resource_type IN ('subnet', 'subnetwork') AND cidr IS NOT NULL))";
        let select = Select::new(BASE, [org.into()]).and_if("account_id = ?", account);
        let rows = self.conn.select(TABLE, select.page(ORDER, page)).fetch_all().await?;
        page_of(rows, page, ORDER, network)
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
