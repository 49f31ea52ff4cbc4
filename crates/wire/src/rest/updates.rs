//! Operating system packages that are pending over the fleet.

use serde::{Deserialize, Serialize};

/// A package that is pending on some agents.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FleetPackage {
    /// Its name.
    pub name: String,
    /// It closes a security hole on some agent.
    pub security: bool,
    /// Agents that have it pending.
    pub agents: u64,
    /// The versions that are available; hosts with different repositories see different ones.
    pub versions: Vec<OfferedVersion>,
    /// The first 20 of those agents; `GET /api/v1/updates/agents?package=NAME` lists all.
    pub pending: Vec<PendingPackage>,
}

/// A version that is available on some agents.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OfferedVersion {
    /// The version.
    pub version: String,
    /// It closes a security hole on some agent.
    pub security: bool,
    /// Agents that have it pending.
    pub agents: u64,
    /// Those of them for which it is approved.
    pub approved: u64,
}

/// A pending package of one agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingPackage {
    /// The agent.
    pub agent_id: String,
    /// Its name.
    pub agent_name: String,
    /// The package.
    pub package: String,
    /// What it is built for, in the package manager's words.
    pub architecture: String,
    /// The installed version.
    pub current: String,
    /// The version that would be installed.
    pub available: String,
    /// The step from one to the other closes a security hole.
    pub security: bool,
    /// Where the new version comes from.
    pub repository: String,
    /// The approval of exactly this version for this agent, if there is one.
    pub approval_id: Option<String>,
    /// When a dry run of exactly this version succeeded on this agent.
    pub tried_at: Option<String>,
}
