//! Rate limits of those who have proved who they are: so many calls of one user, key or agent in a
//! minute. Enrolment is counted by failures alone, so a fleet behind one address is not slowed.

use std::{
    num::NonZeroU32,
    sync::{Arc, PoisonError, RwLock},
};

use argosy_domain::{access::Caller, id::AgentId};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::DashMapStateStore,
};

use super::{
    App,
    error::{AppError, AppResult},
};

type Limiter = RateLimiter<
    String,
    DashMapStateStore<String>,
    DefaultClock,
    NoOpMiddleware<<DefaultClock as governor::clock::Clock>::Instant>,
>;

/// Calls by principal, under the quota that is set now.
pub struct Principals {
    current: RwLock<(NonZeroU32, Arc<Limiter>)>,
}

fn limiter(per_minute: NonZeroU32) -> (NonZeroU32, Arc<Limiter>) {
    (per_minute, Arc::new(RateLimiter::keyed(Quota::per_minute(per_minute))))
}

impl Default for Principals {
    fn default() -> Self {
        Self { current: RwLock::new(limiter(NonZeroU32::MIN)) }
    }
}

impl Principals {
    /// The limiter under a quota. Another quota begins with full buckets.
    fn under(&self, per_minute: NonZeroU32) -> Arc<Limiter> {
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if current.0 == per_minute {
                return Arc::clone(&current.1);
            }
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.0 != per_minute {
            *current = limiter(per_minute);
        }
        Arc::clone(&current.1)
    }

    /// Counts a call, or says when there is room for one again.
    fn admit(&self, principal: &String, per_minute: NonZeroU32) -> AppResult<()> {
        let limiter = self.under(per_minute);
        limiter.check_key(principal).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            AppError {
                detail: "too many calls".to_owned(),
                ..AppError::rate_limited(wait.as_secs() + 1)
            }
        })
    }

    /// Forgets who has been quiet.
    pub fn tidy(&self) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.1.retain_recent();
    }
}

fn of_agent(agent: &AgentId) -> String {
    format!("agent:{agent}")
}

/// Who a caller is for the limit; the server itself has none.
pub(crate) fn principal(caller: &Caller) -> Option<String> {
    match caller {
        Caller::Key { key, .. } => Some(format!("key:{key}")),
        Caller::User { user, .. } => Some(format!("user:{user}")),
        Caller::Agent { agent, .. } => Some(of_agent(agent)),
        Caller::Server => None,
    }
}

impl App {
    /// Counts a call of somebody who was authenticated.
    pub(crate) fn counted(&self, caller: Caller) -> AppResult<Caller> {
        if let Some(principal) = principal(&caller) {
            self.count(&principal)?;
        }
        Ok(caller)
    }

    /// Counts a session call of an agent that proved its key.
    pub(crate) fn counted_agent(&self, agent: &AgentId) -> AppResult<()> {
        self.count(&of_agent(agent))
    }

    fn count(&self, principal: &String) -> AppResult<()> {
        self.principals().admit(principal, self.settings().requests_per_minute.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_principal_uses_up_its_own_and_a_new_quota_counts_at_once() {
        let (principals, few) = (Principals::default(), NonZeroU32::new(60).unwrap());
        let (one, two) = ("key:1".to_owned(), "key:2".to_owned());
        for _ in 0..60 {
            principals.admit(&one, few).unwrap();
        }
        let refused = principals.admit(&one, few).unwrap_err();
        assert_eq!(refused.retry_after_s, Some(1));
        principals.admit(&two, few).unwrap();
        principals.admit(&one, NonZeroU32::new(61).unwrap()).unwrap();
        principals.tidy();
    }
}
