//! Subsystems of an agent: their schedules, breakers, and whether the agent has them.

use serde::{Deserialize, Serialize};

/// Answer of `GET /api/v1/agents/{id}/subsystems`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Subsystems {
    /// The agent.
    pub agent_id: String,
    /// How often its configuration was changed; 0 means never.
    pub generation: i64,
    /// The generation that the agent has. Smaller than `generation`: it has yet to hear of it.
    pub applied_generation: i64,
    /// When it last said so.
    pub applied_at: Option<String>,
    /// Why it does not take the wanted configuration, in its word.
    pub refused: Option<String>,
    /// By name.
    pub items: Vec<Subsystem>,
}

/// One subsystem of an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Subsystem {
    /// `system`, `storage` or `updates`.
    pub name: String,
    /// Off: neither scheduled nor on command.
    pub enabled: bool,
    /// Runs by itself; off leaves it to commands.
    pub auto_run: bool,
    /// Seconds from one start to the next.
    pub interval_s: u64,
    /// Seconds after which a run is stopped and counts as failed.
    pub timeout_s: u64,
    /// `closed`, `open` (it rests after failures) or `half_open` (it is being tried).
    pub breaker: String,
    /// What became of the breaker, newest first; at most 100 changes.
    pub history: Vec<BreakerChange>,
    /// When it last ran.
    pub last_run_at: Option<String>,
    /// Why its last run failed.
    pub last_error: Option<String>,
}

/// A breaker opened or closed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BreakerChange {
    /// By the agent's clock.
    pub at: String,
    /// `opened` or `closed`.
    pub change: String,
    /// For people.
    pub message: String,
}

/// Body of `PATCH /api/v1/agents/{id}/subsystems/{name}`; what is left out stays.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateSubsystem {
    /// Off: neither scheduled nor on command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Runs by itself; off leaves it to commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_run: Option<bool>,
    /// Seconds from one start to the next: 60 to 86,400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 60, maximum = 86400))]
    pub interval_s: Option<u64>,
    /// Seconds after which a run is stopped: 1 to the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86400))]
    pub timeout_s: Option<u64>,
}
