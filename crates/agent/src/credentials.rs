//! What an agent knows about its place at a server, and how that changes.
//!
//! `NotEnrolled → Enrolling → (AwaitingKey →) Registered`; each step is durable before anything
//! relies on it.
//!
//! *Invariant:* a repeat after a crash sends the same enrolment bytes; a registration keeps the
//! pin under which it was made; secrets never show in `Debug`.

use std::{fmt, path::Path};

use argosy_domain::{
    digest::Fingerprint,
    id::{AccountId, AgentId, OrgId, TokenId},
};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    sign::Signed,
    statement::ServerPin,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    engine::ServerIdentity,
    state_dir::{StateDir, StateDirError},
};

/// Where credentials are kept.
const CREDENTIALS_FILE: &str = "credentials.json";

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read or written.
    #[error("the agent's credentials are out of reach")]
    StateDir(#[from] StateDirError),
    /// The file is there and is not what the agent wrote.
    #[error(
        "{CREDENTIALS_FILE} in the state directory is damaged; restore it, or remove it and enrol \
         anew with a fresh token"
    )]
    Damaged,
}

/// A step that the present state does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an agent that is {from} cannot become {to}")]
pub struct InvalidStep {
    /// Name of the state it is in.
    pub from: &'static str,
    /// Name of the state that was asked for.
    pub to: &'static str,
}

/// A secret text that is wiped when dropped and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for sending.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<SecretText> for String {
    fn from(secret: SecretText) -> String {
        secret.expose().to_owned()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// A registration that was begun: everything that a repeat needs to send the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolling {
    /// Where it was sent.
    pub server_url: String,
    /// The server that the statement names.
    pub pin: ServerPin,
    /// Thumbprint of the identity that has to answer: the pinned one, or the one of the first
    /// contact, which is trusted once.
    pub server_thumbprint: Bytes32,
    /// The token that is proved.
    pub token_id: TokenId,
    /// `bootproof_…` over the statement's bytes.
    pub proof: SecretText,
    /// The name that was asked for.
    pub name: String,
    /// An operator is shown the API key, and hands it over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key_by_hand: bool,
    /// The enrolment statement as it was signed.
    #[serde(with = "signed")]
    pub statement: Signed,
}

/// A registration that the server answered. The server may yet reject it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// Where the server is.
    pub server_url: String,
    /// Thumbprint of the identity key under which the agent enrolled; kept for life, because the
    /// machine id is salted with it.
    pub server_thumbprint: Bytes32,
    /// The server's identity key, raw Ed25519: the one under which the agent enrolled, or the one
    /// that succeeded it.
    pub server_identity_key: Bytes32,
    /// Its place in the succession; 0 while none was seen.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub server_serial: i64,
    /// The lowest serial of the server's command keys that is believed; 0 while none was replaced.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub command_serial: i64,
    /// The id that the server gave.
    pub agent_id: AgentId,
    /// The name that was registered.
    pub name: String,
    /// Opens a handshake, and nothing else.
    pub api_key: SecretText,
    /// Salted machine id as enrolled, where the host has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<Bytes32>,
    /// What the operator compares.
    pub fingerprint: Fingerprint,
    /// SHA-256 of the enrolment bytes, as the receipt names them.
    pub statement_sha256: Bytes32,
    /// The account that was joined.
    pub account_id: AccountId,
    /// The tenant, once a signed command named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgId>,
    /// From the last handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuation: Option<Bytes32>,
}

/// Where the agent stands with its server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Credentials {
    /// No registration was begun.
    #[default]
    NotEnrolled,
    /// A registration was begun; the server may or may not have it.
    Enrolling(Enrolling),
    /// The server has the registration, and an operator hands its API key over: until then the key
    /// in here is empty.
    AwaitingKey(Registered),
    /// The server has the registration, and the agent has its key.
    Registered(Registered),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Registered {
    /// The server as this agent knows it.
    pub fn server(&self) -> ServerIdentity {
        ServerIdentity::new(self.server_identity_key)
            .with_serial(self.server_serial)
            .with_command_serial(self.command_serial)
    }

    /// The same agent, knowing its server as it was proved. A first command key is not remembered:
    /// what an earlier version cannot read is written only where it protects from something.
    pub fn knowing(self, server: &ServerIdentity) -> Self {
        let command_serial = match server.command_serial() {
            first if first <= 1 => 0,
            later => later,
        };
        let (key, serial) = (*server.key(), server.serial());
        Self { server_identity_key: key, server_serial: serial, command_serial, ..self }
    }
}

