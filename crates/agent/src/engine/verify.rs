//! Whether what arrived is the pinned server's word.
//!
//! *Invariant:* the host's wall clock decides nothing here. Times are compared with times that the
//! server signed, carried forward by the boot clock.

use std::time::Duration;

use argosy_domain::time::Timestamp;
use argosy_wire::{
    bytes::Bytes32,
    sign::{InvalidSigned, Signed, Statement, thumbprint},
    statement::KeyCertificate,
};

/// The use that a command key is certified for.
const COMMAND_USE: &str = "command";

/// The server as an agent knows it: the identity that it pinned, or to which it was led from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerIdentity {
    key: Bytes32,
    thumbprint: Bytes32,
    serial: i64,
    command_serial: i64,
}

/// Why the server's word was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The pinned server did not certify the key that signed.
    #[error("the key's certificate is not the server's: {0}")]
    Certificate(InvalidSigned),
    /// The certificate is for another use.
    #[error("the key is not certified for this")]
    Use,
    /// It, or its certificate, names another server.
    #[error("it is from another server")]
    Server,
    /// A newer key of this use is known: the one that signed was replaced, and may be stolen.
    #[error("the key was replaced by a newer one")]
    Superseded,
    /// The certificate was not good at that time.
    #[error("the key's certificate is not good at this time")]
    Window,
    /// The statement itself.
    #[error("{0}")]
    Statement(InvalidSigned),
    /// It names another agent.
    #[error("it is for another agent")]
    Agent,
    /// It names another organisation than this agent belongs to.
    #[error("it is from another organisation")]
    Org,
    /// The parameters are not those that were signed.
    #[error("the parameters are not those that were signed")]
    Params,
    /// It is about a command that the journal does not know.
    #[error("the journal does not know this command")]
    UnknownCommand,
}

impl Untrusted {
    /// Whether the server may have changed its keys since the agent last shook hands: another
    /// handshake tells.
    pub fn may_be_news(&self) -> bool {
        match self {
            Self::Certificate(_) | Self::Server | Self::Superseded => true,
            Self::Use
            | Self::Window
            | Self::Statement(_)
            | Self::Agent
            | Self::Org
            | Self::Params
            | Self::UnknownCommand => false,
        }
    }
}

impl ServerIdentity {
    /// The server whose raw Ed25519 identity key this is.
    pub fn new(key: Bytes32) -> Self {
        Self { key, thumbprint: thumbprint(&key), serial: 0, command_serial: 0 }
    }

    /// The same with its place in the succession, as far as it is known.
    pub fn with_serial(self, serial: i64) -> Self {
        Self { serial, ..self }
    }

    /// The same, believing no command key of a lower serial any more.
    pub fn with_command_serial(self, command_serial: i64) -> Self {
        Self { command_serial: self.command_serial.max(command_serial), ..self }
    }

    /// The identity's place in the succession; 0 where it is not known.
    pub fn serial(&self) -> i64 {
        self.serial
    }

    /// The lowest serial of command keys that are believed.
    pub fn command_serial(&self) -> i64 {
        self.command_serial
    }

    /// The raw key.
    pub fn key(&self) -> &Bytes32 {
        &self.key
    }

    /// What agents pin.
    pub fn thumbprint(&self) -> &Bytes32 {
        &self.thumbprint
    }

    /// A statement that this server's certified command key signed; the certificate must be good
    /// at `server_now`, the server's time as far as it is known. Who the statement is for is the
    /// caller's to check.
    pub fn verify<S: Statement>(
        &self,
        envelope: &Signed,
        certificate: &Signed,
        server_now: Option<Timestamp>,
    ) -> Result<S, Untrusted> {
        let (statement, certificate) = self.certified(envelope, certificate)?;
        server_now.map_or(Ok(()), |now| good_at(&certificate, now))?;
        Ok(statement)
    }

    /// The same with the certificate, for statements that hold a time of their own.
    pub(crate) fn certified<S: Statement>(
        &self,
        envelope: &Signed,
        certificate: &Signed,
    ) -> Result<(S, KeyCertificate), Untrusted> {
        let certificate: KeyCertificate =
            certificate.verify(&self.key).map_err(Untrusted::Certificate)?;
        if certificate.server != self.thumbprint {
            return Err(Untrusted::Server);
        }
        if certificate.usage != COMMAND_USE {
            return Err(Untrusted::Use);
        }
        if certificate.serial < self.command_serial {
            return Err(Untrusted::Superseded);
        }
        let statement = envelope.verify(&certificate.public_key).map_err(Untrusted::Statement)?;
        Ok((statement, certificate))
    }
}

/// Whether the certificate is good at a time of the server.
pub(crate) fn good_at(certificate: &KeyCertificate, at: Timestamp) -> Result<(), Untrusted> {
    if (certificate.not_before..certificate.not_after).contains(&at) {
        Ok(())
    } else {
        Err(Untrusted::Window)
    }
}

/// The server's time as it was last proved fresh, carried forward by the boot clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ServerTime {
    seen: Option<(Timestamp, Duration)>,
}

impl ServerTime {
    /// A fresh signed time, seen at `since_boot`. Also an earlier one than before is believed: a
    /// server's clock that was wrong and is right again must not spoil every command.
    pub(super) fn observe(&mut self, at: Timestamp, since_boot: Duration) {
        self.seen = Some((at, since_boot));
    }

    /// The server's time at `since_boot`, where it is known.
    pub(super) fn at(&self, since_boot: Duration) -> Option<Timestamp> {
        self.seen.map(|(at, seen)| at.plus(since_boot.saturating_sub(seen)))
    }
}
