//! Which refusals of agents and users were recorded a moment ago, so that a copy or a thief who tries
//! again and again fills no audit log.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use argosy_domain::{id::AgentId, time::Timestamp};

/// A refusal of one agent is news again after this time.
const QUIET: Duration = Duration::from_secs(60);
/// Agents that are remembered at most.
const AGENTS_MAX: usize = 10_000;

/// The last recorded refusal of one kind, of each agent.
pub struct RecentRefusals<K = AgentId> {
    recorded: Mutex<HashMap<K, Timestamp>>,
}

impl<K> Default for RecentRefusals<K> {
    fn default() -> Self {
        Self { recorded: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone> RecentRefusals<K> {
    /// Whether a refusal of `agent` should be recorded; if so, it counts as recorded.
    pub fn is_news(&self, agent: &K, now: Timestamp) -> bool {
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
    fn the_same_refusal_is_news_once_a_minute() {
        let (refusals, agent) = (RecentRefusals::<AgentId>::default(), "a".parse().unwrap());
        let at = Timestamp::from_seconds;
        assert!(refusals.is_news(&agent, at(0)));
        assert!(!refusals.is_news(&agent, at(59)));
        assert!(refusals.is_news(&agent, at(60)));
        assert!(refusals.is_news(&"b".parse().unwrap(), at(60)));
    }
}
