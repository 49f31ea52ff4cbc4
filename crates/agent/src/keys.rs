//! The agent's private keys.
//!
//! *Invariant:* private keys are made here, are kept in `keys.json` (apart from the journal), never
//! leave the state directory, are wiped from memory when dropped and never shown by `Debug`.

use std::fmt;

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
    identity: SigningKey,
    encryption: StaticSecret,
}

/// The file: seeds in base64url.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    identity: Bytes32,
    encryption: Bytes32,
}

impl Drop for KeysFile {
    fn drop(&mut self) {
        self.identity.0.zeroize();
        self.encryption.0.zeroize();
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
                dir.write(KEYS_FILE, &keys.to_json()?)?;
                Ok(keys)
            }
        }
    }

    /// Fresh keys that are kept nowhere, for simulated agents.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let identity = Zeroizing::new(random_bytes::<32>(entropy));
        let encryption = Zeroizing::new(random_bytes::<32>(entropy));
        Self {
            identity: SigningKey::from_bytes(&identity),
            encryption: StaticSecret::from(*encryption),
        }
    }

    /// The Ed25519 key that signs statements, proofs and receipts.
    pub fn identity(&self) -> &SigningKey {
        &self.identity
    }

    /// The identity key's public half.
    pub fn identity_public(&self) -> Bytes32 {
        Fixed(self.identity.verifying_key().to_bytes())
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
        Ok(Self {
            identity: SigningKey::from_bytes(&file.identity.0),
            encryption: StaticSecret::from(file.encryption.0),
        })
    }

    fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        let file = KeysFile {
            identity: Fixed(self.identity.to_bytes()),
            encryption: Fixed(self.encryption.to_bytes()),
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
