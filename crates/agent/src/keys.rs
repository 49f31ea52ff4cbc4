//! The agent's private keys.
//!
//! *Invariant:* private keys are made here, are kept in `keys.json` (apart from the journal), never
//! leave the state directory, are wiped from memory when dropped and never shown by `Debug`. A next
//! identity key is durable beside the present one before anybody hears of it, and the present one is
//! forgotten only when the next one is the agent's.

use std::{
    fmt,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use argosy_domain::entropy::{Entropy, random_bytes};
use argosy_wire::bytes::{Bytes32, Fixed};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize as _, Zeroizing};

use crate::state_dir::{StateDir, StateDirError};

/// Where the keys are kept.
const KEYS_FILE: &str = "keys.json";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("the agent's keys are out of reach")]
    StateDir(#[from] StateDirError),
    /// The file is there and is not what the agent wrote. New keys would be another agent: a person
    /// has to decide.
    #[error(
        "{KEYS_FILE} in the state directory is damaged; restore it, or remove it and enrol anew"
    )]
    Damaged,
}

/// The keys of one agent.
pub struct Keys {
    identity: RwLock<Identity>,
    encryption: StaticSecret,
}

/// The identity key, and the one that is to take its place.
#[derive(Clone)]
struct Identity {
    present: Arc<SigningKey>,
    next: Option<Arc<SigningKey>>,
}

/// The file: seeds in base64url.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    identity: Bytes32,
    encryption: Bytes32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_identity: Option<Bytes32>,
}

impl Drop for KeysFile {
    fn drop(&mut self) {
        self.identity.0.zeroize();
        self.encryption.0.zeroize();
        if let Some(next) = &mut self.next_identity {
            next.0.zeroize();
        }
    }
}

impl Keys {
    /// The keys of a state directory; at first use they are made and durable before they are
    /// returned.
    pub fn load_or_create(dir: &StateDir, entropy: &dyn Entropy) -> Result<Self, KeysError> {
        match dir.read(KEYS_FILE)? {
            Some(bytes) => Self::parse(&bytes),
            None => {
                let keys = Self::generate(entropy);
                dir.write(KEYS_FILE, &keys.to_json(&keys.held())?)?;
                Ok(keys)
            }
        }
    }

