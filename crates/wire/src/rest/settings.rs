//! The installation's settings.

use serde::{Deserialize, Serialize};

/// Answer of `GET /api/v1/settings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Settings {
    /// Older agents are refused; null admits every version.
    pub minimum_agent_version: Option<String>,
    /// Whether agents without keys are admitted.
    pub allow_api_key_agents: bool,
    /// Seconds without a call after which a user's session ends.
    pub user_session_idle_s: u32,
    /// Seconds after login at which a user's session ends.
    pub user_session_max_s: u32,
    /// Failed logins of one user name in a minute before 429.
    pub login_failures_per_minute: u32,
    /// Calls of one user, key or agent in a minute before 429.
    pub requests_per_minute: u32,
}

/// Body of `PATCH /api/v1/settings`: what is absent stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateSettings {
    /// Older agents are refused; empty admits every version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_agent_version: Option<String>,
    /// Whether agents without keys are admitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_api_key_agents: Option<bool>,
    /// 60 to 604,800.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 60, maximum = 604_800))]
    pub user_session_idle_s: Option<u32>,
    /// 60 to 2,592,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 60, maximum = 2_592_000))]
    pub user_session_max_s: Option<u32>,
    /// 1 to 100,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub login_failures_per_minute: Option<u32>,
    /// 60 to 10,000,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 60, maximum = 10_000_000))]
    pub requests_per_minute: Option<u32>,
}
