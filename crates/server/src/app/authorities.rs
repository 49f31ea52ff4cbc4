//! What this server knows of those who may do something, kept in memory until it changes.
//!
//! *Invariant:* nothing that was read before a change is kept after it: whoever reads takes the
//! version first, and keeps what was read only if no change came meanwhile. Every change that goes
//! through the store says so (see `argosy_store::AuthorityChange`), here before its commit is
//! answered, on other servers with their next look.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use argosy_domain::{
    agent::{Agent, AgentStatus},
    id::{AgentId, ApiKeyId, OrgId},
};
use argosy_store::{ApiKey, AuthorityChange};
use tokio::sync::{Notify, watch};

use super::{App, error::AppResult, streams::CloseReason};

/// Agents that are remembered at most; beyond that the memory begins anew.
const AGENTS_MAX: usize = 100_000;
/// Changes that wait to be told to streams at most; beyond that all are told.
const CHANGES_MAX: usize = 10_000;

#[derive(Default)]
struct Known {
    version: u64,
    agents: HashMap<AgentId, Arc<Agent>>,
    /// Keys of agents.
    agent_keys: HashMap<ApiKeyId, Arc<ApiKey>>,
    /// Which keys of an agent are in there.
    keys_of: HashMap<AgentId, Vec<ApiKeyId>>,
    shut_out: Option<BTreeSet<OrgId>>,
    changes: Vec<AuthorityChange>,
}

impl Known {
    fn forget_keys_of(&mut self, agent: &AgentId) {
        for key in self.keys_of.remove(agent).unwrap_or_default() {
            self.agent_keys.remove(&key);
        }
    }

    fn forget_all_keys(&mut self) {
        self.agent_keys.clear();
        self.keys_of.clear();
    }
}

/// Authorities in memory.
#[derive(Default)]
pub struct Authorities {
    known: Mutex<Known>,
    changed: Notify,
    keys: watch::Sender<u64>,
}

impl Authorities {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what changed.
    pub fn forget(&self, changes: &[AuthorityChange]) {
        if changes.is_empty() {
            return;
        }
        let mut known = self.lock();
        known.version += 1;
        let mut keys = false;
        for change in changes {
            match change {
                AuthorityChange::Agent(id) => {
                    known.agents.remove(id);
                    known.forget_keys_of(id);
                }
                AuthorityChange::Key(id) => {
                    known.agent_keys.remove(id);
                    keys = true;
                }
                AuthorityChange::People => keys = true,
                AuthorityChange::Anybody => {
                    known.agents.clear();
                    known.forget_all_keys();
                    known.shut_out = None;
                    keys = true;
                }
            }
        }
        known.changes.extend_from_slice(changes);
        if known.changes.len() > CHANGES_MAX {
            known.changes = vec![AuthorityChange::Anybody];
        }
        drop(known);
        if keys {
            self.keys.send_modify(|count| *count += 1);
        }
        self.changed.notify_one();
    }

    /// Rises with each change of keys.
    pub fn keys(&self) -> watch::Receiver<u64> {
        self.keys.subscribe()
    }

    /// Waits for changes and takes them.
    async fn take_changes(&self) -> Vec<AuthorityChange> {
        loop {
            let changes = std::mem::take(&mut self.lock().changes);
            if !changes.is_empty() {
                return changes;
            }
            self.changed.notified().await;
        }
    }

    fn get(&self, id: &AgentId) -> Result<Arc<Agent>, u64> {
        let known = self.lock();
        known.agents.get(id).cloned().ok_or(known.version)
    }

    fn keep(&self, agent: &Arc<Agent>, version: u64) {
        let mut known = self.lock();
        if known.version != version {
            return;
        }
        if known.agents.len() >= AGENTS_MAX {
            known.agents.clear();
        }
        known.agents.insert(agent.id.clone(), Arc::clone(agent));
    }

    fn agent_key(&self, id: &ApiKeyId) -> Result<Arc<ApiKey>, u64> {
        let known = self.lock();
        known.agent_keys.get(id).cloned().ok_or(known.version)
    }

