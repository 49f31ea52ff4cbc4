//! DPoP nonces and the memory of proofs that were used (RFC 9449, sections 8 and 11.1).
//!
//! A nonce is an HMAC of the two-minute bucket that it was given out in; the current and the
//! previous bucket are accepted, so a proof is fresh by the server's clock and never by the
//! agent's. *Invariant:* a proof is accepted once on one replica; those that open streams are
//! remembered in the store besides.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use argosy_domain::{digest::Sha256, id::AgentId, limits::DPOP_NONCE_BUCKET, time::Timestamp};
use argosy_wire::{bytes, token::Secret32};
use hmac::{Hmac, KeyInit as _, Mac as _};
use subtle::ConstantTimeEq as _;

/// Proofs of one agent that are remembered in one bucket; beyond that new ones are refused for now.
const PROOFS_PER_AGENT_MAX: usize = 10_000;
/// Proofs of all agents that are remembered.
const PROOFS_MAX: usize = 4_000_000;

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
    /// The memory of this agent, or of all, is full.
    Full,
}

/// Proofs of one agent.
#[derive(Default)]
struct Memory {
    bucket: i64,
    current: HashSet<[u8; 16]>,
    previous: HashSet<[u8; 16]>,
}

impl Memory {
    fn turn_to(&mut self, bucket: i64) {
        if bucket == self.bucket + 1 {
            self.previous = std::mem::take(&mut self.current);
            self.bucket = bucket;
        } else if bucket > self.bucket {
            *self = Self { bucket, ..Self::default() };
        }
    }

    fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }
}

#[derive(Default)]
struct Memories {
    bucket: i64,
    proofs: usize,
    agents: HashMap<AgentId, Memory>,
}

/// Proofs of the last two buckets, of agents that stand. A proof with a nonce of an older bucket is
/// not fresh anyway.
#[derive(Default)]
pub struct ReplayGuard {
    memories: Mutex<Memories>,
}

/// What a proof is remembered by: key and `jti` together.
pub fn proof_digest(key: &[u8; 32], jti: &str) -> Sha256 {
    Sha256::of(&[key.as_slice(), jti.as_bytes()].concat())
}

impl ReplayGuard {
    /// Remembers a proof of an agent.
    pub fn remember(&self, agent: &AgentId, proof: Sha256, now: Timestamp) -> Seen {
        let mut short = [0; 16];
        short.copy_from_slice(&proof.0[..16]);
        let bucket = bucket_of(now);
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket > memories.bucket {
            memories.bucket = bucket;
            memories.agents.retain(|_, memory| {
                memory.turn_to(bucket);
                memory.len() > 0
            });
            memories.proofs = memories.agents.values().map(Memory::len).sum();
        }
        let (all, bucket) = (memories.proofs, memories.bucket);
        let memory = memories.agents.entry(agent.clone()).or_default();
        memory.turn_to(bucket);
        if memory.current.contains(&short) || memory.previous.contains(&short) {
            return Seen::Again;
        }
        if memory.current.len() >= PROOFS_PER_AGENT_MAX || all >= PROOFS_MAX {
            return Seen::Full;
        }
        memory.current.insert(short);
        memories.proofs += 1;
        Seen::First
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
        let agent: AgentId = "a".parse().unwrap();
        let remember = |proof, second| guard.remember(&agent, proof, at(second));
        let proof = proof_digest(&[1; 32], "jti");
        assert_eq!(remember(proof, 1_200), Seen::First);
        assert_eq!(remember(proof, 1_200), Seen::Again);
        assert_eq!(remember(proof, 1_330), Seen::Again);
        assert_eq!(remember(proof, 1_199), Seen::Again, "a clock that jumped back");
        assert_eq!(remember(proof_digest(&[2; 32], "jti"), 1_330), Seen::First);
    }

    #[test]
    fn an_agent_fills_its_own_memory_and_no_other() {
        let guard = ReplayGuard::default();
        let (one, two): (AgentId, AgentId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let now = Timestamp::from_seconds(1_200);
        let proof = |n: usize| proof_digest(&[1; 32], &n.to_string());
        for n in 0..PROOFS_PER_AGENT_MAX {
            assert_eq!(guard.remember(&one, proof(n), now), Seen::First);
        }
        assert_eq!(guard.remember(&one, proof(PROOFS_PER_AGENT_MAX), now), Seen::Full);
        assert_eq!(guard.remember(&one, proof(0), now), Seen::Again);
        assert_eq!(guard.remember(&two, proof(0), now), Seen::First);
        let later = now.plus(DPOP_NONCE_BUCKET * 3);
        assert_eq!(guard.remember(&two, proof(1), later), Seen::First);
        let memories = guard.memories.lock().unwrap();
        assert_eq!((memories.agents.len(), memories.proofs), (1, 1), "what is over is forgotten");
    }
}
