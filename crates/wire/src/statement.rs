//! The statements that are signed, field by field.
//!
//! Each is one flat object of strings; absent fields are left out. The keys that sign them are
//! named in [`crate::sign::Purpose`].

use argosy_domain::{
    chain::ChainPosition,
    command::CommandSeq,
    configuration::Generation,
    digest::{Fingerprint, Sha256},
    id::{AccountId, AgentId, CommandId, JournalId, OrgId, TokenId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as};

use crate::{
    bytes::{Bytes32, Fixed},
    sign::{Purpose, Statement, pae_sha256},
};

/// The server that an agent means to enrol with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ServerPin {
    /// The thumbprint that the agent pinned.
    Pinned(Bytes32),
    /// Trust on first use: the agent had no pin.
    Tofu,
}

impl TryFrom<String> for ServerPin {
    type Error = crate::bytes::InvalidBytes;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "tofu" { Ok(Self::Tofu) } else { text.parse().map(Self::Pinned) }
    }
}

impl From<ServerPin> for String {
    fn from(pin: ServerPin) -> String {
        match pin {
            ServerPin::Pinned(thumbprint) => thumbprint.to_string(),
            ServerPin::Tofu => "tofu".to_owned(),
        }
    }
}

macro_rules! statement {
    ($name:ident, $purpose:ident) => {
        impl Statement for $name {
            const PURPOSE: Purpose = Purpose::$purpose;
        }
    };
}

/// The server identity key certifies another key of the server.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCertificate {
    /// Thumbprint of the identity key that signs.
    pub server: Bytes32,
    /// What the key is for, such as `command`.
    #[serde(rename = "use")]
    pub usage: String,
    /// Raw Ed25519 public key.
    pub public_key: Bytes32,
    /// Rises with each key of the use.
    #[serde_as(as = "DisplayFromStr")]
    pub serial: i64,
    /// Good from.
    pub not_before: Timestamp,
    /// Good until.
    pub not_after: Timestamp,
}
statement!(KeyCertificate, KeyCertificate);

/// Everything that an agent registers, signed by its identity key. What people compare is the
/// fingerprint of exactly these bytes.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentStatement {
    /// The server that the agent means.
    pub server: ServerPin,
    /// The token that it was given.
    pub token_id: TokenId,
    /// The name that it asks for.
    pub name: String,
    /// The account that it joins.
    #[serde_as(as = "DisplayFromStr")]
    pub account_id: AccountId,
    /// Raw Ed25519 public key; it signs this statement.
    pub identity_key: Bytes32,
    /// Raw X25519 public key.
    pub encryption_key: Bytes32,
    /// Raw Ed25519 public key, where devices demand one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_signing_key: Option<Bytes32>,
    /// Salted digest of the host's own identifiers, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<Bytes32>,
    /// As the host calls itself.
    pub hostname: String,
    /// Such as `linux-amd64`.
    pub platform: String,
    /// Of the agent.
    pub version: String,
    /// Digest of the release root that the agent came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_root_sha256: Option<Bytes32>,
    /// Makes two enrolments of one machine two statements.
    pub nonce: Bytes32,
}
statement!(EnrolmentStatement, Enrolment);

impl EnrolmentStatement {
    /// The fingerprint of enrolment bytes: the first 128 bits of SHA-256 of their PAE.
    pub fn fingerprint(payload: &[u8]) -> Fingerprint {
        Fingerprint::of(pae_sha256(Purpose::Enrolment, payload))
    }
}

/// The server's signed answer to a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentReceipt {
    /// Thumbprint of the identity key that signs.
    pub server: Bytes32,
    /// The id that the agent got.
    pub agent_id: AgentId,
    /// SHA-256 of the enrolment bytes that the server accepted.
    pub enrolment_sha256: Bytes32,
    /// `pending_approval` or `approved`.
    pub status: String,
    /// Server time.
    pub time: Timestamp,
}
statement!(EnrolmentReceipt, EnrolmentReceipt);

/// The server proves itself before the agent does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeStatement {
    /// Thumbprint of the server's identity key.
    pub server: Bytes32,
    /// The agent that asked.
    pub agent: AgentId,
    /// The agent's own freshness.
    pub agent_nonce: Bytes32,
    /// What the agent must sign.
    pub challenge: Bytes32,
    /// Server time.
    pub server_time: Timestamp,
}
statement!(ChallengeStatement, Challenge);

/// The agent proves itself. Never travels: the verifier rebuilds it from what it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeStatement {
    /// Thumbprint of the server's identity key.
    pub server: Bytes32,
    /// The agent that signs.
    pub agent: AgentId,
    /// The server's challenge.
    pub challenge: Bytes32,
    /// As enrolled, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<Bytes32>,
    /// Of the agent.
    pub version: String,
    /// From the handshake before; none at the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuation: Option<Bytes32>,
    /// An update nonce, while an update is being confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}
statement!(HandshakeStatement, Handshake);

/// The state of an agent's journal when a stream begins.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelloStatement {
    /// The agent that signs.
    pub agent: AgentId,
    /// SHA-256 of the session token under which the stream was opened.
    pub session_sha256: Bytes32,
    /// The journal; a new id proves a lost disk.
    pub journal_id: JournalId,
    /// Highest command sequence that the journal holds.
    #[serde_as(as = "DisplayFromStr")]
    pub high_water: CommandSeq,
}
statement!(HelloStatement, Hello);