    fn keep_agent_key(&self, agent: &AgentId, key: &Arc<ApiKey>, version: u64) {
        let mut known = self.lock();
        if known.version != version {
            return;
        }
        if known.agent_keys.len() >= AGENTS_MAX {
            known.forget_all_keys();
        }
        if known.agent_keys.insert(key.id.clone(), Arc::clone(key)).is_none() {
            known.keys_of.entry(agent.clone()).or_default().push(key.id.clone());
        }
    }

    /// Whether an organisation is let in.
    fn lets_in(&self, org: &OrgId) -> Result<bool, u64> {
        let known = self.lock();
        known.shut_out.as_ref().map(|shut_out| !shut_out.contains(org)).ok_or(known.version)
    }

    fn keep_shut_out(&self, shut_out: BTreeSet<OrgId>, version: u64) {
        let mut known = self.lock();
        if known.version == version {
            known.shut_out = Some(shut_out);
        }
    }

    /// Agents that are remembered.
    pub fn len(&self) -> usize {
        self.lock().agents.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether an agent of that status has anything that could be revoked.
pub(crate) fn stands(status: AgentStatus) -> bool {
    match status {
        AgentStatus::Approved | AgentStatus::Quarantined => true,
        AgentStatus::Pending
        | AgentStatus::Rejected
        | AgentStatus::Expired
        | AgentStatus::Cancelled
        | AgentStatus::Revoked => false,
    }
}

impl App {
    /// Authorities in memory.
    pub fn authorities(&self) -> &Authorities {
        &self.inner.authorities
    }

    /// The key of that id, whosever it is and whether or not it still works; that of an agent from
    /// memory where that is fresh.
    pub(crate) async fn api_key(&self, id: &ApiKeyId) -> AppResult<Option<Arc<ApiKey>>> {
        let version = match self.authorities().agent_key(id) {
            Ok(key) => return Ok(Some(key)),
            Err(version) => version,
        };
        let key = self.store().read("authn.key").await?.api_keys().find(id).await?.map(Arc::new);
        if let Some((key, agent)) = key.as_ref().and_then(|key| Some((key, key.agent.as_ref()?))) {
            self.authorities().keep_agent_key(agent, key, version);
        }
        Ok(key)
    }

    /// The agent as it stands now, approved or quarantined; from memory where that is fresh. 503
    /// while this server is blind.
    pub(crate) async fn standing(&self, id: &AgentId) -> AppResult<Option<Arc<Agent>>> {
        self.sight().clear().await?;
        let version = match self.authorities().get(id) {
            Ok(agent) => return Ok(Some(agent)),
            Err(version) => version,
        };
        let agent = self.store().read("session").await?.agents().find(id).await?;
        let agent = agent.filter(|agent| stands(agent.state.status())).map(Arc::new);
        match agent {
            Some(agent) if self.lets_in(&agent.org).await? => {
                self.authorities().keep(&agent, version);
                Ok(Some(agent))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Whether those of an organisation are let in; from memory where that is fresh. Organisation
    /// `default` always is.
    pub(crate) async fn lets_in(&self, org: &OrgId) -> AppResult<bool> {
        if *org == OrgId::default_org() {
            return Ok(true);
        }
        let version = match self.authorities().lets_in(org) {
            Ok(lets_in) => return Ok(lets_in),
            Err(version) => version,
        };
        let shut_out = self.store().read("authn.organisations").await?.orgs().disabled().await?;
        let shut_out = BTreeSet::from_iter(shut_out);
        let lets_in = !shut_out.contains(org);
        self.authorities().keep_shut_out(shut_out, version);
        Ok(lets_in)
    }

    /// Tells open streams of what changed, for as long as it is polled.
    pub(crate) async fn tell_streams(&self) {
        loop {
            for change in self.authorities().take_changes().await {
                match change {
                    AuthorityChange::Agent(agent) => {
                        self.feed().agents_changed();
                        self.recheck_stream(&agent).await;
                    }
                    AuthorityChange::Anybody => {
                        self.feed().agents_changed();
                        for agent in self.hub().agents() {
                            self.recheck_stream(&agent).await;
                        }
                    }
                    AuthorityChange::Key(_) | AuthorityChange::People => {}
                }
            }
        }
    }

    /// Ends the stream of an agent that lost what it had, or that has a newer stream elsewhere;
    /// wakes it otherwise. What cannot be known ends it too: the agent comes back.
    pub(crate) async fn recheck_stream(&self, agent: &AgentId) {
        let Some((number, held)) = self.hub().held(agent) else { return };
        let standing = async {
            let standing = self.standing(agent).await?;
            let newest =
                self.store().read("stream.recheck").await?.presence().stream(agent).await?;
            Ok::<_, super::error::AppError>((standing, newest))
        };
        // What was learnt meanwhile is of this stream; a newer one has proved itself since.
        let close = |reason| self.hub().close_one(agent, number, reason);
        match standing.await {
            Ok((Some(standing), newest)) if standing.epoch == held.epoch => {
                if held.stream.is_some_and(|own| newest.is_some_and(|newest| newest > own)) {
                    close(CloseReason::Replaced);
                } else {
                    self.hub().wake(agent);
                }
            }
            // Its sessions are over, and it may begin another one.
            Ok((Some(_), _)) => close(CloseReason::SessionEnded),
            Ok((None, _)) => close(CloseReason::Revoked),
            Err(error) => {
                tracing::warn!(%agent, %error, "a stream cannot be verified and is ended");
                close(CloseReason::SessionEnded);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_shut_out_is_read_again_after_a_change() {
        let authorities = Authorities::default();
        let (acme, other): (OrgId, OrgId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let version = authorities.lets_in(&acme).unwrap_err();
        authorities.forget(&[AuthorityChange::Anybody]);
        authorities.keep_shut_out(BTreeSet::new(), version);
        let version = authorities.lets_in(&acme).unwrap_err();
        authorities.keep_shut_out([acme.clone()].into(), version);
        assert_eq!(
            (authorities.lets_in(&acme), authorities.lets_in(&other)),
            (Ok(false), Ok(true))
        );
        authorities.forget(&[AuthorityChange::Key("k".parse().unwrap())]);
        assert_eq!(authorities.lets_in(&acme), Ok(false), "keys say nothing of organisations");
        authorities.forget(&[AuthorityChange::Anybody]);
        assert!(authorities.lets_in(&acme).is_err());
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let authorities = Authorities::default();
        let agent = Arc::new(crate::testing::agent("a"));
        let version = authorities.get(&agent.id).unwrap_err();
        authorities.forget(&[AuthorityChange::Agent("b".parse().unwrap())]);
        authorities.keep(&agent, version);
        assert!(authorities.is_empty(), "a change came between the reading and the keeping");
        let version = authorities.get(&agent.id).unwrap_err();
        authorities.keep(&agent, version);
        assert!(authorities.get(&agent.id).is_ok());
        authorities.forget(&[AuthorityChange::Key("k".parse().unwrap())]);
        assert!(authorities.get(&agent.id).is_ok());
        authorities.forget(&[AuthorityChange::Agent(agent.id.clone())]);
        assert!(authorities.get(&agent.id).is_err());
    }

    #[test]
    fn keys_of_an_agent_are_forgotten_with_it_and_by_themselves() {
        let authorities = Authorities::default();
        let agent: AgentId = "a".parse().unwrap();
        let key = Arc::new(crate::testing::agent_key("k", &agent));
        let keep = || {
            let version = authorities.agent_key(&key.id).unwrap_err();
            authorities.keep_agent_key(&agent, &key, version);
            assert!(authorities.agent_key(&key.id).is_ok());
        };
        let version = authorities.agent_key(&key.id).unwrap_err();
        authorities.forget(&[AuthorityChange::Agent(agent.clone())]);
        authorities.keep_agent_key(&agent, &key, version);
        assert!(authorities.agent_key(&key.id).is_err(), "a change came meanwhile");
        for change in [
            AuthorityChange::Agent(agent.clone()),
            AuthorityChange::Key(key.id.clone()),
            AuthorityChange::Anybody,
        ] {
            keep();
            authorities.forget(&[AuthorityChange::Agent("b".parse().unwrap())]);
            assert!(authorities.agent_key(&key.id).is_ok(), "another agent changed");
            authorities.forget(std::slice::from_ref(&change));
            assert!(authorities.agent_key(&key.id).is_err(), "{change:?}");
        }
    }
}
