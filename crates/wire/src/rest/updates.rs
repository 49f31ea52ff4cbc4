//! Operating system packages that are pending over the fleet.

use serde::{Deserialize, Serialize};

use super::fan_outs::Selector;

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

/// Body of `POST /api/v1/updates/approve`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApproveUpdates {
    /// For which agents.
    pub selector: Selector,
    /// Which packages, at most 100; or `security`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<WantedPackage>,
    /// Everything that closes a security hole and is pending now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub security: bool,
}

/// A package that is to be approved.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WantedPackage {
    /// Its name.
    pub name: String,
    /// Only where exactly this version is pending; else whatever each agent has pending now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// An approval of packages.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Approval {
    /// Its id.
    pub id: String,
    /// For which agents it was asked.
    pub selector: Selector,
    /// What it covers: the versions that were pending when it was given.
    pub packages: Vec<ApprovedPackage>,
    /// Agents that had something of it pending.
    pub agents: u64,
    /// Packages of agents that still wait under it: not installed, not reported in another version,
    /// not approved anew.
    pub waiting: u64,
    /// Who approved.
    pub approved_by: String,
    /// When.
    pub approved_at: String,
    /// Who took it back.
    pub revoked_by: Option<String>,
    /// When.
    pub revoked_at: Option<String>,
}

/// A version that an approval covers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovedPackage {
    /// The package.
    pub name: String,
    /// The version.
    pub version: String,
    /// Agents that had it pending.
    pub agents: u64,
}

/// Body of `POST /api/v1/updates/install`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstallUpdates {
    /// On which agents; those without anything approved are left out.
    pub selector: Selector,
    /// Only these of what is approved, by name; else all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// Only say what would happen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Install although no dry run of it succeeded before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_dry_run: bool,
    /// Such as `24h` (the default); at most `30d`. Nothing is begun after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// Agents at once: 1 to 50,000; 100 unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Agents on which it may go wrong; with one more nothing further is begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_errors: Option<u32>,
    /// The same key returns the same fan-out. The header `Idempotency-Key` does the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// What became of the packages of one `updates.install`: the report of its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstallReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Each package that was asked for, and what came along with them.
    pub packages: Vec<InstalledPackage>,
}

/// What became of one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstalledPackage {
    /// Its name.
    pub name: String,
    /// What it is built for.
    pub architecture: String,
    /// The version before; none where it was not installed.
    pub from: Option<String>,
    /// The version that was asked for.
    pub to: String,
    /// `would_install`, `installed`, `unchanged` or `not_installed`.
    pub outcome: String,
}
