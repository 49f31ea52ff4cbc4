//! Registration and handshake.

use serde::{Deserialize, Serialize};

/// A key that an agent registers, as the request names it beside the statement.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisteredKey {
    /// `identity`, `encryption` or `device-signing`.
    #[serde(rename = "use")]
    pub usage: String,
    /// Raw 32 bytes, base64url.
    pub public_key: String,
    /// Second signature over the enrolment bytes, for `device-signing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// Body of `POST /api/v1/agents/register`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Register {
    /// 1 to 255 characters; unique among live agents.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub name: String,
    /// The account to join; the token's, where the token names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<i64>,
    /// `boot_…`, or `bootproof_…` with a statement. Absent with a service key, which shows itself as
    /// `Authorization: Bearer`.
    #[cfg_attr(feature = "openapi", schema(max_length = 512))]
    #[serde(default)]
    pub bootstrap_token: String,
    /// With a service key: the id that the agent goes by. Otherwise the server chooses.
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// As the host calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Such as `linux-amd64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Salted machine id, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// The enrolment statement's bytes, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// The identity key's signature over them, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement_signature: Option<String>,
    /// The statement's keys once more; must be equal where given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<RegisteredKey>,
    /// Who is shown the API key: `direct` (default), the machine in this answer; `operator`, the
    /// person who approves, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_delivery: Option<String>,
}

/// A signed statement as it travels in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedJson {
    /// The canonical bytes, base64url.
    pub payload: String,
    /// Ed25519, base64url.
    pub signature: String,
}

/// A statement that an old key and its successor signed, as it travels in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CosignedJson {
    /// The canonical bytes, base64url.
    pub payload: String,
    /// The old key's signature, Ed25519, base64url.
    pub signature: String,
    /// The new key's signature over the same bytes, base64url.
    pub successor_signature: String,
}

/// The server's keys as it shows them to agents.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerKeys {
    /// Raw identity key, base64url.
    pub identity_key: String,
    /// Its thumbprint: what agents pin.
    pub thumbprint: String,
    /// Certificates of the keys in force, signed by the identity key.
    pub certificates: Vec<SignedJson>,
    /// How this identity came to be, oldest first: statements of purpose `successor`. Absent while
    /// the server has its first identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub successors: Vec<CosignedJson>,
}

/// Answer of `POST /api/v1/agents/register`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registered {
    /// The agent's id.
    pub agent_id: String,
    /// `pending_approval` or `approved`.
    pub approval_status: String,
    /// What host and operator compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Dead until approval; shown once. Absent where an operator hands it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// Signed by the server's identity key, where a statement was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<SignedJson>,
    /// Keys to verify the receipt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_keys: Option<ServerKeys>,
    /// What to do next.
    pub message: String,
}

/// Body of `POST /api/v1/agents/handshake/begin`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BeginHandshake {
    /// The agent's API key.
    pub api_key: String,
    /// Raw identity key, base64url.
    pub identity_key: String,
    /// 32 fresh bytes, base64url.
    pub agent_nonce: String,
}

/// Answer of `begin`. The agent verifies it against its pin before it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Challenge {
    /// 32 bytes, base64url.
    pub challenge: String,
    /// Server time.
    pub server_time: String,
    /// The challenge dies then.
    pub expires_at: String,
    /// The challenge statement's bytes, base64url.
    pub statement: String,
    /// The command key's signature over them, base64url.
    pub signature: String,
    /// Keys to verify it with.
    pub server_keys: ServerKeys,
}

/// Body of `POST /api/v1/agents/handshake/complete`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompleteHandshake {
    /// The agent.
    pub agent_id: String,
    /// As given by `begin`.
    pub challenge: String,
    /// The identity key's signature over the handshake statement, base64url.
    pub signature: String,
    /// Salted machine id, where one was enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// Of the agent.
    pub version: String,
    /// From the handshake before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuation: Option<String>,
    /// While an update is being confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_nonce: Option<String>,
}

/// Answer of `complete`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// `Authorization: DPoP <session_token>`.
    pub session_token: String,
    /// Renew well before.
    pub expires_at: String,
    /// Store before the session is used.
    pub continuation: String,
    /// First nonce for proofs.
    pub dpop_nonce: String,
    /// `full`, or `update_only` for an agent that is older than the server admits: it may heartbeat.
    #[serde(default)]
    pub scope: String,
}
