//! What may be told about the server's keys: public parts, serials, validity.

use argosy_domain::time::Timestamp;
use argosy_store::ServerKeyRow;
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    sign::{Signed, read},
    statement::KeyCertificate,
    succession::Cosigned,
};

use super::{
    KeyUse, Keyring, KeyringError, certificate_of, corrupt, key_id, newest,
    succession::succession_of,
};

/// How a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// Verified already, signs soon.
    Next,
    /// Signs.
    Active,
    /// Signs no more; what it signed still holds.
    Retiring,
    /// Over.
    Expired,
}

impl KeyStatus {
    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Expired => "expired",
        }
    }
}

/// What may be told about a key.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// Use and serial: `command-2`.
    pub id: String,
    /// What it is for.
    pub key_use: KeyUse,
    /// Rises with every rotation.
    pub serial: i64,
    /// How it stands.
    pub status: KeyStatus,
    /// Raw public key; none for secrets.
    pub public_key: Option<Bytes32>,
    /// The identity key's word for it.
    pub certificate: Option<Signed>,
    /// How an identity took over from the one before.
    pub succession: Option<Cosigned>,
    /// From then on.
    pub not_before: Timestamp,
    /// Until then.
    pub not_after: Option<Timestamp>,
}

impl KeyInfo {
    /// The identity that certified it.
    pub fn certified_by(&self) -> Option<Bytes32> {
        let certificate = self.certificate.as_ref()?;
        read::<KeyCertificate>(&certificate.payload).ok().map(|certificate| certificate.server)
    }

    /// Whether what it vouches for counts at `now`.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && self.status != KeyStatus::Expired
    }
}

impl Keyring {
    /// Every key that the store still knows, public parts only.
    pub fn describe(&self, now: Timestamp) -> Result<Vec<KeyInfo>, KeyringError> {
        let known = self.rows.iter().filter_map(|row| Some((row, KeyUse::of(&row.key_use)?)));
        known.map(|(row, key_use)| self.info(row, key_use, now)).collect()
    }

    fn info(
        &self,
        row: &ServerKeyRow,
        key_use: KeyUse,
        now: Timestamp,
    ) -> Result<KeyInfo, KeyringError> {
        let signer = match key_use {
            KeyUse::Identity => newest(&self.rows, key_use)?.serial == row.serial,
            KeyUse::Command | KeyUse::Federation | KeyUse::Audit => {
                newest(&self.rows, key_use)?.serial == row.serial
            }
            KeyUse::Session => self.session_signer(now).kid == key_id(row),
        };
        let status = if row.not_after.is_some_and(|end| end <= now) {
            KeyStatus::Expired
        } else if signer {
            KeyStatus::Active
        } else if row.not_before > now {
            KeyStatus::Next
        } else {
            KeyStatus::Retiring
        };
        let is_secret = key_use == KeyUse::Session;
        let is_identity = key_use == KeyUse::Identity;
        let certificate = row.certificate.is_some() && !is_identity;
        let public = || Fixed::from_slice(&row.public_key).map_err(|_| corrupt(key_id(row)));
        Ok(KeyInfo {
            id: key_id(row),
            key_use,
            serial: row.serial,
            status,
            public_key: if is_secret { None } else { Some(public()?) },
            certificate: certificate.then(|| certificate_of(row)).transpose()?,
            succession: if is_identity { succession_of(row)? } else { None },
            not_before: row.not_before,
            not_after: row.not_after,
        })
    }
}
