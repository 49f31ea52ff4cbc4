//! Making keys: the first ones, and the next of each use.
//!
//! *Invariant:* serials rise, and a replaced session secret lives until every token that it signed
//! has expired.

use std::time::Duration;

use argosy_domain::{
    entropy::{Entropy, random_bytes},
    limits::SESSION_LIFE,
    time::Timestamp,
};
use argosy_store::{KeyCertificate as StoredCertificate, ServerKeyRow, Store, Tx};
use argosy_wire::{
    bytes::{Fixed, decode, encode},
    sign::{Signed, thumbprint},
    statement::KeyCertificate,
    token::Secret32,
};
use ed25519_dalek::SigningKey;

use super::{KeyUse, KeyringError, corrupt, newest, signing_key, succession};
use crate::app::seal::{SealError, Sealer};

/// Life of a certified key.
pub const CERTIFICATE_LIFE: Duration = days(365);
/// A certified key is replaced by itself when this is left.
pub const RENEW_BEFORE: Duration = days(60);
/// Whoever still has the old one then is warned: replacing it has failed for a month.
pub const WARN_BEFORE: Duration = days(30);
/// A certificate is good from this long before it was made: agents know the time by hearsay.
const BACKDATED: Duration = Duration::from_secs(3600);
/// A new session secret is known for this long before it signs, so that every replica has it by
/// the time it meets the first token.
pub const SESSION_ACTIVATION: Duration = Duration::from_secs(10);
/// How long a replaced session secret lives on: the life of a token, and what clocks may differ.
pub const SESSION_OVERLAP: Duration = Duration::from_secs(SESSION_LIFE.as_secs() + 300);
/// Session secrets that are valid at once.
pub const SESSION_SECRETS_MAX: usize = 8;
/// The private part of a replaced certified key is erased this long after: nobody signs with it.
pub const ERASE_AFTER: Duration = Duration::from_secs(600);

/// Remembers, sealed, which configured session secret was taken up last.
const CONFIGURED: &str = "session_secret_configured";
const CONFIGURED_PURPOSE: &str = "session-configured";

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

/// Opens the private part of a row.
pub(super) fn open_row(
    sealer: &Sealer,
    key_use: KeyUse,
    row: &ServerKeyRow,
) -> Result<Secret32, SealError> {
    sealer.open_sealed(key_use.as_str(), &row.serial.to_string(), &row.sealed_private)
}

/// Makes rows.
pub(in crate::app) struct Vault<'a> {
    pub(in crate::app) sealer: &'a Sealer,
    pub(in crate::app) entropy: &'a dyn Entropy,
    pub(in crate::app) now: Timestamp,
}