    /// Fresh keys that are kept nowhere, for simulated agents.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let identity = Zeroizing::new(random_bytes::<32>(entropy));
        let encryption = Zeroizing::new(random_bytes::<32>(entropy));
        Self::of(SigningKey::from_bytes(&identity), None, StaticSecret::from(*encryption))
    }

    fn of(present: SigningKey, next: Option<SigningKey>, encryption: StaticSecret) -> Self {
        let identity = Identity { present: Arc::new(present), next: next.map(Arc::new) };
        Self { identity: RwLock::new(identity), encryption }
    }

    fn held(&self) -> Identity {
        self.identity.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The Ed25519 key that signs statements, proofs and receipts.
    pub fn identity(&self) -> Arc<SigningKey> {
        self.held().present
    }

    /// The identity key's public half.
    pub fn identity_public(&self) -> Bytes32 {
        Fixed(self.identity().verifying_key().to_bytes())
    }

    /// The identity key of a directory that another process may hold.
    pub fn peek_identity(path: &Path) -> Result<Option<Bytes32>, KeysError> {
        let bytes = StateDir::peek(path)?.read(KEYS_FILE)?;
        bytes.map(|bytes| Ok(Self::parse(&bytes)?.identity_public())).transpose()
    }

    /// The key that is to take the place of the identity key, where one was prepared.
    pub fn next_identity(&self) -> Option<Arc<SigningKey>> {
        self.held().next
    }

    /// These keys as they will be, for a handshake that tells whether they are so already.
    pub fn as_next(&self) -> Option<Self> {
        let next = (*self.next_identity()?).clone();
        Some(Self::of(next, None, self.encryption.clone()))
    }

    /// The next identity key; made, and durable beside the present one, where there is none yet.
    pub fn prepare_next(
        &self,
        dir: &StateDir,
        entropy: &dyn Entropy,
    ) -> Result<Arc<SigningKey>, KeysError> {
        if let Some(next) = self.next_identity() {
            return Ok(next);
        }
        let seed = Zeroizing::new(random_bytes::<32>(entropy));
        let next = Arc::new(SigningKey::from_bytes(&seed));
        self.keep(dir, Identity { next: Some(Arc::clone(&next)), ..self.held() })?;
        Ok(next)
    }

    /// The next identity key is the agent's now; durable when this returns.
    pub fn commit_next(&self, dir: &StateDir) -> Result<(), KeysError> {
        match self.held().next {
            Some(present) => self.keep(dir, Identity { present, next: None }),
            None => Ok(()),
        }
    }

    /// There will be no next identity key: the server does not want it.
    pub fn drop_next(&self, dir: &StateDir) -> Result<(), KeysError> {
        self.keep(dir, Identity { next: None, ..self.held() })
    }

    fn keep(&self, dir: &StateDir, identity: Identity) -> Result<(), KeysError> {
        dir.write(KEYS_FILE, &self.to_json(&identity)?)?;
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = identity;
        Ok(())
    }

    /// The X25519 key that secrets are sealed to.
    pub fn encryption(&self) -> &StaticSecret {
        &self.encryption
    }

    /// The encryption key's public half.
    pub fn encryption_public(&self) -> Bytes32 {
        Fixed(PublicKey::from(&self.encryption).to_bytes())
    }

    fn parse(bytes: &[u8]) -> Result<Self, KeysError> {
        let file: KeysFile = serde_json::from_slice(bytes).map_err(|_| KeysError::Damaged)?;
        let next = file.next_identity.as_ref().map(|seed| SigningKey::from_bytes(&seed.0));
        let encryption = StaticSecret::from(file.encryption.0);
        Ok(Self::of(SigningKey::from_bytes(&file.identity.0), next, encryption))
    }

    fn to_json(&self, identity: &Identity) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        let file = KeysFile {
            identity: Fixed(identity.present.to_bytes()),
            encryption: Fixed(self.encryption.to_bytes()),
            next_identity: identity.next.as_ref().map(|next| Fixed(next.to_bytes())),
        };
        serde_json::to_vec(&file).map(Zeroizing::new).map_err(|_| KeysError::Damaged)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

#[cfg(test)]
mod tests {
    use argosy_config::host::OsEntropy;

    use super::*;

    #[test]
    fn keys_are_made_once_and_found_again() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state");
        let made = Keys::load_or_create(&StateDir::open(&path).unwrap(), &OsEntropy).unwrap();
        let found = Keys::load_or_create(&StateDir::open(&path).unwrap(), &OsEntropy).unwrap();
        assert_eq!(made.identity_public(), found.identity_public());
        assert_eq!(made.encryption_public(), found.encryption_public());
        assert_ne!(made.identity_public(), made.encryption_public());
    }

    #[test]
    fn the_next_key_is_durable_beside_the_present_one_until_it_is_the_agents() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state");
        let found = || Keys::load_or_create(&StateDir::open(&path).unwrap(), &OsEntropy).unwrap();
        let first = found().identity_public();
        let dir = StateDir::open(&path).unwrap();
        let keys = Keys::load_or_create(&dir, &OsEntropy).unwrap();
        let next = keys.prepare_next(&dir, &OsEntropy).unwrap();
        assert_eq!(keys.prepare_next(&dir, &OsEntropy).unwrap().to_bytes(), next.to_bytes());
        drop((dir, keys));
        let again = found();
        assert_eq!(again.identity_public(), first);
        assert_eq!(again.next_identity().unwrap().to_bytes(), next.to_bytes());
        let dir = StateDir::open(&path).unwrap();
        again.commit_next(&dir).unwrap();
        drop(dir);
        assert_eq!(found().identity().to_bytes(), next.to_bytes());
        assert!(found().next_identity().is_none());
        assert_eq!(Keys::peek_identity(&path).unwrap(), Some(again.identity_public()));
    }

    #[test]
    fn damaged_keys_are_named_and_never_replaced() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&tmp.path().join("state")).unwrap();
        dir.write(KEYS_FILE, b"{\"identity\":\"\"").unwrap();
        let error = Keys::load_or_create(&dir, &OsEntropy).unwrap_err();
        assert!(matches!(error, KeysError::Damaged));
        assert_eq!(dir.read(KEYS_FILE).unwrap().unwrap().as_slice(), b"{\"identity\":\"\"");
    }

    #[test]
    fn keys_do_not_show_in_debug() {
        let keys = Keys::generate(&OsEntropy);
        let shown = format!("{keys:?}");
        assert_eq!(shown, "Keys(…)");
    }
}
