//! The server about itself, and its audit log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Answer of `GET /health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Of the server.
    pub version: String,
}

/// Answer of `GET /ready`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ready {
    /// `ready` or `not_ready`.
    pub status: String,
    /// Check → `ok` or what is wrong.
    pub checks: BTreeMap<String, String>,
}

/// Answer of `GET /api/v1/status`: the fleet at a glance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FleetStatus {
    /// Of the server.
    pub version: String,
    /// Thumbprint of the server's identity key.
    pub server_thumbprint: String,
    /// `sqlite` or `postgres`.
    pub database: String,
    /// When the server started.
    pub started_at: String,
    /// Agents by status.
    pub agents: BTreeMap<String, u64>,
    /// Approved agents by health.
    pub health: BTreeMap<String, u64>,
    /// Agents with an open stream.
    pub connected: u64,
    /// Commands that have not ended.
    pub commands_open: u64,
}

/// An entry of the audit log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Its id.
    pub id: String,
    /// When.
    pub at: String,
    /// Who.
    pub actor: String,
    /// What, such as `agent.approved`.
    pub action: String,
    /// To what.
    pub target: Option<String>,
    /// More, by action.
    pub detail: serde_json::Value,
    /// Network address.
    pub source: Option<String>,
    /// Finds the request in the server's log.
    pub trace_id: Option<String>,
}
