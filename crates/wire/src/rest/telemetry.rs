//! Telemetry and events: what agents measured and what they tell of.

use serde::{Deserialize, Serialize};

/// The newest value of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TelemetryLatest {
    /// Such as `memory_used_bytes`; the unit is in the name.
    pub metric: String,
    /// Of which part of the host, such as a mount point; empty for the host as a whole.
    pub label: String,
    /// The value.
    pub value: f64,
    /// When it was measured, by the agent's clock.
    pub at: String,
}

/// What one bucket of time holds of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TelemetryPoint {
    /// When the bucket begins.
    pub at: String,
    /// How many values it holds.
    pub count: u64,
    /// The lowest of them.
    pub min: f64,
    /// Their mean.
    pub avg: f64,
    /// The highest of them.
    pub max: f64,
}

/// The history of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TelemetrySeries {
    /// Of which part of the host; empty for the host as a whole.
    pub label: String,
    /// Oldest first; buckets without a value are left out.
    pub points: Vec<TelemetryPoint>,
}

/// The history of a metric, or the newest value of every series where no metric was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Telemetry {
    /// The agent.
    pub agent_id: String,
    /// The metric that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Seconds of one bucket: 300, 3600 or 86400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_s: Option<u32>,
    /// Whether there is more than one answer holds; ask for a later `since` or a longer `step`.
    pub truncated: bool,
    /// The history, by label; empty where no metric was asked for.
    pub series: Vec<TelemetrySeries>,
    /// The newest value of every series, by metric and label; empty where one metric was asked for.
    pub latest: Vec<TelemetryLatest>,
}

/// Something that happened on an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentEvent {
    /// As the agent numbers it.
    pub id: String,
    /// The agent.
    pub agent_id: String,
    /// Such as `breaker.opened`.
    pub kind: String,
    /// `info`, `warning` or `error`.
    pub severity: String,
    /// What happened, in words.
    pub message: String,
    /// By the agent's clock, but never later than `received_at`.
    pub at: String,
    /// By the server's clock.
    pub received_at: String,
}