/// An instruction to one agent.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandStatement {
    /// Thumbprint of the server's identity key.
    pub server: Bytes32,
    /// The agent's tenant.
    pub org: OrgId,
    /// The one agent that it is for.
    pub agent: AgentId,
    /// The command.
    pub command_id: CommandId,
    /// What to do.
    pub kind: String,
    /// Digest of the parameters that travel beside.
    pub params_sha256: Bytes32,
    /// Place in the agent's order.
    #[serde_as(as = "DisplayFromStr")]
    pub sequence: CommandSeq,
    /// Not to be started before.
    pub not_before: Timestamp,
    /// Not to be started after.
    pub expires_at: Timestamp,
    /// Server time at signing; expiry is counted from it.
    pub server_time: Timestamp,
}
statement!(CommandStatement, Command);

/// An instruction is no longer wanted. It names everything that the agent would keep of it, because
/// it may be the first that the agent hears of that instruction.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelStatement {
    /// Thumbprint of the server's identity key.
    pub server: Bytes32,
    /// The agent's tenant.
    pub org: OrgId,
    /// The one agent that it is for.
    pub agent: AgentId,
    /// The command.
    pub command_id: CommandId,
    /// What was to be done.
    pub kind: String,
    /// Digest of the command's parameters.
    pub params_sha256: Bytes32,
    /// The command's place in the agent's order.
    #[serde_as(as = "DisplayFromStr")]
    pub sequence: CommandSeq,
    /// Server time at signing.
    pub server_time: Timestamp,
}
statement!(CancelStatement, Cancel);

/// The configuration that the server wants of one agent.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigStatement {
    /// Thumbprint of the server's identity key.
    pub server: Bytes32,
    /// The agent's tenant.
    pub org: OrgId,
    /// The one agent that it is for.
    pub agent: AgentId,
    /// Rises with each change; an agent never goes back.
    #[serde_as(as = "DisplayFromStr")]
    pub generation: Generation,
    /// Digest of the document that travels beside.
    pub document_sha256: Bytes32,
    /// Server time at signing.
    pub server_time: Timestamp,
}
statement!(ConfigStatement, Config);

/// How an instruction ended, in the agent's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptStatement {
    /// The agent that signs.
    pub agent: AgentId,
    /// The command.
    pub command_id: CommandId,
    /// Digest of the parameters that it carried out.
    pub params_sha256: Bytes32,
    /// How it ended.
    pub outcome: String,
    /// Digest of the result document.
    pub result_sha256: Bytes32,
    /// Digest of the host's policy in force.
    pub policy_sha256: Bytes32,
    /// When it was started; absent where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended, by the agent's clock.
    pub ended_at: Timestamp,
    /// The host's boot.
    pub boot_id: String,
    /// The journal that remembers it.
    pub journal_id: JournalId,
}
statement!(ReceiptStatement, Receipt);

/// The server has a result durably; the agent may forget it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultAckStatement {
    /// Thumbprint of the server's identity key.
    pub server: Bytes32,
    /// The agent that it is for.
    pub agent: AgentId,
    /// The command.
    pub command_id: CommandId,
    /// Digest of the result document that was stored.
    pub result_sha256: Bytes32,
}
statement!(ResultAckStatement, ResultAck);

/// The server's word for a chain of the audit log: it had exactly these entries at this time.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditCheckpoint {
    /// Thumbprint of the server's identity key.
    pub server: Bytes32,
    /// Whose chain.
    pub org: OrgId,
    /// Place of the last entry.
    #[serde_as(as = "DisplayFromStr")]
    pub position: ChainPosition,
    /// Link of the last entry; it covers all before it.
    pub link: Bytes32,
    /// Server time.
    pub time: Timestamp,
}
statement!(AuditCheckpoint, AuditCheckpoint);

/// A new identity key of the server takes the place of the old one. Both sign these bytes.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Successor {
    /// Thumbprint of the old key: what agents have pinned.
    pub server: Bytes32,
    /// The old key, raw Ed25519.
    pub identity_key: Bytes32,
    /// The new key, raw Ed25519.
    pub successor: Bytes32,
    /// Of the new key; rises with each succession.
    #[serde_as(as = "DisplayFromStr")]
    pub serial: i64,
    /// Server time.
    pub time: Timestamp,
}
statement!(Successor, Successor);

/// A new identity key of an agent takes the place of the old one. Both sign these bytes.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRotation {
    /// Thumbprint of the server's identity key.
    pub server: Bytes32,
    /// The agent that signs.
    pub agent: AgentId,
    /// The old key, raw Ed25519.
    pub identity_key: Bytes32,
    /// The new key, raw Ed25519.
    pub successor: Bytes32,
    /// Rises with each rotation of this agent, such as the server's time in seconds.
    #[serde_as(as = "DisplayFromStr")]
    pub serial: i64,
}
statement!(KeyRotation, KeyRotation);

/// A domain digest in its wire form.
pub fn digest(sha256: Sha256) -> Bytes32 {
    Fixed(sha256.0)
}

#[cfg(test)]
mod tests;
