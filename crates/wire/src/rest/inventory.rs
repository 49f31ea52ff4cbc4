//! Inventory: the latest report of each subsystem.

use serde::{Deserialize, Serialize};

/// The latest report of one subsystem.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InventoryReport {
    /// `system`, `storage` or `updates`.
    pub subsystem: String,
    /// By the agent's clock.
    pub captured_at: String,
    /// By the server's clock.
    pub received_at: String,
    /// How long the collection took.
    pub duration_ms: i64,
    /// The report; its shape belongs to the subsystem.
    pub report: serde_json::Value,
}

/// Everything that is known of one agent's host.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Inventory {
    /// The agent.
    pub agent_id: String,
    /// By subsystem.
    pub items: Vec<InventoryReport>,
}
