//! Discovered cloud resources.

use serde::{Deserialize, Serialize};

/// One resource as an agent sends it. Fields that this shape does not know, such as the `id`,
/// `account_id` or `status` of other people's agents, are ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngestResource {
    /// Such as `aws`.
    pub provider: String,
    /// Such as `eu-central-1`.
    #[serde(default)]
    pub region: String,
    /// Such as `vpc`.
    pub resource_type: String,
    /// The provider's own id.
    pub resource_id: String,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Address range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// The provider's id of what contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_resource_id: Option<String>,
    /// Whatever else the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Body of `POST /api/v1/discovery/ingest`. One call is a whole run whose scope is what its
/// resources name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ingest {
    /// The account; an agent may name only its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<i64>,
    /// What was seen; null counts as nothing.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 50_000))]
    pub resources: Option<Vec<IngestResource>>,
    /// The caller's own id, or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
}

/// Answer of `ingest`; it is durable when it arrives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ingested {
    /// The sync job that this call was.
    pub job_id: String,
    /// In the body.
    pub resources_found: u64,
    /// New.
    pub resources_created: u64,
    /// Changed, or seen again after having been stale.
    pub resources_updated: u64,
    /// Gone from the scope: stale now.
    pub resources_deleted: u64,
}

/// A stored resource.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resource {
    /// Argosy's own id of it.
    pub id: String,
    /// Its account.
    pub account_id: i64,
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
    /// Address range.
    pub cidr: Option<String>,
    /// The provider's id of what contains it.
    pub parent_resource_id: Option<String>,
    /// `active` or `stale`.
    pub status: String,
    /// Whatever else the provider says.
    pub metadata: serde_json::Value,
    /// First seen, by the server's clock.
    pub discovered_at: String,
    /// Last seen, by the server's clock.
    pub last_seen_at: String,
}
