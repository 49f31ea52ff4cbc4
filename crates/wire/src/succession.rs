//! Keys that take each other's place: the statement that both sign, and chains of them.
//!
//! *Invariant:* nobody is followed to a new key but from a key that is trusted already, by an
//! unbroken chain in which each link is signed by the old and by the new key and serials rise
//! (PROTOCOL §2). A chain leads forward only.

use argosy_domain::limits::SUCCESSIONS_MAX;
use ed25519_dalek::SigningKey;

use crate::{
    bytes::{Bytes32, Fixed, decode, encode},
    rest::enrolment::CosignedJson,
    sign::{InvalidSigned, Statement, read, sign_payload, thumbprint, verify_payload},
    statement::{KeyRotation, Successor},
};

/// A statement about two keys that both of them signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// The signed payload, byte for byte.
    pub payload: Vec<u8>,
    /// By the old key.
    pub signature: Fixed<64>,
    /// By the new key, over the same bytes.
    pub successor_signature: Fixed<64>,
}

/// A statement that names the two keys that sign it.
pub trait Succession: Statement {
    /// The old key.
    fn old_key(&self) -> &Bytes32;
    /// The new key.
    fn new_key(&self) -> &Bytes32;
}

impl Succession for Successor {
    fn old_key(&self) -> &Bytes32 {
        &self.identity_key
    }

    fn new_key(&self) -> &Bytes32 {
        &self.successor
    }
}

impl Succession for KeyRotation {
    fn old_key(&self) -> &Bytes32 {
        &self.identity_key
    }

    fn new_key(&self) -> &Bytes32 {
        &self.successor
    }
}

impl Cosigned {
    /// Signs with both keys.
    pub fn new<S: Succession>(old: &SigningKey, new: &SigningKey, statement: &S) -> Self {
        let payload = statement.to_payload();
        let signature = sign_payload(old, S::PURPOSE, &payload);
        let successor_signature = sign_payload(new, S::PURPOSE, &payload);
        Self { payload, signature, successor_signature }
    }

    /// Reads the statement and verifies it by the two keys that it names. Whether the old one is
    /// anybody's is for the caller to say.
    pub fn verify<S: Succession>(&self) -> Result<S, InvalidSigned> {
        let statement: S = read(&self.payload)?;
        if statement.old_key() == statement.new_key() {
            return Err(InvalidSigned::Malformed);
        }
        verify_payload(statement.old_key(), S::PURPOSE, &self.payload, &self.signature)?;
        verify_payload(statement.new_key(), S::PURPOSE, &self.payload, &self.successor_signature)?;
        Ok(statement)
    }

    /// As it travels in JSON.
    pub fn to_json(&self) -> CosignedJson {
        CosignedJson {
            payload: encode(&self.payload),
            signature: self.signature.to_string(),
            successor_signature: self.successor_signature.to_string(),
        }
    }
}

impl TryFrom<&CosignedJson> for Cosigned {
    type Error = crate::bytes::InvalidBytes;

    fn try_from(json: &CosignedJson) -> Result<Self, Self::Error> {
        Ok(Self {
            payload: decode(&json.payload)?,
            signature: json.signature.parse()?,
            successor_signature: json.successor_signature.parse()?,
        })
    }
}

/// A key to which a chain led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heir {
    /// Raw Ed25519 public key.
    pub key: Bytes32,
    /// Its place in the succession.
    pub serial: i64,
}

/// Why a chain of successors leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenSuccession {
    /// No link begins at the identity that is trusted.
    #[error("no succession begins at the trusted identity")]
    NoBeginning,
    /// A link is not what both keys signed.
    #[error("a succession is not valid: {0}")]
    Invalid(InvalidSigned),
    /// A link begins elsewhere than the one before it ended.
    #[error("the chain of successions has a gap")]
    Gap,
    /// A serial that does not rise.
    #[error("the serial of a succession does not rise")]
    Serial,
    /// More links than anybody makes.
    #[error("more than {SUCCESSIONS_MAX} successions")]
    TooMany,
}

