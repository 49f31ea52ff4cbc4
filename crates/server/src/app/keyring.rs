//! The server's own keys: identity, certified keys, session secrets.
//!
//! A [`Keyring`] is a snapshot of what the store holds, sealed there under the master key. Rotation
//! makes rows; every server takes them up as a new snapshot ([`super::rotation`]). *Invariant:* a
//! private key leaves this module only as a signature or a token; what was signed travels with the
//! certificate of the very key that signed it.

mod authority;
mod info;
mod succession;
mod vault;

use argosy_domain::{
    entropy::Entropy,
    limits::SUCCESSIONS_MAX,
    time::{Clock, Timestamp},
};
use argosy_store::{ServerKeyRow, Store, StoreError};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    sign::{Signed, Statement, thumbprint},
    succession::Cosigned,
    token::Secret32,
};
use ed25519_dalek::SigningKey;
use hkdf::Hkdf;

pub(super) use self::vault::Vault;
pub use self::{
    authority::TlsAuthority,
    info::{KeyInfo, KeyStatus},
    vault::{
        CERTIFICATE_LIFE, ERASE_AFTER, RENEW_BEFORE, SESSION_ACTIVATION, SESSION_OVERLAP,
        SESSION_SECRETS_MAX, WARN_BEFORE,
    },
};
use super::seal::{SealError, Sealer};

/// What a key of the server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyUse {
    /// Certifies the others; what agents pin.
    Identity,
    /// Commands, challenges, acknowledgments of results.
    Command,
    /// What this server says to other servers.
    Federation,
    /// Checkpoints of the audit log.
    Audit,
    /// Session tokens and, derived, DPoP nonces. A secret, not a key pair.
    Session,
}

impl KeyUse {
    /// Every use.
    pub const ALL: [Self; 5] =
        [Self::Identity, Self::Command, Self::Federation, Self::Audit, Self::Session];
    /// Those that the identity key certifies.
    pub const CERTIFIED: [Self; 3] = [Self::Command, Self::Federation, Self::Audit];
    /// Those whose private parts are erased once they are replaced.
    pub const ERASED: [Self; 4] = [Self::Identity, Self::Command, Self::Federation, Self::Audit];

    /// The stored and public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Command => "command",
            Self::Federation => "federation",
            Self::Audit => "audit",
            Self::Session => "session",
        }
    }

    /// The use of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

/// Why the keys could not be loaded or rotated.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The master key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A stored key is not what its row says.
    #[error("server key {0} is corrupt")]
    Corrupt(String),
    /// Agents follow a chain of this length at most.
    #[error("the identity has been succeeded {SUCCESSIONS_MAX} times, and agents follow no more")]
    TooManySuccessions,
    /// Every rotation leaves an old secret that must live on for a while.
    #[error("{SESSION_SECRETS_MAX} session secrets are valid already; wait until one has ended")]
    TooMany,
}

/// A signature with the certificate of the key that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// What was signed.
    pub envelope: Signed,
    /// The identity key's word for the key that signed.
    pub certificate: Signed,
}

struct CertifiedKey {
    key: SigningKey,
    certificate: Signed,
}

impl CertifiedKey {
    fn sign<S: Statement>(&self, statement: &S) -> Certified {
        Certified {
            envelope: Signed::new(&self.key, statement),
            certificate: self.certificate.clone(),
        }
    }
}

/// A secret that signs session tokens.
pub struct SessionSecret {
    kid: String,
    secret: Secret32,
    nonce_secret: Secret32,
    not_before: Timestamp,
    not_after: Option<Timestamp>,
}

impl SessionSecret {
    /// The id in the header of tokens.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The secret itself.
    pub fn secret(&self) -> &Secret32 {
        &self.secret
    }

    /// The key of DPoP nonces that were given out beside its tokens.
    pub fn nonce_secret(&self) -> &Secret32 {
        &self.nonce_secret
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|end| end <= now)
    }
}

/// The keys in force. `Debug` shows the thumbprint alone.
pub struct Keyring {
    rows: Vec<ServerKeyRow>,
    identity: SigningKey,
    identity_public: Bytes32,
    thumbprint: Bytes32,
    successors: Vec<Cosigned>,
    predecessors: Vec<Bytes32>,
    command: CertifiedKey,
    audit: CertifiedKey,
    oldest: SessionSecret,
    later: Vec<SessionSecret>,
}

fn corrupt(what: impl Into<String>) -> KeyringError {
    KeyringError::Corrupt(what.into())
}

