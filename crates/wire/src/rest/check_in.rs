//! Check-ins: what a control stream carries, in one call and its answer.

use serde::{Deserialize, Serialize};

use super::enrolment::SignedJson;

/// What an agent says about a command that it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Acknowledgment {
    /// The command.
    pub command_id: String,
    /// `received`, `busy`, `replayed` or `invalid`.
    pub code: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommandOutcome {
    /// The command.
    pub command_id: String,
    /// `succeeded`, `failed`, `timed_out`, `rejected`, `cancelled` or `expired`.
    pub outcome: String,
    /// The result document, JSON of at most 1 MiB, base64url.
    #[serde(default)]
    pub payload: String,
    /// The signed receipt; absent where the agent has no keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<SignedJson>,
}

/// The configuration that is in force on the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigurationInForce {
    /// Its generation.
    pub generation: i64,
    /// Why the one that was handed out last is not it. It is not handed out again as long as this
    /// is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetricValue {
    /// Such as `memory_used_bytes`; the unit is in the name.
    pub metric: String,
    /// Of which part of the host; empty for the host as a whole.
    #[serde(default)]
    pub label: String,
    /// The value.
    pub value: f64,
}

/// Body of `POST /api/v1/agents/metrics`. Everything may be left out that there is nothing to say
/// about, but for `hello` of an agent with keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckIn {
    /// The agent's own id; with a service key, that of the agent that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// As the host calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Statement of purpose hello, for this session, by the identity key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<SignedJson>,
    /// The configuration that is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationInForce>,
    /// Commands that were started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub started: Vec<String>,
    /// About commands that were sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending_acknowledgments: Vec<Acknowledgment>,
    /// Commands that ended and are not acknowledged yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<CommandOutcome>,
    /// Measured just now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricValue>,
    /// Seconds to wait for something to say; the server waits no longer than it is set to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u32>,
}

/// A signed statement and the certificate of the key that signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertifiedJson {
    /// By the command key.
    pub envelope: SignedJson,
    /// Of the command key, by the identity key.
    pub certificate: SignedJson,
}

/// A command as it is handed out, or its withdrawal in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HandedCommand {
    /// Its id, as the envelope names it.
    pub command_id: String,
    /// What to do, as the envelope names it.
    pub kind: String,
    /// It is no longer wanted: the envelope is its withdrawal.
    #[serde(default)]
    pub withdrawn: bool,
    /// The parameters whose digest the envelope holds, base64url; empty in a withdrawal.
    pub params: String,
    /// The order.
    #[serde(flatten)]
    pub signed: CertifiedJson,
}

/// A configuration as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HandedConfiguration {
    /// The document whose digest the envelope holds, base64url.
    pub document: String,
    /// The generation and the digest.
    #[serde(flatten)]
    pub signed: CertifiedJson,
}

/// The server ends the channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Goodbye {
    /// `replaced`, `revoked`, `session_ended`, `draining` or `blind`.
    pub reason: String,
    /// Milliseconds before the next attempt.
    pub delay_ms: u32,
}

/// Answer of `POST /api/v1/agents/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckedIn {
    /// Server time.
    pub server_time: String,
    /// Commands to carry out and to withdraw, in this order. Each comes again until it is
    /// acknowledged.
    pub commands: Vec<HandedCommand>,
    /// The configuration that is wanted, where it is not the one in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<HandedConfiguration>,
    /// Commands whose results are durable here.
    pub acknowledged_ids: Vec<String>,
    /// The same, signed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub result_acks: Vec<CertifiedJson>,
    /// Milliseconds before the next check-in; more than 0 where the server holds as many as it can.
    pub next_in_ms: u32,
    /// The server ends the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goaway: Option<Goodbye>,
}
