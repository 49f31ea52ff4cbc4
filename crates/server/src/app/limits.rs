//! Rate limits: failures are counted per source, so that guessing is slow, and successes are not,
//! so that a fleet behind one address enrols at full speed.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use governor::{Quota, RateLimiter, clock::Clock as _, state::keyed::DashMapStateStore};

use argosy_domain::security::SecurityKind;
use argosy_wire::problem::Code;

use super::{
    App, Origin,
    error::{AppError, AppResult},
    security::Sighting,
};

/// Sources that are remembered as blocked at most; beyond that the oldest decision is dropped.
const BLOCKED_SOURCES_MAX: usize = 100_000;

type Limiter = RateLimiter<
    IpAddr,
    DashMapStateStore<IpAddr>,
    governor::clock::DefaultClock,
    governor::middleware::NoOpMiddleware<
        <governor::clock::DefaultClock as governor::clock::Clock>::Instant,
    >,
>;

/// Failed attempts by source address.
pub struct FailureLimiter {
    limiter: Limiter,
    clock: governor::clock::DefaultClock,
    blocked:
        Mutex<HashMap<IpAddr, <governor::clock::DefaultClock as governor::clock::Clock>::Instant>>,
}

impl FailureLimiter {
    /// Blocks a source after `per_minute` failures in a minute.
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::keyed(Quota::per_minute(per_minute)),
            clock: governor::clock::DefaultClock::default(),
            blocked: Mutex::default(),
        }
    }

    /// Refuses a source that has failed too often.
    pub fn admit(&self, source: Option<IpAddr>) -> AppResult<()> {
        let Some(source) = source.map(network_of) else { return Ok(()) };
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = blocked.get(&source) else { return Ok(()) };
        let left: Duration = until.duration_since(self.clock.now());
        if left.is_zero() {
            blocked.remove(&source);
            return Ok(());
        }
        Err(AppError::rate_limited(left.as_secs() + 1))
    }

    /// An outcome, after a credential was judged: a failure is counted, and one too many is
    /// answered as such. Whoever holds a good credential is let in all the same, so that nobody
    /// locks out those who share an address with him.
    pub fn judged<T>(
        &self,
        source: Option<IpAddr>,
        outcome: AppResult<T>,
        counts: impl FnOnce(Code) -> bool,
    ) -> AppResult<T> {
        match outcome {
            Err(error) if counts(error.code) => {
                self.admit(source)?;
                self.failed(source);
                Err(error)
            }
            outcome => outcome,
        }
    }

    /// Counts a failure of a source.
    pub fn failed(&self, source: Option<IpAddr>) {
        let Some(source) = source.map(network_of) else { return };
        if let Err(refused) = self.limiter.check_key(&source) {
            let until = refused.earliest_possible();
            let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
            if blocked.len() >= BLOCKED_SOURCES_MAX {
                let now = self.clock.now();
                blocked.retain(|_, until| !until.duration_since(now).is_zero());
            }
            if blocked.len() < BLOCKED_SOURCES_MAX {
                blocked.insert(source, until);
            }
        }
    }

    /// Forgets sources that have been quiet.
    pub fn tidy(&self) {
        self.limiter.retain_recent();
    }
}

impl App {
    /// [`FailureLimiter::admit`]; who is refused is noted.
    pub(crate) fn admit_source(&self, origin: &Origin) -> AppResult<()> {
        self.failures().admit(origin.source).inspect_err(|_| self.note_brute_force(origin))
    }

    /// [`FailureLimiter::judged`]; who failed too often is noted.
    pub(crate) fn judged<T>(
        &self,
        origin: &Origin,
        outcome: AppResult<T>,
        counts: impl FnOnce(Code) -> bool,
    ) -> AppResult<T> {
        let limited = |outcome: &AppResult<T>| {
            outcome.as_ref().is_err_and(|error| error.code == Code::RateLimited)
        };
        let before = limited(&outcome);
        let outcome = self.failures().judged(origin.source, outcome, counts);
        if limited(&outcome) && !before {
            self.note_brute_force(origin);
        }
        outcome
    }

    fn note_brute_force(&self, origin: &Origin) {
        let kind = SecurityKind::BruteForce;
        self.sighted(Sighting::anonymous(kind, origin, serde_json::json!({})));
    }
}

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 subscriber has at least.
pub(crate) fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_block_a_source_and_no_other() {
        let limiter = FailureLimiter::new(NonZeroU32::new(2).unwrap());
        let (one, two) = ("10.0.0.1".parse().ok(), "10.0.0.2".parse().ok());
        for _ in 0..3 {
            assert!(limiter.admit(one).is_ok());
            limiter.failed(one);
        }
        let refused = limiter.admit(one).unwrap_err();
        assert_eq!(refused.code, Code::RateLimited);
        assert!(refused.retry_after_s.is_some_and(|s| (1..=31).contains(&s)));
        assert!(limiter.admit(two).is_ok());
    }

    #[test]
    fn one_ipv6_subscriber_is_one_source_and_a_good_credential_is_let_in() {
        let limiter = FailureLimiter::new(NonZeroU32::MIN);
        let refused = || Err::<(), _>(AppError::new(Code::Unauthenticated));
        for last in 1..=2 {
            let source = format!("2001:db8::{last}").parse().ok();
            let answer = limiter.judged(source, refused(), |_| true);
            assert_eq!(answer.unwrap_err().code, Code::Unauthenticated);
        }
        let source = "2001:db8::3".parse().ok();
        let answer = limiter.judged(source, refused(), |_| true);
        assert_eq!(answer.unwrap_err().code, Code::RateLimited);
        assert!(limiter.judged(source, Ok(()), |_| true).is_ok());
        let elsewhere = "2001:db8:0:1::1".parse().ok();
        let answer = limiter.judged(elsewhere, refused(), |_| true);
        assert_eq!(answer.unwrap_err().code, Code::Unauthenticated);
    }
}
