//! Commands and receipts.

use serde::{Deserialize, Serialize};

use super::enrolment::SignedJson;

/// Body of `POST /api/v1/agents/{id}/commands`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateCommand {
    /// Such as `subsystem.run`.
    pub kind: String,
    /// Of the kind.
    #[serde(default)]
    pub params: serde_json::Value,
    /// Such as `24h` (the default); at most `30d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// The same key returns the same command. The header `Idempotency-Key` does the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// A command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Command {
    /// Its id.
    pub id: String,
    /// The agent that it is for.
    pub agent_id: String,
    /// What to do.
    pub kind: String,
    /// Of the kind.
    pub params: serde_json::Value,
    /// `queued`, `sent`, `received`, `running`, `succeeded`, `failed`, `timed_out`, `rejected`,
    /// `cancelled`, `expired` or `lost`.
    pub state: String,
    /// Place in the agent's order.
    pub sequence: i64,
    /// Who gave it.
    pub created_by: String,
    /// When.
    pub created_at: String,
    /// Not started after.
    pub expires_at: String,
    /// When somebody said that it is no longer wanted; its agent has still to say what came of it.
    pub withdrawn_at: Option<String>,
    /// Who said so.
    pub withdrawn_by: Option<String>,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Why it did not succeed.
    pub detail: Option<String>,
    /// The result document.
    pub result: Option<serde_json::Value>,
    /// A signed receipt is kept.
    pub receipt_available: bool,
    /// The result is the agent's bare word: it has no keys to sign a receipt with.
    #[serde(default)]
    pub unsigned: bool,
}

/// Answer of `GET /api/v1/commands/{id}/receipt`: enough to verify offline.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Receipt {
    /// The command.
    pub command_id: String,
    /// The agent.
    pub agent_id: String,
    /// The agent's raw identity key, base64url.
    pub identity_key: String,
    /// What the agent signed.
    pub receipt: SignedJson,
    /// The result document whose digest the receipt holds, base64url.
    pub result: String,
}
