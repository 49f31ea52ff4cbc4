//! Guessing of passwords: so many attempts for one name in a minute, then none before there is time
//! again.
//!
//! Unlike keys, passwords can be guessed, so an attempt is counted before the password is looked
//! at; a good one gives its place back. *Invariant:* attempts that run at once are counted like
//! those that follow each other.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use argosy_domain::time::Timestamp;

use super::error::{AppError, AppResult};

/// Names that are remembered at most.
const NAMES_MAX: usize = 100_000;
const MINUTE_S: f64 = 60.0;

struct Bucket {
    left: f64,
    at: Timestamp,
}

impl Bucket {
    fn refill(&mut self, per_minute: f64, now: Timestamp) {
        let elapsed_s = now.since(self.at).as_secs_f64();
        self.left = (self.left + elapsed_s * per_minute / MINUTE_S).min(per_minute);
        self.at = self.at.max(now);
    }
}

/// Attempts by name. The limiter of failures by source cannot give a place back, so this is one of
/// its own.
#[derive(Default)]
pub struct Guesses {
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Guesses {
    /// Takes a place for an attempt, or says when there is one again.
    pub fn take(&self, name: &str, per_minute: u32, now: Timestamp) -> AppResult<()> {
        let per_minute = f64::from(per_minute);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= NAMES_MAX && !buckets.contains_key(name) {
            buckets.retain(|_, bucket| {
                bucket.refill(per_minute, now);
                bucket.left < per_minute
            });
            if buckets.len() >= NAMES_MAX {
                return Err(AppError::rate_limited(60));
            }
        }
        let fresh = || Bucket { left: per_minute, at: now };
        let bucket = buckets.entry(name.to_owned()).or_insert_with(fresh);
        bucket.refill(per_minute, now);
        if bucket.left < 1.0 {
            let wait =
                std::time::Duration::from_secs_f64((1.0 - bucket.left) * MINUTE_S / per_minute);
            return Err(AppError::rate_limited(wait.as_secs() + 1));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    /// The attempt was no guess.
    pub fn give_back(&self, name: &str) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(name) {
            bucket.left += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_attempts_and_no_more() {
        let (guesses, at) = (Guesses::default(), Timestamp::from_seconds);
        for _ in 0..3 {
            guesses.take("ada", 3, at(0)).unwrap();
        }
        let refused = guesses.take("ada", 3, at(0)).unwrap_err();
        assert_eq!(refused.retry_after_s, Some(21));
        guesses.take("grace", 3, at(0)).unwrap();
        guesses.take("ada", 3, at(20)).unwrap();
        guesses.take("ada", 3, at(20)).unwrap_err();
        guesses.give_back("ada");
        guesses.take("ada", 3, at(20)).unwrap();
        guesses.take("ada", 3, at(1)).unwrap_err();
    }
}
