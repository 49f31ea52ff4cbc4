//! Signed bytes: DSSE's pre-authentication encoding over canonical flat JSON, with Ed25519.
//!
//! The payload is RFC 8785 (JCS) JSON of one flat object with string values; the signature is over
//! `DSSEv1 <len> application/vnd.argosy.<purpose>.v1+json <len> <payload>`. The receiver verifies
//! the bytes that it received and only then reads them.
//!
//! *Invariant:* a signature of one purpose never verifies as another, and `verify_strict` refuses
//! the malleable forms that RFC 8032 leaves open.

use std::collections::BTreeMap;

use argosy_domain::digest::Sha256;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Serialize, de::DeserializeOwned};

use crate::bytes::{Bytes32, Fixed};

/// What a signature is for. One key signs one set of purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Server identity key: another key of the server.
    KeyCertificate,
    /// Agent identity key: everything that an agent registers.
    Enrolment,
    /// Server identity key: the server's answer to a registration.
    EnrolmentReceipt,
    /// Command key: the server proves itself in a handshake.
    Challenge,
    /// Agent identity key: the agent proves itself in a handshake.
    Handshake,
    /// Agent identity key: the state of its journal at the start of a stream.
    Hello,
    /// Command key: an instruction.
    Command,
    /// Agent identity key: how an instruction ended.
    Receipt,
    /// Command key: the server has the result durably.
    ResultAck,
    /// Audit key: how far a chain of the audit log went, and its hash.
    AuditCheckpoint,
    /// Server identity keys, the old and the new: the new takes the place of the old.
    Successor,
    /// Agent identity keys, the old and the new: the new takes the place of the old.
    KeyRotation,
    /// Command key: an instruction is no longer wanted.
    Cancel,
    /// Command key: the configuration that the server wants of an agent.
    Config,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 14] = [
        Self::KeyCertificate,
        Self::Enrolment,
        Self::EnrolmentReceipt,
        Self::Challenge,
        Self::Handshake,
        Self::Hello,
        Self::Command,
        Self::Receipt,
        Self::ResultAck,
        Self::AuditCheckpoint,
        Self::Successor,
        Self::KeyRotation,
        Self::Cancel,
        Self::Config,
    ];

    /// The name inside the payload type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyCertificate => "key-certificate",
            Self::Enrolment => "enrolment",
            Self::EnrolmentReceipt => "enrolment-receipt",
            Self::Challenge => "challenge",
            Self::Handshake => "handshake",
            Self::Hello => "hello",
            Self::Command => "command",
            Self::Receipt => "receipt",
            Self::ResultAck => "result-ack",
            Self::AuditCheckpoint => "audit-checkpoint",
            Self::Successor => "successor",
            Self::KeyRotation => "key-rotation",
            Self::Cancel => "cancel",
            Self::Config => "config",
        }
    }
}

/// A statement that is signed: a flat struct whose fields all serialise as strings.
pub trait Statement: Serialize + DeserializeOwned {
    /// What its signature is for.
    const PURPOSE: Purpose;

    /// The canonical bytes. Two equal statements have equal bytes.
    fn to_payload(&self) -> Vec<u8> {
        // A struct of strings always serialises; an empty payload would verify nowhere.
        serde_json_canonicalizer::to_vec(self).unwrap_or_default()
    }
}

/// Why signed bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSigned {
    /// The signature does not fit these bytes, this purpose and this key.
    #[error("the signature does not verify")]
    Signature,
    /// Not the fields of this purpose, or a value that is no such value.
    #[error("the signed statement is malformed")]
    Malformed,
    /// The same content in other bytes than RFC 8785 asks for.
    #[error("the signed statement is not canonical JSON (RFC 8785)")]
    NotCanonical,
}

