//! The feed: what each server-sent event holds as `data`.

use serde::{Deserialize, Serialize};

/// Data of an event `agent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentEvent {
    /// When it was seen, RFC 3339.
    pub at: String,
    /// The agent.
    pub agent_id: String,
    /// Its name.
    pub name: String,
    /// Where it stands, or `deleted`.
    pub status: String,
    /// How it is.
    pub health: String,
    /// Whether a stream of it is open.
    pub connected: bool,
    /// What changed: `registered`, `status`, `health`, `connected`, `name`, `deleted`.
    pub changed: Vec<String>,
}

/// Data of an event `command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommandEvent {
    /// When it came into this state, RFC 3339.
    pub at: String,
    /// The command.
    pub command_id: String,
    /// Its agent.
    pub agent_id: String,
    /// Its kind.
    pub kind: String,
    /// Its state or outcome.
    pub state: String,
}

/// Data of an event `sync`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SyncEvent {
    /// When something was last heard of it, RFC 3339.
    pub at: String,
    /// The sync job.
    pub sync_job_id: String,
    /// The account that it is about.
    pub account_id: i64,
    /// The agent that carries it out, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// How far it is: `pending`, `running`, `completed`, `partial` or `failed`.
    pub status: String,
    /// Chunks that arrived.
    pub chunks: u32,
}
