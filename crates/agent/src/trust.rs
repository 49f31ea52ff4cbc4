//! What makes the agent believe its server: pin, identity key, certified command key, challenge.
//!
//! ```text
//! pin = SHA-256(identity key) → certificate of the command key → challenge statement
//! ```
//! *Invariant:* nothing is signed for a server before all of this has been verified, and a server
//! with another identity key is believed only where an unbroken chain of successors leads from the
//! known one to it (PROTOCOL §§2, 4).

use argosy_domain::id::AgentId;
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    rpc::gateway,
    sign::{InvalidSigned, Signed},
    statement::{ChallengeStatement, EnrolmentReceipt},
    succession::{BrokenSuccession, Cosigned, follow},
};
use connectrpc::ConnectError;

use crate::{
    engine::{ServerIdentity, good_at},
    transport::{CallError, Link},
};

/// Why a server is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It has another identity key than the pinned one.
    #[error("the server shows the identity {shown}, and this agent knows it as {pinned}")]
    OtherServer {
        /// Thumbprint of the key that it shows.
        shown: Bytes32,
        /// Thumbprint that the agent pinned.
        pinned: Bytes32,
    },
    /// It has another identity key, and the successions that it shows do not hold.
    #[error("the server shows the identity {shown}, and does not prove that it succeeded {pinned}")]
    Succession {
        /// Thumbprint of the key that it shows.
        shown: Bytes32,
        /// Thumbprint that the agent knows.
        pinned: Bytes32,
        /// What is wrong with the chain.
        source: BrokenSuccession,
    },
    /// It shows no key, or something that is none.
    #[error("the server did not show its identity key")]
    NoIdentity,
    /// No command key of it is certified and signed this.
    #[error("the server did not prove itself with a certified key")]
    NoProof,
    /// It left out a signed statement.
    #[error("the server's answer lacks its signed {0}")]
    Missing(&'static str),
    /// A signed statement does not hold.
    #[error("the server's {what} is not valid")]
    Invalid {
        /// Which statement.
        what: &'static str,
        /// What is wrong with it.
        source: InvalidSigned,
    },
    /// A signed statement speaks of something else.
    #[error("the server's {what} names another {field}")]
    Names {
        /// Which statement.
        what: &'static str,
        /// The field that differs.
        field: &'static str,
    },
}

/// The identity that a server shows; refused where it is not the pinned one. Without a pin this is
/// trust at first contact.
pub fn shown_identity(
    keys: &gateway::ServerKeys,
    pin: Option<&Bytes32>,
) -> Result<ServerIdentity, Distrust> {
    let key = Fixed::from_slice(&keys.identity_key).map_err(|_| Distrust::NoIdentity)?;
    let identity = ServerIdentity::new(key);
    match pin {
        Some(pin) if pin != identity.thumbprint() => {
            Err(Distrust::OtherServer { shown: *identity.thumbprint(), pinned: *pin })
        }
        Some(_) | None => Ok(identity),
    }
}

/// The identity that a server shows, where it is the known one or where an unbroken chain of
/// successors leads from the known one to it.
pub fn followed_identity(
    keys: &gateway::ServerKeys,
    known: &Bytes32,
    serial: i64,
) -> Result<ServerIdentity, Distrust> {
    let shown = shown_identity(keys, None)?;
    let links: Vec<Cosigned> = keys.successors.iter().filter_map(cosigned).collect();
    led_to(shown, &links, known, serial)
}

/// The same with the parts of an answer of any kind.
pub(crate) fn led_to(
    shown: ServerIdentity,
    links: &[Cosigned],
    known: &Bytes32,
    serial: i64,
) -> Result<ServerIdentity, Distrust> {
    let (here, pinned) = (*shown.thumbprint(), *known);
    if here == pinned {
        return Ok(shown.with_serial(serial));
    }
    let heirs = follow(known, serial, links).map_err(|source| match source {
        BrokenSuccession::NoBeginning => Distrust::OtherServer { shown: here, pinned },
        BrokenSuccession::Invalid(_)
        | BrokenSuccession::Gap
        | BrokenSuccession::Serial
        | BrokenSuccession::TooMany => Distrust::Succession { shown: here, pinned, source },
    })?;
    match heirs.last() {
        Some(heir) if heir.key == *shown.key() => Ok(shown.with_serial(heir.serial)),
        Some(_) | None => Err(Distrust::OtherServer { shown: here, pinned }),
    }
}

