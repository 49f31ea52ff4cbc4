//! When API keys and users' sessions were last used: noted in memory, written in batches.
//!
//! *Invariant:* a call never waits for this, and a lost note costs nothing but precision.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use argosy_domain::{
    id::{ApiKeyId, UserSessionId},
    time::Timestamp,
};

use super::{App, error::AppResult};

/// A use is noted when the one before is older than this.
const PRECISION: Duration = Duration::from_secs(60);
/// How often notes are written.
pub const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Uses that were not written yet.
struct Notes<K> {
    noted: Mutex<HashMap<K, Timestamp>>,
}

impl<K> Default for Notes<K> {
    fn default() -> Self {
        Self { noted: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone> Notes<K> {
    fn note(&self, id: &K, before: Option<Timestamp>, now: Timestamp) {
        if before.is_none_or(|at| now.since(at) >= PRECISION) {
            self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), now);
        }
    }

    fn latest(&self, id: &K) -> Option<Timestamp> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    fn all(&self) -> Vec<(K, Timestamp)> {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.iter().map(|(id, at)| (id.clone(), *at)).collect()
    }

    /// Forgets what was written, unless it was used again meanwhile.
    fn forget(&self, written: &[(K, Timestamp)]) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, at) in written {
            if noted.get(id) == Some(at) {
                noted.remove(id);
            }
        }
    }
}

/// Uses of keys and sessions.
#[derive(Default)]
pub struct Uses {
    keys: Notes<ApiKeyId>,
    sessions: Notes<UserSessionId>,
}

impl Uses {
    /// A key was used; `before` is what the store knows.
    pub fn of_key(&self, id: &ApiKeyId, before: Option<Timestamp>, now: Timestamp) {
        self.keys.note(id, before.max(self.keys.latest(id)), now);
    }

    /// A session was used; `before` is the latest use before.
    pub fn of_session(&self, id: &UserSessionId, before: Timestamp, now: Timestamp) {
        self.sessions.note(id, Some(before), now);
    }

    /// The latest use of a session, as far as it is not written yet.
    pub fn latest_of_session(&self, id: &UserSessionId) -> Option<Timestamp> {
        self.sessions.latest(id)
    }
}

impl App {
    /// Writes what was noted.
    pub async fn flush_uses(&self) -> AppResult<()> {
        let (keys, sessions) = (self.uses().keys.all(), self.uses().sessions.all());
        if keys.is_empty() && sessions.is_empty() {
            return Ok(());
        }
        let mut tx = self.store().write("uses").await?;
        tx.api_keys().touch(&keys).await?;
        tx.user_sessions().touch(&sessions).await?;
        tx.commit().await?;
        self.uses().keys.forget(&keys);
        self.uses().sessions.forget(&sessions);
        Ok(())
    }
}
