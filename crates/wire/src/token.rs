//! Enrolment tokens and API keys as text.
//!
//! `boot_<id>_<43 base64url characters>[.<pin>]` is what an admin hands over;
//! `bootproof_<id>_<mac>` is what a machine with keys sends instead, so that whoever reads the
//! traffic cannot enrol anything else with it. API keys are `argosy_<id>_<43 characters>`, those
//! of agents `agent_<id>_<43 characters>`.

use std::fmt;

use argosy_domain::{
    id::{ApiKeyId, TokenId},
    limits::TOKEN_TEXT_BYTES_MAX,
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::{
    bytes::{Bytes32, Fixed},
    machine::mac,
};

/// Length of 32 bytes in base64url.
const SECRET_CHARS: usize = 43;

/// Not a token, proof or key of this form. Says nothing about which part is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token of this form")]
pub struct Malformed;

/// Thirty-two secret bytes that are wiped when dropped and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret32(Bytes32);

impl Secret32 {
    /// Takes the bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Fixed(bytes))
    }

    /// The bytes, for hashing and comparing.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0.0
    }
}

impl Drop for Secret32 {
    fn drop(&mut self) {
        self.0.0.zeroize();
    }
}

impl fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret32(…)")
    }
}

/// Splits `<prefix><id>_<secret>`; the id may itself hold underscores, the secret is the last 43
/// characters.
fn split<'a>(text: &'a str, prefix: &str) -> Result<(&'a str, Bytes32), Malformed> {
    if text.len() > TOKEN_TEXT_BYTES_MAX || !text.is_ascii() {
        return Err(Malformed);
    }
    let rest = text.strip_prefix(prefix).ok_or(Malformed)?;
    let at = rest.len().checked_sub(SECRET_CHARS).ok_or(Malformed)?;
    let (head, secret) = rest.split_at(at);
    let id = head.strip_suffix('_').ok_or(Malformed)?;
    Ok((id, secret.parse().map_err(|_| Malformed)?))
}

/// A token string as an admin hands it to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenString {
    /// The public part.
    pub id: TokenId,
    /// The secret part.
    pub secret: Secret32,
    /// Thumbprint of the server's identity key; without it the first contact is trusted.
    pub pin: Option<Bytes32>,
}

impl TokenString {
    /// Reads `boot_…`.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (token, pin) = match text.trim().split_once('.') {
            Some((token, pin)) => (token, Some(pin.parse().map_err(|_| Malformed)?)),
            None => (text.trim(), None),
        };
        let (id, secret) = split(token, "boot_")?;
        let id = id.parse().map_err(|_| Malformed)?;
        Ok(Self { id, secret: Secret32(secret), pin })
    }

    /// The text to hand over. Shown once, never logged.
    pub fn reveal(&self) -> String {
        let pin = self.pin.map(|pin| format!(".{pin}")).unwrap_or_default();
        format!("boot_{}_{}{pin}", self.id, self.secret.0)
    }

    /// The proof that this token's holder made exactly these enrolment bytes.
    pub fn prove(&self, enrolment: &[u8]) -> TokenProof {
        let key = proof_key(&self.secret);
        TokenProof { id: self.id.clone(), mac: Fixed(mac(key.expose(), enrolment)) }
    }
}

/// The key that proofs are made with: HKDF-SHA256 of the token's secret, so that the server can
/// keep it (sealed) without keeping the token.
pub fn proof_key(secret: &Secret32) -> Secret32 {
    let mut key = [0; 32];
    // 32 bytes are always a valid length for HKDF-SHA256 (RFC 5869, section 2.3).
    let expanded = Hkdf::<Sha256>::new(None, secret.expose()).expand(b"argosy/enrol/v1", &mut key);
    debug_assert!(expanded.is_ok());
    Secret32::new(key)
}

/// What a machine with keys sends instead of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenProof {
    /// The token that is proved.
    pub id: TokenId,
    /// HMAC-SHA256 over the enrolment bytes.
    pub mac: Bytes32,
}

impl TokenProof {
    /// Reads `bootproof_…`.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (id, mac) = split(text, "bootproof_")?;
        Ok(Self { id: id.parse().map_err(|_| Malformed)?, mac })
    }

    /// The text to send.
    pub fn to_text(&self) -> String {
        format!("bootproof_{}_{}", self.id, self.mac)
    }

    /// Whether this proof was made with `key` for exactly these bytes; constant time.
    pub fn verifies(&self, key: &Secret32, enrolment: &[u8]) -> bool {
        self.mac == Fixed(mac(key.expose(), enrolment))
    }
}

/// Whose API key a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyOf {
    /// A user or a service.
    Operator,
    /// An agent.
    Agent,
}

/// An API key as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyString {
    /// Whose it is.
    pub of: ApiKeyOf,
    /// The public part.
    pub id: ApiKeyId,
    /// The secret part.
    pub secret: Secret32,
}

impl ApiKeyString {
    /// Reads `argosy_…` or `agent_…`.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (of, (id, secret)) = match split(text, "argosy_") {
            Ok(parts) => (ApiKeyOf::Operator, parts),
            Err(Malformed) => (ApiKeyOf::Agent, split(text, "agent_")?),
        };
        Ok(Self { of, id: id.parse().map_err(|_| Malformed)?, secret: Secret32(secret) })
    }

    /// The text to hand over. Shown once, never logged.
    pub fn reveal(&self) -> String {
        let prefix = match self.of {
            ApiKeyOf::Operator => "argosy",
            ApiKeyOf::Agent => "agent",
        };
        format!("{prefix}_{}_{}", self.id, self.secret.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> TokenString {
        TokenString {
            id: "0195-a_b".parse().unwrap(),
            secret: Secret32::new([9; 32]),
            pin: Some(Fixed([4; 32])),
        }
    }

    #[test]
    fn tokens_and_keys_are_read_back() {
        assert_eq!(TokenString::parse(&token().reveal()), Ok(token()));
        let bare = TokenString { pin: None, ..token() };
        assert_eq!(TokenString::parse(&bare.reveal()), Ok(bare.clone()));
        for of in [ApiKeyOf::Operator, ApiKeyOf::Agent] {
            let key =
                ApiKeyString { of, id: "k1".parse().unwrap(), secret: Secret32::new([1; 32]) };
            assert_eq!(ApiKeyString::parse(&key.reveal()), Ok(key));
        }
    }

    #[test]
    fn a_proof_fits_its_bytes_and_its_token_only() {
        let proof = TokenProof::parse(&token().prove(b"statement").to_text()).unwrap();
        let key = proof_key(&token().secret);
        assert!(proof.verifies(&key, b"statement"));
        assert!(!proof.verifies(&key, b"Statement"));
        assert!(!proof.verifies(&proof_key(&Secret32::new([8; 32])), b"statement"));
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let shown = format!("{:?}", TokenString { pin: None, ..token() });
        assert!(!shown.contains(&Fixed([9; 32]).to_string()), "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_readers(text in "\\PC{0,80}") {
            let _ = TokenString::parse(&text);
            let _ = TokenProof::parse(&text);
            let _ = ApiKeyString::parse(&text);
        }

        #[test]
        fn any_other_ending_is_malformed(text in "boot_[a-z]{1,8}_[A-Za-z0-9]{0,42}") {
            prop_assert_eq!(TokenString::parse(&text), Err(Malformed));
        }
    }
}