fn newest(rows: &[ServerKeyRow], key_use: KeyUse) -> Result<&ServerKeyRow, KeyringError> {
    let of_use = rows.iter().filter(|row| row.key_use == key_use.as_str());
    of_use.max_by_key(|row| row.serial).ok_or_else(|| corrupt(key_use.as_str()))
}

fn key_id(row: &ServerKeyRow) -> String {
    format!("{}-{}", row.key_use, row.serial)
}

fn certificate_of(row: &ServerKeyRow) -> Result<Signed, KeyringError> {
    let damaged = || corrupt(format!("certificate of {}", key_id(row)));
    let certificate = row.certificate.as_ref().ok_or_else(damaged)?;
    let signature = Fixed::from_slice(&certificate.signature).map_err(|_| damaged())?;
    Ok(Signed { payload: certificate.payload.clone(), signature })
}

fn signing_key(
    row: &ServerKeyRow,
    sealer: &Sealer,
    key_use: KeyUse,
) -> Result<SigningKey, KeyringError> {
    let secret = vault::open_row(sealer, key_use, row)?;
    let key = SigningKey::from_bytes(secret.expose());
    if key.verifying_key().to_bytes().as_slice() == row.public_key {
        Ok(key)
    } else {
        Err(corrupt(key_id(row)))
    }
}

fn certified_key(
    rows: &[ServerKeyRow],
    sealer: &Sealer,
    key_use: KeyUse,
) -> Result<CertifiedKey, KeyringError> {
    let row = newest(rows, key_use)?;
    Ok(CertifiedKey { key: signing_key(row, sealer, key_use)?, certificate: certificate_of(row)? })
}

fn session_secret(row: &ServerKeyRow, sealer: &Sealer) -> Result<SessionSecret, KeyringError> {
    let secret = vault::open_row(sealer, KeyUse::Session, row)?;
    let mut nonce_key = [0; 32];
    Hkdf::<sha2::Sha256>::new(None, secret.expose())
        .expand(b"argosy/dpop-nonce/v1", &mut nonce_key)
        .map_err(|_| corrupt(key_id(row)))?;
    Ok(SessionSecret {
        kid: key_id(row),
        secret,
        nonce_secret: Secret32::new(nonce_key),
        not_before: row.not_before,
        not_after: row.not_after,
    })
}

impl Keyring {
    /// Loads the keys, and makes those that are missing. Of two replicas that start at once one
    /// makes them and the other reads them. A configured session secret that was never seen before
    /// becomes the next one.
    pub async fn open(
        store: &Store,
        sealer: &Sealer,
        entropy: &dyn Entropy,
        clock: &dyn Clock,
        configured: Option<&Secret32>,
    ) -> Result<Self, KeyringError> {
        let vault = Vault { sealer, entropy, now: clock.now() };
        match vault.complete(store, configured).await {
            Ok(()) | Err(KeyringError::Store(StoreError::Conflict { .. })) => {}
            Err(error) => return Err(error),
        }
        Self::load(store, sealer).await
    }

    /// Loads the keys that there are.
    pub async fn load(store: &Store, sealer: &Sealer) -> Result<Self, KeyringError> {
        Self::from_rows(stored(store).await?, sealer)
    }

    /// The keys of the store where they are no longer these; none where nothing has changed.
    pub async fn reload(
        &self,
        store: &Store,
        sealer: &Sealer,
    ) -> Result<Option<Self>, KeyringError> {
        let rows = stored(store).await?;
        if rows == self.rows { Ok(None) } else { Self::from_rows(rows, sealer).map(Some) }
    }

    fn from_rows(rows: Vec<ServerKeyRow>, sealer: &Sealer) -> Result<Self, KeyringError> {
        let identity = signing_key(newest(&rows, KeyUse::Identity)?, sealer, KeyUse::Identity)?;
        let identity_public = Fixed(identity.verifying_key().to_bytes());
        let (successors, predecessors) = succession::chain(&rows)?;
        let sessions = rows.iter().filter(|row| row.key_use == KeyUse::Session.as_str());
        let mut sessions = sessions.map(|row| session_secret(row, sealer));
        let oldest = sessions.next().ok_or_else(|| corrupt(KeyUse::Session.as_str()))??;
        let later = sessions.collect::<Result<_, _>>()?;
        Ok(Self {
            identity,
            identity_public,
            thumbprint: thumbprint(&identity_public),
            successors,
            predecessors,
            command: certified_key(&rows, sealer, KeyUse::Command)?,
            audit: certified_key(&rows, sealer, KeyUse::Audit)?,
            oldest,
            later,
            rows,
        })
    }

