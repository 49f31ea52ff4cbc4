//! DPoP nonces and the memory of proofs that were used (RFC 9449, sections 8 and 11.1).
//!
//! A nonce is an HMAC of the two-minute bucket that it was given out in; the current and the
//! previous bucket are accepted, so a proof is fresh by the server's clock and never by the
//! agent's. *Invariant:* a proof is accepted once on one replica; those that open streams are
//! remembered in the store besides.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use argosy_domain::{digest::Sha256, limits::DPOP_NONCE_BUCKET, time::Timestamp};
use argosy_wire::{bytes, token::Secret32};
use hmac::{Hmac, KeyInit as _, Mac as _};
use subtle::ConstantTimeEq as _;

/// Proofs that are remembered in one bucket; beyond that new ones are refused for now.
const PROOFS_PER_BUCKET_MAX: usize = 2_000_000;

fn bucket_of(now: Timestamp) -> i64 {
    now.as_seconds() / i64::try_from(DPOP_NONCE_BUCKET.as_secs()).unwrap_or(120)
}

fn nonce_of(secret: &Secret32, bucket: i64) -> String {
    let Ok(mut mac) = <Hmac<sha2::Sha256>>::new_from_slice(secret.expose()) else {
        // HMAC takes keys of any length.
        return String::new();
    };
    mac.update(&bucket.to_be_bytes());
    let tag: [u8; 32] = mac.finalize().into_bytes().into();
    bytes::encode(&tag[..16])
}

/// The nonce to give out at `now`.
pub fn current_nonce(secret: &Secret32, now: Timestamp) -> String {
    nonce_of(secret, bucket_of(now))
}

/// Whether a nonce was given out in this bucket or the one before, under one of the secrets.
pub fn nonce_is_fresh<'s>(
    mut secrets: impl Iterator<Item = &'s Secret32>,
    now: Timestamp,
    nonce: &str,
) -> bool {
    let bucket = bucket_of(now);
    secrets.any(|secret| {
        [bucket, bucket - 1].into_iter().any(|bucket| {
            let expected = nonce_of(secret, bucket);
            !expected.is_empty() && bool::from(expected.as_bytes().ct_eq(nonce.as_bytes()))
        })
    })
}

/// What came of remembering a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// For the first time.
    First,
    /// Not for the first time.
    Again,
    /// The memory of this bucket is full.
    Full,
}

#[derive(Default)]
struct Memory {
    bucket: i64,
    current: HashSet<[u8; 16]>,
    previous: HashSet<[u8; 16]>,
}

/// Proofs of the last two buckets. A proof with a nonce of an older bucket is not fresh anyway.
#[derive(Default)]
pub struct ReplayGuard {
    memory: Mutex<Memory>,
}

/// What a proof is remembered by: key and `jti` together.
pub fn proof_digest(key: &[u8; 32], jti: &str) -> Sha256 {
    Sha256::of(&[key.as_slice(), jti.as_bytes()].concat())
}

impl ReplayGuard {
    /// Remembers a proof.
    pub fn remember(&self, proof: Sha256, now: Timestamp) -> Seen {
        let mut short = [0; 16];
        short.copy_from_slice(&proof.0[..16]);
        let bucket = bucket_of(now);
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket == memory.bucket + 1 {
            memory.previous = std::mem::take(&mut memory.current);
            memory.bucket = bucket;
        } else if bucket > memory.bucket {
            *memory = Memory { bucket, ..Memory::default() };
        }
        if memory.current.contains(&short) || memory.previous.contains(&short) {
            Seen::Again
        } else if memory.current.len() >= PROOFS_PER_BUCKET_MAX {
            Seen::Full
        } else {
            memory.current.insert(short);
            Seen::First
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_lives_for_two_buckets() {
        let secret = Secret32::new([1; 32]);
        let at = Timestamp::from_seconds;
        let nonce = current_nonce(&secret, at(1_200));
        let other = Secret32::new([2; 32]);
        let fresh = |now, nonce: &str| nonce_is_fresh([&other, &secret].into_iter(), now, nonce);
        assert!(fresh(at(1_200), &nonce));
        assert!(fresh(at(1_439), &nonce));
        assert!(!fresh(at(1_440), &nonce));
        assert!(!fresh(at(1_199), &nonce), "from the future");
        assert!(!nonce_is_fresh([&other].into_iter(), at(1_200), &nonce));
    }

    #[test]
    fn a_proof_is_accepted_once() {
        let guard = ReplayGuard::default();
        let at = Timestamp::from_seconds;
        let proof = proof_digest(&[1; 32], "jti");
        assert_eq!(guard.remember(proof, at(1_200)), Seen::First);
        assert_eq!(guard.remember(proof, at(1_200)), Seen::Again);
        assert_eq!(guard.remember(proof, at(1_330)), Seen::Again);
        assert_eq!(guard.remember(proof, at(1_199)), Seen::Again, "a clock that jumped back");
        assert_eq!(guard.remember(proof_digest(&[2; 32], "jti"), at(1_330)), Seen::First);
    }
}