/// The bytes that are signed (DSSE PAE).
pub fn pae(purpose: Purpose, payload: &[u8]) -> Vec<u8> {
    let media_type = format!("application/vnd.argosy.{}.v1+json", purpose.as_str());
    let mut bytes =
        format!("DSSEv1 {} {media_type} {} ", media_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// SHA-256 of the signed bytes of a payload.
pub fn pae_sha256(purpose: Purpose, payload: &[u8]) -> Sha256 {
    Sha256::of(&pae(purpose, payload))
}

/// A payload and its signature, as they travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The signed payload, byte for byte.
    pub payload: Vec<u8>,
    /// Ed25519, 64 bytes.
    pub signature: Fixed<64>,
}

impl Signed {
    /// Signs a statement.
    pub fn new<S: Statement>(key: &SigningKey, statement: &S) -> Self {
        let payload = statement.to_payload();
        let signature = sign_payload(key, S::PURPOSE, &payload);
        Self { payload, signature }
    }

    /// Verifies, then reads. The bytes must be canonical.
    pub fn verify<S: Statement>(&self, key: &Bytes32) -> Result<S, InvalidSigned> {
        verify_payload(key, S::PURPOSE, &self.payload, &self.signature)?;
        read(&self.payload)
    }
}

/// Signs bytes that are already a payload of `purpose`.
pub fn sign_payload(key: &SigningKey, purpose: Purpose, payload: &[u8]) -> Fixed<64> {
    Fixed(key.sign(&pae(purpose, payload)).to_bytes())
}

/// Verifies bytes that are a payload of `purpose`.
pub fn verify_payload(
    key: &Bytes32,
    purpose: Purpose,
    payload: &[u8],
    signature: &Fixed<64>,
) -> Result<(), InvalidSigned> {
    VerifyingKey::from_bytes(&key.0)
        .and_then(|key| {
            key.verify_strict(&pae(purpose, payload), &Signature::from_bytes(&signature.0))
        })
        .map_err(|_| InvalidSigned::Signature)
}

/// Reads a payload without verifying it, for statements that name the key that signed them.
/// Refuses anything but one flat canonical object of strings.
pub fn read<S: Statement>(payload: &[u8]) -> Result<S, InvalidSigned> {
    let flat: BTreeMap<String, String> =
        serde_json::from_slice(payload).map_err(|_| InvalidSigned::Malformed)?;
    let canonical =
        serde_json_canonicalizer::to_vec(&flat).map_err(|_| InvalidSigned::Malformed)?;
    if canonical != payload {
        return Err(InvalidSigned::NotCanonical);
    }
    let statement: S = serde_json::from_slice(payload).map_err(|_| InvalidSigned::Malformed)?;
    // Values that parse in more than one form (`01`, a time with fewer digits) have one canonical form.
    if statement.to_payload() == payload { Ok(statement) } else { Err(InvalidSigned::NotCanonical) }
}

/// The canonical form (RFC 8785) of any JSON, for parameters whose digest is signed.
pub fn canonical_json(value: &serde_json::Value) -> Result<Vec<u8>, InvalidSigned> {
    serde_json_canonicalizer::to_vec(value).map_err(|_| InvalidSigned::Malformed)
}

/// The thumbprint by which a server identity key is pinned: base64url of SHA-256 of the raw key.
pub fn thumbprint(key: &Bytes32) -> Bytes32 {
    Fixed(Sha256::of(&key.0).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::ChallengeStatement;
    use argosy_domain::time::Timestamp;
    use proptest::prelude::*;

    fn key(seed: u8) -> (SigningKey, Bytes32) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = Fixed(key.verifying_key().to_bytes());
        (key, public)
    }

    fn challenge() -> ChallengeStatement {
        ChallengeStatement {
            server: Fixed([1; 32]),
            agent: "a-1".parse().unwrap(),
            agent_nonce: Fixed([2; 32]),
            challenge: Fixed([3; 32]),
            server_time: Timestamp::from_seconds(1_000),
        }
    }

    #[test]
    fn what_was_signed_verifies_and_nothing_else() {
        let (signer, public) = key(1);
        let signed = Signed::new(&signer, &challenge());
        assert_eq!(signed.verify::<ChallengeStatement>(&public), Ok(challenge()));
        let (_, other) = key(2);
        assert_eq!(signed.verify::<ChallengeStatement>(&other), Err(InvalidSigned::Signature));
        for purpose in Purpose::ALL {
            let verdict = verify_payload(&public, purpose, &signed.payload, &signed.signature);
            assert_eq!(verdict.is_ok(), purpose == Purpose::Challenge, "{purpose:?}");
        }
    }

    #[test]
    fn other_bytes_for_the_same_content_are_refused() {
        let (signer, public) = key(1);
        let canonical = String::from_utf8(challenge().to_payload()).unwrap();
        let forms = [
            canonical.replace("\":\"", "\": \""),
            canonical.replace("\"a-1\"", "\"\\u0061-1\""),
            canonical.replace("16:40.000000Z", "16:40Z"),
            canonical.replace("}", ",\"zz\":\"1\"}"),
            canonical.replace("\"a-1\"", "1"),
        ];
        for form in forms {
            assert_ne!(form, canonical);
            let signature = sign_payload(&signer, Purpose::Challenge, form.as_bytes());
            let signed = Signed { payload: form.clone().into_bytes(), signature };
            assert!(signed.verify::<ChallengeStatement>(&public).is_err(), "{form}");
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(byte in 0usize..200, bit in 0u8..8) {
            let (signer, public) = key(1);
            let mut signed = Signed::new(&signer, &challenge());
            let at = byte % signed.payload.len();
            signed.payload[at] ^= 1 << bit;
            prop_assert_eq!(
                signed.verify::<ChallengeStatement>(&public),
                Err(InvalidSigned::Signature)
            );
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read::<ChallengeStatement>(&bytes);
        }
    }
}
