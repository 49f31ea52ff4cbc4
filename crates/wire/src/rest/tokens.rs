//! Enrolment tokens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Body of `POST /api/v1/bootstrap-tokens`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateToken {
    /// For people; 1 to 255 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub name: String,
    /// Machines join this account; absent leaves the choice to the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<i64>,
    /// Such as `24h` (the default); at most `90d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// Seats; 1 unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub max_uses: Option<u32>,
    /// Machines are approved without an operator. Audited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_approve: Option<bool>,
    /// A raw token without keys is refused. False unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_proof: Option<bool>,
    /// Given to each agent that uses the token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A token without its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Token {
    /// Public part.
    pub id: String,
    /// For people.
    pub name: String,
    /// `active`, `used_up`, `expired` or `revoked`.
    pub state: String,
    /// Account that machines join.
    pub account_id: Option<i64>,
    /// Seats taken.
    pub uses: u32,
    /// Seats.
    pub max_uses: u32,
    /// Approved without an operator.
    pub auto_approve: bool,
    /// Keys are required.
    pub require_proof: bool,
    /// Given to agents.
    pub labels: BTreeMap<String, String>,
    /// Who minted it.
    pub created_by: String,
    /// When.
    pub created_at: String,
    /// When it stops admitting.
    pub expires_at: String,
}

/// Answer of `POST /api/v1/bootstrap-tokens`. The only place that ever shows the token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedToken {
    /// `boot_<id>_<secret>.<pin>`; shown once.
    pub token: String,
    /// What was made.
    #[serde(flatten)]
    pub about: Token,
    /// Ready to paste on the machine.
    pub commands: TokenCommands,
}

/// Commands that enrol a machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCommands {
    /// With the agent's binary on the machine.
    pub binary: String,
}
