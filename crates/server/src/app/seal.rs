//! Secrets at rest: everything that the store keeps and nobody may read there is sealed under the
//! master key.
//!
//! XChaCha20-Poly1305 with a random nonce; the associated data name purpose and id, so that one
//! sealed value cannot be put in another's place.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use argosy_domain::entropy::{Entropy, random_bytes};
use argosy_wire::token::Secret32;
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};

const NONCE_BYTES: usize = 24;

/// Why the master key could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Reading or writing the file failed.
    #[error("master key {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not there, and what it sealed is.
    #[error(
        "the database holds keys that are sealed under a master key, and {0} is missing: put it back; \
         where it is lost for good, `argosyd keys reset` says what that costs"
    )]
    Missing(String),
    /// The file can be read by others.
    #[error("master key {0} is readable by group or others: chmod 600 it")]
    Permissions(String),
    /// The file holds something else.
    #[error("master key {0} does not hold 32 bytes in base64url")]
    Malformed(String),
    /// The value was sealed under another master key, for another purpose, or was changed.
    #[error("a sealed {0} does not open: is this the master key that belongs to the database?")]
    DoesNotOpen(&'static str),
}

/// The master key.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
}

impl Sealer {
    /// Reads the master key, or makes it when there is none: for a store that holds nothing sealed.
    pub fn open(path: &Path, entropy: &dyn Entropy) -> Result<Self, SealError> {
        match Self::load(path) {
            Err(SealError::Missing(_)) => {
                let text = argosy_wire::bytes::encode(&random_bytes::<32>(entropy));
                let failed = |source| SealError::Io { path: path.display().to_string(), source };
                write_private(path, &text).map_err(failed)?;
                Self::load(path)
            }
            loaded => loaded,
        }
    }

    /// Makes another master key. The one before, if there is one, stays beside it as
    /// `master.key.replaced`: it opens backups of before, and nothing of after.
    pub fn replace(path: &Path, entropy: &dyn Entropy) -> Result<Self, SealError> {
        let failed = |source| SealError::Io { path: path.display().to_string(), source };
        match fs::rename(path, path.with_extension("key.replaced")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
            Ok(()) | Err(_) => Self::open(path, entropy),
        }
    }

    /// Reads the master key.
    pub fn load(path: &Path) -> Result<Self, SealError> {
        let io = |source| SealError::Io { path: path.display().to_string(), source };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SealError::Missing(path.display().to_string()));
            }
            Err(error) => return Err(io(error)),
        };
        let mode = fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(SealError::Permissions(path.display().to_string()));
        }
        let key: argosy_wire::bytes::Bytes32 =
            text.trim().parse().map_err(|_| SealError::Malformed(path.display().to_string()))?;
        Ok(Self { cipher: XChaCha20Poly1305::new(&key.0.into()) })
    }

    /// Seals a value for one purpose and one id.
    pub fn seal(
        &self,
        entropy: &dyn Entropy,
        purpose: &'static str,
        id: &str,
        secret: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let nonce = random_bytes::<NONCE_BYTES>(entropy);
        let aad = format!("{purpose}:{id}");
        let payload = Payload { msg: secret, aad: aad.as_bytes() };
        let sealed = self.cipher.encrypt(&nonce.into(), payload);
        let sealed = sealed.map_err(|_| SealError::DoesNotOpen(purpose))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens a secret that [`Sealer::seal`] sealed for the same purpose and id.
    pub fn open_sealed(
        &self,
        purpose: &'static str,
        id: &str,
        sealed: &[u8],
    ) -> Result<Secret32, SealError> {
        let opened = self.open_bytes(purpose, id, sealed)?;
        let secret = opened.try_into().map_err(|_| SealError::DoesNotOpen(purpose))?;
        Ok(Secret32::new(secret))
    }

    /// Opens whatever [`Sealer::seal`] sealed for the same purpose and id.
    pub fn open_bytes(
        &self,
        purpose: &'static str,
        id: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let closed = || SealError::DoesNotOpen(purpose);
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(closed)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| closed())?;
        let aad = format!("{purpose}:{id}");
        let payload = Payload { msg: ciphertext, aad: aad.as_bytes() };
        self.cipher.decrypt(&nonce.into(), payload).map_err(|_| closed())
    }
}

/// Writes a file that only its owner can read, all of it or nothing.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let scratch = path.with_extension("tmp");
    match fs::remove_file(&scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&scratch, path)?;
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Ok(()),
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_config::host::OsEntropy;

    #[test]
    fn a_sealed_value_opens_in_its_own_place_only() {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(&folder.path().join("master.key"), &OsEntropy).unwrap();
        let sealed = sealer.seal(&OsEntropy, "command", "1", &[7; 32]).unwrap();
        assert_eq!(sealer.open_sealed("command", "1", &sealed).unwrap().expose(), &[7; 32]);
        assert!(sealer.open_sealed("command", "2", &sealed).is_err());
        assert!(sealer.open_sealed("session", "1", &sealed).is_err());
        let other = Sealer::open(&folder.path().join("other.key"), &OsEntropy).unwrap();
        assert!(other.open_sealed("command", "1", &sealed).is_err());
    }

    #[test]
    fn a_master_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        Sealer::open(&path, &OsEntropy).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Sealer::open(&path, &OsEntropy), Err(SealError::Permissions(_))));
    }
}
