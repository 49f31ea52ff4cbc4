//! Which machine mismatches were recorded a moment ago, so that a copy that tries again and again
//! fills no audit log.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use argosy_domain::{id::AgentId, time::Timestamp};

/// One agent's mismatch is news again after this time.
const QUIET: Duration = Duration::from_secs(60);
/// Agents that are remembered at most.
const AGENTS_MAX: usize = 10_000;

/// The last recorded mismatch of each agent.
#[derive(Default)]
pub struct Mismatches {
    recorded: Mutex<HashMap<AgentId, Timestamp>>,
}

impl Mismatches {
    /// Whether a mismatch of `agent` should be recorded; if so, it counts as recorded.
    pub fn is_news(&self, agent: &AgentId, now: Timestamp) -> bool {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if recorded.get(agent).is_some_and(|at| now.since(*at) < QUIET) {
            return false;
        }
        if recorded.len() >= AGENTS_MAX {
            recorded.retain(|_, at| now.since(*at) < QUIET);
        }
        recorded.insert(agent.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_mismatch_is_news_once_a_minute() {
        let (mismatches, agent) = (Mismatches::default(), "a".parse().unwrap());
        let at = Timestamp::from_seconds;
        assert!(mismatches.is_news(&agent, at(0)));
        assert!(!mismatches.is_news(&agent, at(59)));
        assert!(mismatches.is_news(&agent, at(60)));
        assert!(mismatches.is_news(&"b".parse().unwrap(), at(60)));
    }
}
