//! The server's own keys: identity, command key with its certificate, session secrets.
//!
//! Made at the first start, kept in the store sealed under the master key. *Invariant:* a private
//! key leaves this module only as a signature or a token.

use argosy_domain::{
    digest::Sha256,
    entropy::{Entropy, random_bytes},
    time::{Clock, Timestamp},
};
use argosy_store::{ServerKeyRow, Store, StoreError};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    sign::{Signed, Statement, thumbprint},
    statement::KeyCertificate,
    token::Secret32,
};
use ed25519_dalek::SigningKey;
use hkdf::Hkdf;

use super::seal::{SealError, Sealer};

/// Life of a certified key; renewed by rotation long before.
const CERTIFICATE_LIFE: std::time::Duration = std::time::Duration::from_secs(10 * 365 * 86_400);

/// Why the keys could not be loaded.
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
}

/// The keys in force.
pub struct Keyring {
    identity: SigningKey,
    identity_public: Bytes32,
    thumbprint: Bytes32,
    command: SigningKey,
    command_certificate: Signed,
    session_kid: String,
    session_secret: Secret32,
    nonce_secret: Secret32,
}

/// Makes and opens rows.
struct Vault<'a> {
    sealer: &'a Sealer,
    entropy: &'a dyn Entropy,
    now: Timestamp,
}

impl Vault<'_> {
    fn make(
        &self,
        key_use: &'static str,
        public_of: impl Fn(&[u8; 32]) -> [u8; 32],
        given: Option<&Secret32>,
    ) -> Result<ServerKeyRow, SealError> {
        let secret = given.cloned().unwrap_or_else(|| Secret32::new(random_bytes(self.entropy)));
        let sealed = self.sealer.seal(self.entropy, key_use, "1", secret.expose())?;
        Ok(ServerKeyRow {
            key_use: key_use.to_owned(),
            serial: 1,
            public_key: public_of(secret.expose()).to_vec(),
            sealed_private: sealed,
            certificate: None,
            not_before: self.now,
            not_after: None,
            created_at: self.now,
        })
    }

    fn open(&self, key_use: &'static str, row: &ServerKeyRow) -> Result<Secret32, SealError> {
        self.sealer.open_sealed(key_use, &row.serial.to_string(), &row.sealed_private)
    }
}

fn ed25519_public(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

fn digest(secret: &[u8; 32]) -> [u8; 32] {
    Sha256::of(secret).0
}

fn of_use<'a>(rows: &'a [ServerKeyRow], key_use: &str) -> Option<&'a ServerKeyRow> {
    rows.iter().filter(|row| row.key_use == key_use).max_by_key(|row| row.serial)
}

impl Keyring {
    /// Loads the keys, or makes them in one transaction when the store has none. Of two replicas
    /// that start at once one makes them and the other reads them.
    pub async fn open(
        store: &Store,
        sealer: &Sealer,
        entropy: &dyn Entropy,
        clock: &dyn Clock,
        session_secret: Option<&Secret32>,
    ) -> Result<Self, KeyringError> {
        let vault = Vault { sealer, entropy, now: clock.now() };
        let mut rows = store.read("server_keys.load").await?.server_keys().list().await?;
        if rows.is_empty() {
            match make_all(store, &vault, session_secret).await {
                Ok(()) | Err(KeyringError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
            rows = store.read("server_keys.load").await?.server_keys().list().await?;
        }
        Self::from_rows(&rows, &vault)
    }

    fn from_rows(rows: &[ServerKeyRow], vault: &Vault<'_>) -> Result<Self, KeyringError> {
        let row = |key_use: &'static str| {
            of_use(rows, key_use).ok_or_else(|| KeyringError::Corrupt(key_use.to_owned()))
        };
        let signing = |key_use: &'static str| -> Result<SigningKey, KeyringError> {
            let row = row(key_use)?;
            let key = SigningKey::from_bytes(vault.open(key_use, row)?.expose());
            if key.verifying_key().to_bytes().as_slice() == row.public_key {
                Ok(key)
            } else {
                Err(KeyringError::Corrupt(key_use.to_owned()))
            }
        };
        let identity = signing("identity")?;
        let identity_public = Fixed(identity.verifying_key().to_bytes());
        let certificate = row("command")?.certificate.clone();
        let corrupt = || KeyringError::Corrupt("command certificate".to_owned());
        let certificate = certificate.ok_or_else(corrupt)?;
        let signature = Fixed::from_slice(&certificate.signature).map_err(|_| corrupt())?;
        let session_row = row("session")?;
        let session_secret = vault.open("session", session_row)?;
        let mut nonce_key = [0; 32];
        Hkdf::<sha2::Sha256>::new(None, session_secret.expose())
            .expand(b"argosy/dpop-nonce/v1", &mut nonce_key)
            .map_err(|_| KeyringError::Corrupt("session".to_owned()))?;
        Ok(Self {
            identity,
            identity_public,
            thumbprint: thumbprint(&identity_public),
            command: signing("command")?,
            command_certificate: Signed { payload: certificate.payload, signature },
            session_kid: format!("session-{}", session_row.serial),
            session_secret,
            nonce_secret: Secret32::new(nonce_key),
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

    /// The command key's certificate.
    pub fn command_certificate(&self) -> &Signed {
        &self.command_certificate
    }

    /// Signs with the identity key: receipts of enrolment.
    pub fn sign_identity<S: Statement>(&self, statement: &S) -> Signed {
        Signed::new(&self.identity, statement)
    }

    /// Signs with the command key: challenges, commands, result acknowledgments.
    pub fn sign_command<S: Statement>(&self, statement: &S) -> Signed {
        Signed::new(&self.command, statement)
    }

    /// The secret that signs session tokens, and its id.
    pub fn session_secret(&self) -> (&str, &Secret32) {
        (&self.session_kid, &self.session_secret)
    }

    /// The key of DPoP nonces.
    pub fn nonce_secret(&self) -> &Secret32 {
        &self.nonce_secret
    }
}

async fn make_all(
    store: &Store,
    vault: &Vault<'_>,
    session_secret: Option<&Secret32>,
) -> Result<(), KeyringError> {
    let identity_row = vault.make("identity", ed25519_public, None)?;
    let identity = SigningKey::from_bytes(vault.open("identity", &identity_row)?.expose());
    let mut command_row = vault.make("command", ed25519_public, None)?;
    let public = Fixed::from_slice(&command_row.public_key)
        .map_err(|_| KeyringError::Corrupt("command".to_owned()))?;
    let not_after = vault.now.plus(CERTIFICATE_LIFE);
    let certificate = Signed::new(
        &identity,
        &KeyCertificate {
            server: thumbprint(&Fixed(identity.verifying_key().to_bytes())),
            usage: "command".to_owned(),
            public_key: public,
            serial: 1,
            not_before: vault.now,
            not_after,
        },
    );
    command_row.not_after = Some(not_after);
    command_row.certificate = Some(argosy_store::KeyCertificate {
        payload: certificate.payload,
        signature: certificate.signature.0.to_vec(),
    });
    let session_row = vault.make("session", digest, session_secret)?;
    let mut tx = store.write("server_keys.make").await?;
    for row in [&identity_row, &command_row, &session_row] {
        tx.server_keys().insert(row).await?;
    }
    tx.commit().await?;
    Ok(())
}