/// Follows a chain, oldest link first, from the thumbprint that is trusted to its end: every key on
/// the way, the trusted one not included. `serial` is the trusted one's as far as it is known, else
/// 0. Links before the trusted one prove nothing and are passed over.
pub fn follow(
    trusted: &Bytes32,
    serial: i64,
    links: &[Cosigned],
) -> Result<Vec<Heir>, BrokenSuccession> {
    if links.len() > SUCCESSIONS_MAX {
        return Err(BrokenSuccession::TooMany);
    }
    let begins = |link: &Cosigned| {
        read::<Successor>(&link.payload).is_ok_and(|link| link.server == *trusted)
    };
    let first = links.iter().position(begins).ok_or(BrokenSuccession::NoBeginning)?;
    let mut passed = Vec::new();
    let (mut last, mut highest) = (*trusted, serial);
    for link in links.iter().skip(first) {
        let link: Successor = link.verify().map_err(BrokenSuccession::Invalid)?;
        if link.server != last || thumbprint(&link.identity_key) != link.server {
            return Err(BrokenSuccession::Gap);
        }
        if link.serial <= highest {
            return Err(BrokenSuccession::Serial);
        }
        (last, highest) = (thumbprint(&link.successor), link.serial);
        passed.push(Heir { key: link.successor, serial: link.serial });
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use argosy_domain::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn public(seed: u8) -> Bytes32 {
        Fixed(key(seed).verifying_key().to_bytes())
    }

    fn heir(seed: u8, serial: i64) -> Heir {
        Heir { key: public(seed), serial }
    }

    fn from(seed: u8, serial: i64, links: &[Cosigned]) -> Result<Vec<Heir>, BrokenSuccession> {
        follow(&thumbprint(&public(seed)), serial, links)
    }

    fn statement(old: u8, new: u8, serial: i64) -> Successor {
        Successor {
            server: thumbprint(&public(old)),
            identity_key: public(old),
            successor: public(new),
            serial,
            time: Timestamp::from_seconds(1_000),
        }
    }

    fn link(old: u8, new: u8, serial: i64) -> Cosigned {
        Cosigned::new(&key(old), &key(new), &statement(old, new, serial))
    }

    #[test]
    fn a_chain_is_followed_from_any_of_its_identities() {
        let chain = [link(1, 2, 2), link(2, 3, 3), link(3, 4, 7)];
        let whole = [heir(2, 2), heir(3, 3), heir(4, 7)];
        for (pinned, serial, passed) in [(1, 0, 0), (1, 1, 0), (2, 2, 1), (3, 0, 2)] {
            assert_eq!(from(pinned, serial, &chain).unwrap(), whole[passed..]);
        }
        // The last of them is where everybody is already.
        assert_eq!(from(4, 7, &chain), Err(BrokenSuccession::NoBeginning));
    }

    #[test]
    fn nothing_else_is_followed() {
        let mut one_hand = link(1, 2, 2);
        one_hand.successor_signature = one_hand.signature;
        let mut other_hand = link(1, 2, 2);
        other_hand.signature = other_hand.successor_signature;
        let stolen_name = Successor { server: thumbprint(&public(1)), ..statement(9, 8, 2) };
        let borrowed = Cosigned::new(&key(9), &key(8), &stolen_name);
        for (chain, why) in [
            (vec![], BrokenSuccession::NoBeginning),
            (vec![link(9, 2, 2)], BrokenSuccession::NoBeginning),
            (vec![one_hand], BrokenSuccession::Invalid(InvalidSigned::Signature)),
            (vec![other_hand], BrokenSuccession::Invalid(InvalidSigned::Signature)),
            (vec![borrowed], BrokenSuccession::Gap),
            (vec![link(1, 2, 2), link(3, 4, 3)], BrokenSuccession::Gap),
            (vec![link(1, 2, 1)], BrokenSuccession::Serial),
            (vec![link(1, 2, 3), link(2, 3, 3)], BrokenSuccession::Serial),
            // Back to an identity that was left.
            (vec![link(1, 2, 2), link(2, 1, 2)], BrokenSuccession::Serial),
            (vec![link(1, 1, 2)], BrokenSuccession::Invalid(InvalidSigned::Malformed)),
            (vec![link(1, 2, 2); SUCCESSIONS_MAX + 1], BrokenSuccession::TooMany),
        ] {
            assert_eq!(from(1, 1, &chain), Err(why));
        }
    }

    proptest! {
        #[test]
        fn a_chain_with_a_flipped_bit_leads_nowhere(at in 0usize..2000, bit in 0u8..8) {
            let mut chain = [link(1, 2, 2), link(2, 3, 3)];
            let link = &mut chain[at % 2];
            match (at / 2) % 3 {
                0 => { let byte = at / 6 % link.payload.len(); link.payload[byte] ^= 1 << bit }
                1 => link.signature.0[at / 6 % 64] ^= 1 << bit,
                _ => link.successor_signature.0[at / 6 % 64] ^= 1 << bit,
            }
            prop_assert!(from(1, 1, &chain).is_err());
        }
    }
}
