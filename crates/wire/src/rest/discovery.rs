//! Discovered cloud resources.

use argosy_domain::limits::INGEST_RESOURCES_MAX;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};

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

/// Regions of a provider that were read whole: what lies there and did not come is gone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngestScope {
    /// Such as `aws`.
    pub provider: String,
    /// The regions.
    #[serde(default)]
    pub regions: Vec<String>,
}

/// A region that was not read: what is known of it stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngestFailure {
    /// Such as `aws`.
    pub provider: String,
    /// Such as `eu-central-1`; empty for all of them.
    #[serde(default)]
    pub region: String,
    /// Why, in a sentence.
    pub error: String,
    /// The provider's call that failed, such as `DescribeSubnets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The permission that is missing, such as `ec2:DescribeSubnets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}

/// At most [`INGEST_RESOURCES_MAX`] of them; null counts as nothing. More are not even read.
fn bounded<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<IngestResource>>, D::Error> {
    struct Bounded;

    impl<'de> Visitor<'de> for Bounded {
        type Value = Vec<IngestResource>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {INGEST_RESOURCES_MAX} resources")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut resources = Vec::new();
            while let Some(resource) = seq.next_element()? {
                if resources.len() == INGEST_RESOURCES_MAX {
                    return Err(de::Error::custom(format!(
                        "must hold at most {INGEST_RESOURCES_MAX} items"
                    )));
                }
                resources.push(resource);
            }
            Ok(resources)
        }
    }

    from.deserialize_any(Bounded).map(Some)
}

/// Body of `POST /api/v1/discovery/ingest`. Without `chunk` one call is a whole run; without `scope`
/// too, its scope is what its resources name. As lines (`application/x-ndjson`) the first one is this
/// without `resources`, and each further one is a resource.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ingest {
    /// The account; an agent may name only its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<i64>,
    /// What was seen; null counts as nothing.
    #[serde(default, deserialize_with = "bounded", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 50_000))]
    pub resources: Option<Vec<IngestResource>>,
    /// The caller's own id, or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The run that it belongs to: as a heartbeat's answer or the chunk before named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_job_id: Option<String>,
    /// What was read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<IngestScope>,
    /// What was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Vec<IngestFailure>>,
    /// Number of the chunk, from 0 or 1 on without a gap. One that comes again counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
    /// The run ends with this chunk.
    #[serde(default, rename = "final", skip_serializing_if = "Option::is_none")]
    pub last: Option<bool>,
}

/// What was seen in one account of a cloud organisation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngestAccount {
    /// The provider's own id of the account.
    pub aws_account_id: String,
    /// As the provider names it.
    #[serde(default)]
    pub account_name: String,
    /// As the provider knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_email: Option<String>,
    /// `aws`.
    #[serde(default = "aws")]
    pub provider: String,
    /// The regions that were read whole.
    #[serde(default)]
    pub regions: Vec<String>,
    /// What was seen; null counts as nothing.
    #[serde(default, deserialize_with = "bounded", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 50_000))]
    pub resources: Option<Vec<IngestResource>>,
    /// What was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Vec<IngestFailure>>,
}

fn aws() -> String {
    "aws".to_owned()
}

/// Body of `POST /api/v1/discovery/ingest/org`: one run over the accounts of a cloud organisation, or
/// a chunk of one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngestOrg {
    /// By account, at most 1,000.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 1_000))]
    pub accounts: Vec<IngestAccount>,
    /// The caller's own id, or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The run that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_job_id: Option<String>,
    /// Number of the chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
    /// The run ends with this chunk.
    #[serde(default, rename = "final", skip_serializing_if = "Option::is_none")]
    pub last: Option<bool>,
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

/// Something that happened to a resource.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceEvent {
    /// `appeared`, `changed`, `vanished` or `reappeared`.
    pub kind: String,
    /// When, by the server's clock.
    pub at: String,
    /// The sync job that noticed.
    pub sync_job_id: String,
    /// The fields that are different, where something changed.
    pub fields: Vec<String>,
}

/// A stored resource with what happened to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceDetail {
    /// The resource.
    #[serde(flatten)]
    pub resource: Resource,
    /// What happened to it, newest first.
    pub history: Vec<ResourceEvent>,
}

/// A resource with what lies in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(no_recursion))]
pub struct ResourceNode {
    /// The resource.
    #[serde(flatten)]
    pub resource: Resource,
    /// What lies in it: subnets in networks, interfaces in subnets, addresses in interfaces.
    pub children: Vec<ResourceNode>,
}

/// Networks with everything that lies in them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceTree {
    /// The networks, newest first.
    pub items: Vec<ResourceNode>,
    /// Where the list of networks goes on.
    pub next_cursor: Option<String>,
    /// Some of what lies in them is not shown, because there is too much: ask for fewer networks.
    pub truncated: bool,
}

/// A network or subnet, as an insight names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkName {
    /// Argosy's own id of it.
    pub id: String,
    /// Its account.
    pub account_id: i64,
    /// Such as `aws`.
    pub provider: String,
    /// Such as `eu-central-1`.
    pub region: String,
    /// The provider's own id.
    pub resource_id: String,
    /// For people.
    pub name: String,
    /// The address range that this is about.
    pub cidr: String,
}

/// Two networks whose address ranges overlap.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkOverlap {
    /// One of them: the one with the larger range.
    pub one: NetworkName,
    /// The other.
    pub other: NetworkName,
}

/// A subnet of whose addresses most are in use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CrowdedSubnet {
    /// The subnet.
    pub subnet: NetworkName,
    /// Addresses that can be given to something.
    pub usable: u64,
    /// Addresses that are free.
    pub free: u64,
    /// How many of a hundred are in use.
    pub used_percent: u64,
}

/// What stands out about networks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkInsight {
    /// Networks that overlap.
    pub overlaps: Vec<NetworkOverlap>,
    /// Subnets that are nearly full, the fullest first.
    pub crowded: Vec<CrowdedSubnet>,
    /// There is more than is shown.
    pub truncated: bool,
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
