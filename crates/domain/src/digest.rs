//! Digests and fingerprints as values: what is compared, stored and shown.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256 as Sha256Hasher};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256Hasher::digest(bytes).into())
    }

    /// As 64 lower-case hexadecimal digits.
    pub fn hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// What two people compare before an agent is approved: the first 128 bits of a SHA-256, shown as
/// eight groups of four hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 16]);

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be eight groups of four hexadecimal digits")]
pub struct InvalidFingerprint;

impl Fingerprint {
    /// The first 128 bits of a digest.
    pub fn of(digest: Sha256) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&digest.0[..16]);
        Self(first)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, group) in self.0.chunks(2).enumerate() {
            let gap = if i == 0 { "" } else { " " };
            write!(f, "{gap}{}", hex::encode(group))?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    /// Reads what people type: case, spaces, dashes and colons between digits do not matter.
    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let digits: String =
            text.chars().filter(|c| !matches!(c, ' ' | '-' | ':')).take(33).collect();
        let bytes = hex::decode(digits).map_err(|_| InvalidFingerprint)?;
        bytes.try_into().map(Self).map_err(|_| InvalidFingerprint)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidFingerprint;
    fn try_from(text: String) -> Result<Self, InvalidFingerprint> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_groups_of_four() {
        let shown = Fingerprint::of(Sha256::of(b"")).to_string();
        assert_eq!(shown, "e3b0 c442 98fc 1c14 9afb f4c8 996f b924");
    }

    #[test]
    fn people_may_type_it_their_way() {
        let fingerprint = Fingerprint::of(Sha256::of(b"x"));
        let typed = fingerprint.to_string().to_uppercase().replace(' ', "-");
        assert_eq!(typed.parse(), Ok(fingerprint));
        assert_eq!("e3b0".parse::<Fingerprint>(), Err(InvalidFingerprint));
        assert_eq!("zz".repeat(16).parse::<Fingerprint>(), Err(InvalidFingerprint));
    }
}
