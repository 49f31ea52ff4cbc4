//! Argon2id for enrolment tokens and passwords, so many at a time and no more.
//!
//! A verification takes about ten milliseconds of a core and 19 MiB, so the memory is pooled.
//! *Invariant:* at most one runs for each permit, so that enrolment cannot stall heartbeats, and
//! every attempt costs exactly one, whether or not there is a token to compare with.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use argosy_domain::{
    digest::Sha256,
    entropy::{Entropy, random_bytes},
};
use argosy_wire::{bytes, problem::Code, token::Secret32};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::error::{AppError, AppResult};

/// Memory of one hash in KiB, passes and lanes (OWASP's first choice for Argon2id).
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Those that wait for their turn at most: about half a minute of work on two cores.
const WAITING_MAX: usize = 4_096;
const SALT_BYTES: usize = 16;
const SCHEME: &str = "argon2id-19456-2-1";

/// What a password is hashed as: Argon2id takes 32 bytes here, and a digest of its own purpose makes
/// them of a text of any length.
fn password_secret(password: &str) -> Secret32 {
    let text = Zeroizing::new(format!("argosy password v1\0{password}"));
    Secret32::new(Sha256::of(text.as_bytes()).0)
}

/// Hashes and verifies the secrets of tokens, and passwords.
pub struct TokenHasher {
    permits: Arc<Semaphore>,
    pool: Arc<Mutex<Vec<Vec<Block>>>>,
    hashes: AtomicU64,
    waiting: AtomicUsize,
}

/// One that waits for its turn.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> AppResult<Self> {
        let entered = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX {
            Ok(entered)
        } else {
            let busy = AppError::because(
                Code::Unavailable,
                "too many machines and people prove themselves just now",
            );
            Err(AppError { retry_after_s: Some(5), ..busy })
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn hash(
    pool: &Mutex<Vec<Vec<Block>>>,
    secret: &Secret32,
    salt: &[u8; SALT_BYTES],
) -> Result<[u8; 32], argon2::Error> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, Some(32))?;
    let pooled = pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut blocks = pooled.unwrap_or_else(|| vec![Block::default(); params.block_count()]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut out = [0; 32];
    argon2.hash_password_into_with_memory(secret.expose(), salt, &mut out, &mut blocks)?;
    pool.lock().unwrap_or_else(PoisonError::into_inner).push(blocks);
    Ok(out)
}

/// Reads what [`TokenHasher::hash`] wrote.
fn parse(stored: &str) -> Option<([u8; SALT_BYTES], [u8; 32])> {
    let mut parts = stored.split('$');
    let (scheme, salt, digest) = (parts.next()?, parts.next()?, parts.next()?);
    let salt = bytes::decode(salt).ok()?.try_into().ok()?;
    let digest = bytes::decode(digest).ok()?.try_into().ok()?;
    (scheme == SCHEME && parts.next().is_none()).then_some((salt, digest))
}

impl TokenHasher {
    /// A hasher that runs `at_once` hashes at a time: one for each core.
    pub fn new(at_once: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(at_once.max(1))),
            pool: Arc::default(),
            hashes: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Hashes made since the start, for the metrics.
    pub fn count(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    async fn run(&self, secret: &Secret32, salt: [u8; SALT_BYTES]) -> AppResult<[u8; 32]> {
        let waiting = Waiting::enter(&self.waiting)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(AppError::internal)?;
        drop(waiting);
        self.hashes.fetch_add(1, Ordering::Relaxed);
        let (pool, secret) = (Arc::clone(&self.pool), secret.clone());
        let work = tokio::task::spawn_blocking(move || {
            let out = hash(&pool, &secret, &salt);
            drop(permit);
            out
        });
        work.await.map_err(AppError::internal)?.map_err(AppError::internal)
    }

    /// The text to store for a secret.
    pub async fn hash(&self, secret: &Secret32, entropy: &dyn Entropy) -> AppResult<String> {
        let salt = random_bytes(entropy);
        let digest = self.run(secret, salt).await?;
        Ok(format!("{SCHEME}${}${}", bytes::encode(&salt), bytes::encode(&digest)))
    }

    /// The text to store for a password.
    pub async fn hash_password(&self, password: &str, entropy: &dyn Entropy) -> AppResult<String> {
        self.hash(&password_secret(password), entropy).await
    }

    /// [`Self::verify`] for a password.
    pub async fn verify_password(&self, password: &str, stored: Option<&str>) -> AppResult<bool> {
        self.verify(&password_secret(password), stored).await
    }

    /// Whether a secret is the one behind `stored`. Without `stored`, or with one that cannot be
    /// read, the same work is done and the answer is no.
    pub async fn verify(&self, secret: &Secret32, stored: Option<&str>) -> AppResult<bool> {
        let parsed = stored.and_then(parse);
        let (salt, expected) = parsed.unwrap_or(([0; SALT_BYTES], [0; 32]));
        let digest = self.run(secret, salt).await?;
        Ok(parsed.is_some() && bool::from(digest.ct_eq(&expected)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_config::host::OsEntropy;

    #[tokio::test]
    async fn every_attempt_costs_one_hash() {
        let hasher = TokenHasher::new(1);
        let secret = Secret32::new([3; 32]);
        let stored = hasher.hash(&secret, &OsEntropy).await.unwrap();
        assert!(hasher.verify(&secret, Some(&stored)).await.unwrap());
        assert!(!hasher.verify(&Secret32::new([4; 32]), Some(&stored)).await.unwrap());
        assert!(!hasher.verify(&secret, None).await.unwrap());
        assert!(!hasher.verify(&secret, Some("$2b$")).await.unwrap());
        assert_eq!(hasher.count(), 5);
    }
}
