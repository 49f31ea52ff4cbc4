//! Runs of discovery.

use serde::{Deserialize, Serialize};

/// What became of one region in a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SyncRegion {
    /// The account.
    pub account_id: i64,
    /// Such as `aws`.
    pub provider: String,
    /// Such as `eu-central-1`; empty for all of them.
    pub region: String,
    /// `read` or `failed`.
    pub status: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The provider's call that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The permission that is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}

/// A run of discovery.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SyncJob {
    /// Its id.
    pub id: String,
    /// The account that it is about, or that of its agent.
    pub account_id: i64,
    /// The agent that carries it out; null before one took it.
    pub agent_id: Option<String>,
    /// `pending`, `running`, `completed`, `partial` or `failed`.
    pub status: String,
    /// `schedule`, `hint`, `command`, `console` or `api`.
    pub source: String,
    /// Who asked for it.
    pub asked_by: String,
    /// When it was asked for.
    pub created_at: String,
    /// When somebody took it.
    pub begun_at: Option<String>,
    /// When something was last heard of it.
    pub heard_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Chunks that have come.
    pub chunks: u32,
    /// Resources that have come.
    pub resources_found: u64,
    /// New ones among them.
    pub resources_created: u64,
    /// Those that are different, or were seen again.
    pub resources_updated: u64,
    /// Those that were not seen any more: stale now.
    pub resources_deleted: u64,
    /// What became of each region.
    pub regions: Vec<SyncRegion>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Body of `POST /api/v1/discovery/sync`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct StartSync {
    /// Any agent of this account, the first one to ask; the organisation's first without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<i64>,
    /// This agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Every approved agent, of the account where one is named.
    pub all_agents: bool,
}

/// Answer of `POST /api/v1/discovery/sync`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartedSyncs {
    /// One for each agent. An agent that has an open one keeps it.
    pub items: Vec<SyncJob>,
}
