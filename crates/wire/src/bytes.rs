//! Bytes as text: base64url without padding (RFC 4648, section 5), everywhere.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

/// A text that is not base64url without padding, or has the wrong length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be {len} bytes in base64url without padding")]
pub struct InvalidBytes {
    /// The length that was asked for, in words.
    pub len: String,
}

/// Encodes without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes; padding and other alphabets are refused.
pub fn decode(text: &str) -> Result<Vec<u8>, InvalidBytes> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidBytes { len: "any number of".into() })
}

/// Exactly `N` bytes that read and write themselves as base64url. Equality takes the same time
/// wherever two values differ.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fixed<const N: usize>(pub [u8; N]);

impl<const N: usize> Fixed<N> {
    /// From a slice of the right length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidBytes> {
        bytes.try_into().map(Self).map_err(|_| InvalidBytes { len: N.to_string() })
    }
}

impl<const N: usize> PartialEq for Fixed<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Fixed<N> {}

impl<const N: usize> fmt::Display for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl<const N: usize> fmt::Debug for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl<const N: usize> std::str::FromStr for Fixed<N> {
    type Err = InvalidBytes;
    fn from_str(text: &str) -> Result<Self, InvalidBytes> {
        decode(text)
            .and_then(|bytes| Self::from_slice(&bytes))
            .map_err(|_| InvalidBytes { len: N.to_string() })
    }
}

impl<const N: usize> TryFrom<String> for Fixed<N> {
    type Error = InvalidBytes;
    fn try_from(text: String) -> Result<Self, InvalidBytes> {
        text.parse()
    }
}

impl<const N: usize> From<Fixed<N>> for String {
    fn from(bytes: Fixed<N>) -> String {
        bytes.to_string()
    }
}

/// A raw Ed25519 or X25519 public key, or a SHA-256 digest.
pub type Bytes32 = Fixed<32>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_alphabet_and_padding_are_checked() {
        let good = encode(&[7; 32]);
        assert_eq!(good.parse::<Bytes32>(), Ok(Fixed([7; 32])));
        for bad in ["", &format!("{good}="), &encode(&[7; 31]), &good.replace('B', "+")] {
            assert!(bad.parse::<Bytes32>().is_err(), "{bad}");
        }
    }
}