impl Vault<'_> {
    /// Makes the uses that have no key yet, and takes up a configured session secret that is new.
    pub(super) async fn complete(
        &self,
        store: &Store,
        configured: Option<&Secret32>,
    ) -> Result<(), KeyringError> {
        let mut tx = store.write("server_keys.complete").await?;
        let mut rows = tx.server_keys().list().await?;
        let first = rows.is_empty();
        if first {
            let row = self.row(KeyUse::Identity, 1, None)?;
            self.keep(&mut tx, &mut rows, row).await?;
        }
        for key_use in KeyUse::ALL {
            if newest(&rows, key_use).is_err() {
                let row = self.next(&rows, key_use, configured)?;
                self.keep(&mut tx, &mut rows, row).await?;
            }
        }
        if let Some(configured) = configured {
            self.take_up(&mut tx, &mut rows, configured).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Replaces the key of a use inside a transaction; with `ending` only where it ends by then or
    /// has not begun. The
    /// ids of the keys that were made.
    pub(in crate::app) async fn rotate(
        &self,
        tx: &mut Tx,
        key_use: KeyUse,
        ending: Option<Timestamp>,
    ) -> Result<Vec<String>, KeyringError> {
        let mut rows = tx.server_keys().list().await?;
        let (end, begun) = {
            let row = newest(&rows, key_use)?;
            (row.not_after, row.not_before <= self.now)
        };
        if begun && ending.is_some_and(|by| end.is_none_or(|end| end > by)) {
            return Ok(Vec::new());
        }
        let row = match key_use {
            KeyUse::Identity => return self.succeed(tx, &mut rows).await,
            KeyUse::Session | KeyUse::Command | KeyUse::Federation | KeyUse::Audit => {
                self.next(&rows, key_use, None)?
            }
        };
        let made = if key_use == KeyUse::Session {
            self.replace_session(tx, &mut rows, row).await?
        } else {
            self.keep(tx, &mut rows, row).await?
        };
        Ok(vec![made])
    }

    /// A new identity, which the old one signs over to, and new certified keys under it.
    async fn succeed(
        &self,
        tx: &mut Tx,
        rows: &mut Vec<ServerKeyRow>,
    ) -> Result<Vec<String>, KeyringError> {
        let row = self.row(KeyUse::Identity, newest(rows, KeyUse::Identity)?.serial + 1, None)?;
        let row = succession::succeed(self.sealer, rows, row, self.now)?;
        let mut made = vec![self.keep(tx, rows, row).await?];
        for key_use in KeyUse::CERTIFIED {
            let row = self.next(rows, key_use, None)?;
            made.push(self.keep(tx, rows, row).await?);
        }
        Ok(made)
    }

    /// New keys of every use, for which nothing of before vouches: for a master key that was lost, or
    /// an identity that was stolen. What cannot be opened any more is forgotten. A session secret that
    /// is configured counts as taken up before: whoever has the old keys has it too.
    pub(in crate::app) async fn begin_anew(
        &self,
        tx: &mut Tx,
        configured: Option<&Secret32>,
    ) -> Result<Vec<String>, KeyringError> {
        let mut rows = tx.server_keys().list().await?;
        let next = |rows: &[ServerKeyRow], of| newest(rows, of).map_or(1, |row| row.serial + 1);
        let identity = self.row(KeyUse::Identity, next(&rows, KeyUse::Identity), None)?;
        let mut made = vec![self.keep(tx, &mut rows, identity).await?];
        for key_use in [KeyUse::CERTIFIED.as_slice(), &[KeyUse::Session]].concat() {
            let row = self.next(&rows, key_use, None)?;
            made.push(self.keep(tx, &mut rows, row).await?);
        }
        for key_use in KeyUse::ERASED {
            let serial = next(&rows, key_use) - 1;
            tx.server_keys().erase_below(key_use.as_str(), serial).await?;
        }
        let serial = next(&rows, KeyUse::Session) - 1;
        tx.server_keys().delete_below(KeyUse::Session.as_str(), serial).await?;
        match configured {
            Some(configured) => self.remember_configured(tx, configured).await?,
            None => drop(tx.settings().remove(CONFIGURED).await?),
        }
        Ok(made)
    }

    async fn keep(
        &self,
        tx: &mut Tx,
        rows: &mut Vec<ServerKeyRow>,
        row: ServerKeyRow,
    ) -> Result<String, KeyringError> {
        tx.server_keys().insert(&row).await?;
        let id = super::key_id(&row);
        rows.push(row);
        Ok(id)
    }

    async fn replace_session(
        &self,
        tx: &mut Tx,
        rows: &mut Vec<ServerKeyRow>,
        mut row: ServerKeyRow,
    ) -> Result<String, KeyringError> {
        let live = |row: &&ServerKeyRow| {
            row.key_use == KeyUse::Session.as_str()
                && row.not_after.is_none_or(|end| end > self.now)
        };
        if rows.iter().filter(live).count() >= SESSION_SECRETS_MAX {
            return Err(KeyringError::TooMany);
        }
        row.not_before = self.now.plus(SESSION_ACTIVATION);
        let end = row.not_before.plus(SESSION_OVERLAP);
        tx.server_keys().end_below(KeyUse::Session.as_str(), row.serial, end).await?;
        self.keep(tx, rows, row).await
    }

    /// A configured secret that is neither the one taken up last nor valid becomes the next one.
    async fn take_up(
        &self,
        tx: &mut Tx,
        rows: &mut Vec<ServerKeyRow>,
        configured: &Secret32,
    ) -> Result<(), KeyringError> {
        let same = |secret: &Secret32| {
            bool::from(subtle::ConstantTimeEq::ct_eq(
                secret.expose().as_slice(),
                configured.expose().as_slice(),
            ))
        };
        let last = tx.settings().get(None, CONFIGURED).await?;
        if let Some(last) = last {
            let sealed = decode(&last).map_err(|_| corrupt(CONFIGURED))?;
            if same(&self.sealer.open_sealed(CONFIGURED_PURPOSE, "1", &sealed)?) {
                return Ok(());
            }
        }
        let mut known = false;
        for row in rows.iter().filter(|row| row.key_use == KeyUse::Session.as_str()) {
            known |= same(&open_row(self.sealer, KeyUse::Session, row)?);
        }
        if !known {
            let row = self.next(rows, KeyUse::Session, Some(configured))?;
            self.replace_session(tx, rows, row).await?;
        }
        self.remember_configured(tx, configured).await
    }

    async fn remember_configured(
        &self,
        tx: &mut Tx,
        configured: &Secret32,
    ) -> Result<(), KeyringError> {
        let sealed =
            self.sealer.seal(self.entropy, CONFIGURED_PURPOSE, "1", configured.expose())?;
        Ok(tx.settings().put(None, CONFIGURED, &encode(&sealed)).await?)
    }

    /// The next row of a use, certified where the use is.
    fn next(
        &self,
        rows: &[ServerKeyRow],
        key_use: KeyUse,
        given: Option<&Secret32>,
    ) -> Result<ServerKeyRow, KeyringError> {
        let serial = newest(rows, key_use).map_or(1, |row| row.serial + 1);
        match key_use {
            KeyUse::Identity => Err(corrupt(key_use.as_str())),
            KeyUse::Session => Ok(self.row(key_use, serial, given)?),
            KeyUse::Command | KeyUse::Federation | KeyUse::Audit => {
                let row = self.row(key_use, serial, None)?;
                let identity = newest(rows, KeyUse::Identity)?;
                let identity = signing_key(identity, self.sealer, KeyUse::Identity)?;
                self.certify(&identity, row)
            }
        }
    }

    fn row(
        &self,
        key_use: KeyUse,
        serial: i64,
        given: Option<&Secret32>,
    ) -> Result<ServerKeyRow, SealError> {
        let secret = given.cloned().unwrap_or_else(|| Secret32::new(random_bytes(self.entropy)));
        let (name, id) = (key_use.as_str(), serial.to_string());
        Ok(ServerKeyRow {
            key_use: name.to_owned(),
            serial,
            public_key: match key_use {
                // A digest of a configured secret could be guessed at.
                KeyUse::Session => Vec::new(),
                KeyUse::Identity | KeyUse::Command | KeyUse::Federation | KeyUse::Audit => {
                    SigningKey::from_bytes(secret.expose()).verifying_key().to_bytes().to_vec()
                }
            },
            sealed_private: self.sealer.seal(self.entropy, name, &id, secret.expose())?,
            certificate: None,
            not_before: self.now,
            not_after: None,
            created_at: self.now,
        })
    }

    fn certify(
        &self,
        identity: &SigningKey,
        row: ServerKeyRow,
    ) -> Result<ServerKeyRow, KeyringError> {
        let public_key =
            Fixed::from_slice(&row.public_key).map_err(|_| corrupt(row.key_use.clone()))?;
        let not_before = self.now.minus(BACKDATED);
        let not_after = self.now.plus(CERTIFICATE_LIFE);
        let certificate = Signed::new(
            identity,
            &KeyCertificate {
                server: thumbprint(&Fixed(identity.verifying_key().to_bytes())),
                usage: row.key_use.clone(),
                public_key,
                serial: row.serial,
                not_before,
                not_after,
            },
        );
        let certificate = StoredCertificate {
            payload: certificate.payload,
            signature: certificate.signature.0.to_vec(),
        };
        let (not_after, certificate) = (Some(not_after), Some(certificate));
        Ok(ServerKeyRow { certificate, not_before, not_after, ..row })
    }
}