impl Credentials {
    /// The credentials of a state directory; none yet is a state of its own.
    pub fn load(dir: &StateDir) -> Result<Self, CredentialsError> {
        Self::parse(dir.read(CREDENTIALS_FILE)?)
    }

    /// Reads the credentials of a directory that another process may hold.
    pub fn peek(path: &Path) -> Result<Self, CredentialsError> {
        Self::parse(StateDir::peek(path)?.read(CREDENTIALS_FILE)?)
    }

    /// Makes this state the one that a restart finds; durable when this returns.
    pub fn save(&self, dir: &StateDir) -> Result<(), CredentialsError> {
        let json = serde_json::to_vec(self).map_err(|_| CredentialsError::Damaged)?;
        Ok(dir.write(CREDENTIALS_FILE, &Zeroizing::new(json))?)
    }

    /// The public name of the state.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotEnrolled => "not_enrolled",
            Self::Enrolling(_) => "enrolling",
            Self::AwaitingKey(_) => "awaiting_key",
            Self::Registered(_) => "registered",
        }
    }

    /// A registration begins.
    pub fn begin(self, enrolling: Enrolling) -> Result<Self, InvalidStep> {
        match self {
            Self::NotEnrolled => Ok(Self::Enrolling(enrolling)),
            Self::Enrolling(_) | Self::AwaitingKey(_) | Self::Registered(_) => {
                self.refuse("enrolling")
            }
        }
    }

    /// The server answered the registration.
    pub fn registered(self, registered: Registered) -> Result<Self, InvalidStep> {
        match self {
            Self::Enrolling(_) => Ok(Self::Registered(registered)),
            Self::NotEnrolled | Self::AwaitingKey(_) | Self::Registered(_) => {
                self.refuse("registered")
            }
        }
    }

    /// The server answered the registration, and an operator will bring the key.
    pub fn awaiting_key(self, registered: Registered) -> Result<Self, InvalidStep> {
        match self {
            Self::Enrolling(_) => Ok(Self::AwaitingKey(Registered {
                api_key: SecretText::new(String::new()),
                ..registered
            })),
            Self::NotEnrolled | Self::AwaitingKey(_) | Self::Registered(_) => {
                self.refuse("awaiting_key")
            }
        }
    }

    /// An operator brought the key, or another one in its place.
    pub fn keyed(self, api_key: SecretText) -> Result<Self, InvalidStep> {
        match self {
            Self::AwaitingKey(registered) | Self::Registered(registered) => {
                Ok(Self::Registered(Registered { api_key, ..registered }))
            }
            Self::NotEnrolled | Self::Enrolling(_) => self.refuse("registered"),
        }
    }

    /// A handshake gave a new continuation. Save this before the session is used.
    pub fn continued(self, continuation: Bytes32) -> Result<Self, InvalidStep> {
        match self {
            Self::Registered(registered) => {
                Ok(Self::Registered(Registered { continuation: Some(continuation), ..registered }))
            }
            Self::NotEnrolled | Self::Enrolling(_) | Self::AwaitingKey(_) => {
                self.refuse("continued")
            }
        }
    }

    /// The person at the host starts over: a registration that was refused, revoked or never
    /// answered is forgotten. The keys stay, so the same machine may enrol again.
    pub fn abandon(self) -> Self {
        Self::NotEnrolled
    }

    fn refuse<T>(&self, to: &'static str) -> Result<T, InvalidStep> {
        Err(InvalidStep { from: self.as_str(), to })
    }

    fn parse(bytes: Option<Zeroizing<Vec<u8>>>) -> Result<Self, CredentialsError> {
        match bytes {
            None => Ok(Self::NotEnrolled),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|_| CredentialsError::Damaged),
        }
    }
}

/// A signed statement as JSON: both parts in base64url.
pub(crate) mod signed {
    use argosy_wire::bytes::{decode, encode};
    use serde::{Deserializer, Serializer, de::Error as _};

    use super::{Deserialize, Fixed, Serialize, Signed};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Text {
        payload: String,
        signature: Fixed<64>,
    }

    pub(crate) fn serialize<S: Serializer>(signed: &Signed, to: S) -> Result<S::Ok, S::Error> {
        Text { payload: encode(&signed.payload), signature: signed.signature }.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Signed, D::Error> {
        let text = Text::deserialize(from)?;
        let payload = decode(&text.payload).map_err(D::Error::custom)?;
        Ok(Signed { payload, signature: text.signature })
    }
}

#[cfg(test)]
mod tests;
