//! Agents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Agent {
    /// Its id.
    pub agent_id: String,
    /// Unique among live agents.
    pub name: String,
    /// Its account.
    pub account_id: i64,
    /// `pending`, `approved`, `quarantined`, `rejected`, `expired`, `cancelled` or `revoked`.
    pub status: String,
    /// `pending_approval`, `approved`, `rejected`, `expired` or `cancelled`.
    pub approval_status: String,
    /// `healthy`, `stale` or `offline`.
    pub health: String,
    /// A stream is open.
    pub connected: bool,
    /// `proof_of_possession` or `api_key`.
    pub assurance: String,
    /// As last reported.
    pub version: Option<String>,
    /// Such as `linux-amd64`.
    pub platform: Option<String>,
    /// As the host calls itself.
    pub hostname: Option<String>,
    /// From token and operators.
    pub labels: BTreeMap<String, String>,
    /// What host and operator compare; null without keys.
    pub fingerprint: Option<String>,
    /// A machine id was enrolled.
    pub machine_bound: bool,
    /// Last heartbeat.
    pub last_seen_at: Option<String>,
    /// When it registered.
    pub registered_at: String,
    /// Network address that it registered from.
    pub registered_from: Option<String>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When.
    pub approved_at: Option<String>,
    /// Subsystem → `closed`, `open` or `half_open`.
    pub breakers: BTreeMap<String, String>,
    /// What an operator should look at; absent where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
    /// What the program behind a service key calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The agent that took over from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
    /// Older than the minimum version: it may heartbeat, and gets nothing else until it is newer.
    #[serde(default)]
    pub outdated: bool,
    /// Why it is rejected, quarantined or revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why an agent should be looked at. `restore`, `rebind`, `replace` and `revoke` answer it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Review {
    /// `machine_mismatch`, `clone` or `downgrade`.
    pub reason: String,
    /// When it was first noticed.
    pub since: String,
    /// From where the identity was seen: as it was known, then the others, oldest first.
    pub origins: Vec<Sighting>,
}

/// One place from which an identity spoke.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sighting {
    /// Network address.
    pub source: Option<String>,
    /// Sixteen hexadecimal digits that stand for the machine.
    pub machine: Option<String>,
    /// The version that it said to be.
    pub version: Option<String>,
    /// When.
    pub at: String,
}

/// Body of `POST /agents/{id}/approve`; may be absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Approve {
    /// As compared; refused when it is not the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// Answer of `approve`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Approved {
    /// The agent.
    pub agent_id: String,
    /// `approved`.
    pub approval_status: String,
    /// Shown once, where the registration asked that an operator hands it over: give it to
    /// `argosy-agent refresh` on the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}

/// Body of `POST /agents/{id}/rebind`; may be absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rebind {
    /// The machine as `review` shows it; refused when another one was seen since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// In the operator's words; at most 1,024 characters.
    #[cfg_attr(feature = "openapi", schema(max_length = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `POST /agents/{id}/replace`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replace {
    /// The agent that takes over; it must be approved.
    pub agent_id: String,
    /// In the operator's words; at most 1,024 characters.
    #[cfg_attr(feature = "openapi", schema(max_length = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `reject`, `revoke`, `quarantine`, `restore`; may be absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WithReason {
    /// In the operator's words; at most 1,024 characters.
    #[cfg_attr(feature = "openapi", schema(max_length = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `PATCH /agents/{id}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateAgent {
    /// A new name.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All labels, in place of the present ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// Body of `POST /agents/heartbeat`. What it names must be the caller's own. A service key names the
/// agent that it speaks for, by an id of its own choosing; the first call brings it into being.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Heartbeat {
    /// The caller's own id, or absent; with a service key, which of its agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Ignored but in the first call of an agent of a service key: operators change names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Ignored but in the first call of an agent of a service key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<i64>,
    /// Of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// As the host calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// Answer of `heartbeat`; it is durable when it arrives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatAnswer {
    /// `ok`.
    pub status: String,
    /// A sync job that waits for the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_job_id: Option<String>,
    /// The caller's account.
    pub account_id: i64,
    /// Commands that wait for the agent.
    pub commands_pending: u32,
}

/// Answer of `POST /api/v1/agents/keys/rotate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyRotated {
    /// The new key is the agent's since then; the old one opens nothing any more.
    pub rotated_at: String,
}