/// Where TLS showed another identity than the known one: whether the known one led to it, which is
/// what TLS is then spoken with. False where it showed no other.
pub async fn follow_in_tls(
    link: &Link,
    known: &Bytes32,
    serial: i64,
) -> Result<bool, TrustedCallError> {
    if !link.met_a_stranger() {
        return Ok(false);
    }
    let keys = link.keys_of_stranger().await.map_err(CallError::from)?;
    let shown = ServerIdentity::new(keys.identity_key.parse().map_err(|_| Distrust::NoIdentity)?);
    let links: Vec<Cosigned> =
        keys.successors.iter().filter_map(|link| Cosigned::try_from(link).ok()).collect();
    let heir = led_to(shown, &links, known, serial)?;
    link.trust(*heir.thumbprint());
    Ok(true)
}

fn cosigned(link: &gateway::CosignedStatement) -> Option<Cosigned> {
    Some(Cosigned {
        payload: link.payload.clone(),
        signature: Fixed::from_slice(&link.signature).ok()?,
        successor_signature: Fixed::from_slice(&link.successor_signature).ok()?,
    })
}

/// Verifies the server's answer to a registration of exactly these enrolment bytes.
pub fn verify_receipt(
    server: &ServerIdentity,
    receipt: &gateway::SignedStatement,
    enrolment_sha256: &Bytes32,
    agent: &AgentId,
) -> Result<EnrolmentReceipt, Distrust> {
    let what = "enrolment receipt";
    let statement: EnrolmentReceipt = signed(receipt)
        .ok_or(Distrust::Missing(what))?
        .verify(server.key())
        .map_err(|source| Distrust::Invalid { what, source })?;
    same(what, "server", statement.server == *server.thumbprint())?;
    same(what, "enrolment", statement.enrolment_sha256 == *enrolment_sha256)?;
    same(what, "agent", statement.agent_id == *agent)?;
    Ok(statement)
}

/// Verifies the answer to the beginning of a handshake: a certified command key of the known server,
/// or of its successor, signed this challenge, for this agent and for its own nonce. Answers the
/// server as it is known from now on.
pub fn verify_challenge(
    known: &ServerIdentity,
    answer: &gateway::BeginAuthHandshakeResponse,
    agent: &AgentId,
    agent_nonce: &Bytes32,
) -> Result<(ChallengeStatement, ServerIdentity), Distrust> {
    let what = "challenge";
    let signature = Fixed::from_slice(&answer.signature).map_err(|_| Distrust::Missing(what))?;
    let challenge = Signed { payload: answer.statement.clone(), signature };
    let keys = answer.server_keys.as_option().ok_or(Distrust::NoIdentity)?;
    let server = followed_identity(keys, known.thumbprint(), known.serial())?
        .with_command_serial(known.command_serial());
    let (statement, certificate) = keys
        .certificates
        .iter()
        .filter_map(signed)
        .find_map(|certificate| {
            server.certified::<ChallengeStatement>(&challenge, &certificate).ok()
        })
        .ok_or(Distrust::NoProof)?;
    // By the signed server time: a host's clock may be years off before its first sync.
    same(what, "time", good_at(&certificate, statement.server_time).is_ok())?;
    same(what, "server", statement.server == *server.thumbprint())?;
    same(what, "agent", statement.agent == *agent)?;
    same(what, "nonce", statement.agent_nonce == *agent_nonce)?;
    same(what, "challenge", statement.challenge.0.as_slice() == answer.challenge.as_slice())?;
    Ok((statement, server.with_command_serial(certificate.serial)))
}

/// A statement as it travelled; none where its signature is no signature.
pub(crate) fn signed(statement: &gateway::SignedStatement) -> Option<Signed> {
    let signature = Fixed::from_slice(&statement.signature).ok()?;
    Some(Signed { payload: statement.payload.clone(), signature })
}

fn same(what: &'static str, field: &'static str, holds: bool) -> Result<(), Distrust> {
    if holds { Ok(()) } else { Err(Distrust::Names { what, field }) }
}

/// Why a server could not be asked, or was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustedCallError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It answered, and is not believed.
    #[error(transparent)]
    Distrust(#[from] Distrust),
}

impl From<ConnectError> for TrustedCallError {
    fn from(error: ConnectError) -> Self {
        Self::Call(error.into())
    }
}

#[cfg(test)]
mod tests;
