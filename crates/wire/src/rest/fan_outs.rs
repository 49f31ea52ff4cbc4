//! Fan-outs: one order to many agents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which approved agents of the organisation; those that every given condition lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Selector {
    /// Every approved agent; needed where nothing else is said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// One of these, by id; at most 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// Of this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<i64>,
    /// With all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `healthy`, `stale` or `offline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Part of name, host name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Of exactly this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether a stream of it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<bool>,
    /// Only those that an operator should look at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub under_review: bool,
}

/// Body of `POST /api/v1/commands`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateFanOut {
    /// Whom to.
    pub selector: Selector,
    /// Such as `subsystem.run`.
    pub kind: String,
    /// Of the kind.
    #[serde(default)]
    pub params: serde_json::Value,
    /// Such as `24h` (the default); at most `30d`. Nothing is begun after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// Commands that are under way at once: 1 to 50,000; 100 unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Commands that may go wrong; with one more nothing further is begun. However many, unless said
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_errors: Option<u32>,
    /// The same key returns the same fan-out. The header `Idempotency-Key` does the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// One order to many agents, and how far it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FanOut {
    /// Its id.
    pub id: String,
    /// Which agents were asked for.
    pub selector: Selector,
    /// What to do.
    pub kind: String,
    /// Of the kind.
    pub params: serde_json::Value,
    /// `running`, `completed`, `halted`, `cancelled` or `expired`.
    pub state: String,
    /// Agents altogether.
    pub total: u32,
    /// Agents by where they stand: `waiting`, `skipped`, or the state of their command.
    pub agents: BTreeMap<String, u32>,
    /// Commands that went wrong.
    pub errors: u32,
    /// Commands that are under way at once.
    pub concurrency: u32,
    /// Commands that may go wrong; none: however many.
    pub max_errors: Option<u32>,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at: String,
    /// Nothing is begun after.
    pub expires_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
}