    /// Raw identity key.
    pub fn identity_public(&self) -> Bytes32 {
        self.identity_public
    }

    /// What agents pin.
    pub fn thumbprint(&self) -> Bytes32 {
        self.thumbprint
    }

    /// How this identity came to be, oldest first.
    pub fn successors(&self) -> &[Cosigned] {
        &self.successors
    }

    /// Thumbprints of the identities before this one.
    pub fn predecessors(&self) -> &[Bytes32] {
        &self.predecessors
    }

    /// Whether a pin is this server's: of its identity, or of one from which agents are led here.
    pub fn answers_to(&self, pin: &Bytes32) -> bool {
        self.thumbprint == *pin || self.predecessors.contains(pin)
    }

    /// The certificate of the command key that signs.
    pub fn command_certificate(&self) -> &Signed {
        &self.command.certificate
    }

    /// Signs with the identity key: receipts of enrolment.
    pub fn sign_identity<S: Statement>(&self, statement: &S) -> Signed {
        Signed::new(&self.identity, statement)
    }

    /// Signs with the command key: challenges, commands, result acknowledgments.
    pub fn sign_command<S: Statement>(&self, statement: &S) -> Certified {
        self.command.sign(statement)
    }

    /// Signs with the audit key: checkpoints.
    pub fn sign_audit<S: Statement>(&self, statement: &S) -> Certified {
        self.audit.sign(statement)
    }

    /// The secret that signs session tokens: the newest whose time has come. While none's has,
    /// after the clock was set back, the oldest: every server has it already.
    pub fn session_signer(&self, now: Timestamp) -> &SessionSecret {
        let begun = self.later.iter().rev().find(|secret| secret.not_before <= now);
        begun.unwrap_or(&self.oldest)
    }

    fn sessions(&self) -> impl Iterator<Item = &SessionSecret> {
        std::iter::once(&self.oldest).chain(&self.later)
    }

    /// The secret that a token names, while what it signed holds.
    pub fn session_verifier(&self, kid: &str, now: Timestamp) -> Option<&SessionSecret> {
        self.sessions().find(|secret| secret.kid == kid && !secret.is_over(now))
    }

    /// The keys under which a DPoP nonce may have been given out, by this server or by one that
    /// took up a rotation before it.
    pub fn nonce_secrets(&self, now: Timestamp) -> impl Iterator<Item = &Secret32> {
        let live = self.sessions().filter(move |secret| !secret.is_over(now));
        live.map(|secret| &secret.nonce_secret)
    }

    /// The certified keys whose certificate ends within `span`, or has not begun yet: the clock was set
    /// back, and agents compare with the time that they are told.
    pub fn due_within(
        &self,
        span: std::time::Duration,
        now: Timestamp,
    ) -> Vec<(KeyUse, Timestamp)> {
        let ends = KeyUse::CERTIFIED.into_iter().filter_map(|key_use| {
            let row = newest(&self.rows, key_use).ok()?;
            let end = row.not_after?;
            (end <= now.plus(span) || row.not_before > now).then_some((key_use, end))
        });
        ends.collect()
    }

    /// What can be forgotten now: secrets that are over, private parts that were replaced.
    pub(super) fn has_refuse(&self, now: Timestamp) -> bool {
        self.sessions().any(|secret| secret.is_over(now))
            || KeyUse::ERASED.into_iter().any(|key_use| self.erasable(key_use, now).is_some())
    }

    /// The serial below which the private parts of a use serve nobody any more.
    pub(super) fn erasable(&self, key_use: KeyUse, now: Timestamp) -> Option<i64> {
        let newest = newest(&self.rows, key_use).ok()?;
        let settled = newest.created_at.plus(ERASE_AFTER) <= now;
        let older = |row: &&ServerKeyRow| {
            row.key_use == newest.key_use
                && row.serial < newest.serial
                && !row.sealed_private.is_empty()
        };
        let any = self.rows.iter().any(|row| older(&row));
        (settled && any).then_some(newest.serial)
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({})", self.thumbprint)
    }
}

async fn stored(store: &Store) -> Result<Vec<ServerKeyRow>, KeyringError> {
    Ok(store.read("server_keys.load").await?.server_keys().list().await?)
}
