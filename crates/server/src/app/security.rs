//! Security events: what deserves a guard's eye, noted where it is refused.
//!
//! An event is recorded in the transaction of the refusal where there is one; else it waits in
//! memory for half a second with its like and is written with them. *Invariant:* whoever attacks
//! again and again, from wherever, costs a bounded number of rows and of bytes of memory. What
//! waits is lost if the server is killed; what was decided stands in the audit log.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use argosy_domain::{
    access::{Caller, Permission},
    digest::Sha256,
    id::{AgentId, OrgId},
    limits::{
        SECURITY_EVENT_LIFE, SECURITY_EVENT_WINDOW, SECURITY_EVENTS_MAX,
        SECURITY_EVENTS_WAITING_MAX,
    },
    security::SecurityKind,
    time::Timestamp,
};
use argosy_store::{Page, SecurityEvent, SecurityFilter, SecurityRow, Tx};
use argosy_wire::bytes;
use serde_json::{Value, json};

use super::{
    App, Origin,
    error::{AppError, AppResult},
    limits::network_of,
    paging::PageQuery,
};

/// What was seen, where it was seen.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// What.
    pub kind: SecurityKind,
    /// In which organisation.
    pub org: OrgId,
    /// About which agent.
    pub agent: Option<AgentId>,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// More; never a secret.
    pub detail: Value,
}

impl Sighting {
    /// About nobody known, of the installation's own organisation.
    pub fn anonymous(kind: SecurityKind, origin: &Origin, detail: Value) -> Self {
        Self { kind, org: OrgId::default_org(), agent: None, source: origin.source, detail }
    }

    /// About an agent.
    pub fn of_agent(
        kind: SecurityKind,
        (org, agent): (&OrgId, &AgentId),
        origin: &Origin,
        detail: Value,
    ) -> Self {
        let (org, agent) = (org.clone(), Some(agent.clone()));
        Self { kind, org, agent, source: origin.source, detail }
    }

    /// What makes two of them the same: kind, agent, network, and the hour.
    fn fold(&self, at: Timestamp) -> Fold {
        let window = i64::try_from(SECURITY_EVENT_WINDOW.as_secs()).unwrap_or(i64::MAX);
        Fold {
            org: self.org.clone(),
            kind: self.kind,
            agent: self.agent.clone(),
            network: self.source.map(network_of),
            window: at.as_seconds().div_euclid(window),
        }
    }
}

/// Sightings with the same fold are one event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Fold {
    org: OrgId,
    kind: SecurityKind,
    agent: Option<AgentId>,
    network: Option<IpAddr>,
    window: i64,
}

impl Fold {
    fn key(&self) -> String {
        let network = self.network.map(|network| network.to_string());
        let parts =
            json!([self.kind.as_str(), self.agent, network.as_deref(), self.window]).to_string();
        bytes::encode(&Sha256::of(parts.as_bytes()).0[..16])
    }

    /// The same without what an attacker chooses.
    fn crowded(self) -> Self {
        Self { agent: None, network: None, ..self }
    }
}

#[derive(Debug, Clone)]
struct Waiting {
    source: Option<IpAddr>,
    detail: Value,
    first_at: Timestamp,
    last_at: Timestamp,
    times: u64,
}

impl Waiting {
    fn add(&mut self, later: Self) {
        self.times += later.times;
        self.first_at = self.first_at.min(later.first_at);
        if later.last_at >= self.last_at {
            (self.last_at, self.detail) = (later.last_at, later.detail);
        }
    }
}

/// Sightings that wait to be written, and how many of each kind there were since the start.
pub struct SecurityLog {
    waiting: Mutex<BTreeMap<Fold, Waiting>>,
    seen: Vec<AtomicU64>,
}

impl Default for SecurityLog {
    fn default() -> Self {
        let seen = SecurityKind::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self { waiting: Mutex::default(), seen }
    }
}

impl SecurityLog {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Fold, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, kind: SecurityKind) {
        let place = SecurityKind::ALL.iter().position(|known| *known == kind);
        if let Some(seen) = place.and_then(|place| self.seen.get(place)) {
            seen.fetch_add(1, Relaxed);
        }
    }

    /// Events since the start, by kind.
    pub fn counts(&self) -> impl Iterator<Item = (SecurityKind, u64)> {
        SecurityKind::ALL.iter().copied().zip(self.seen.iter().map(|seen| seen.load(Relaxed)))
    }

    /// Notes a sighting; it is written with the next batch.
    fn note(&self, sighting: Sighting, now: Timestamp) {
        self.count(sighting.kind);
        let fold = sighting.fold(now);
        let (source, detail) = (sighting.source, sighting.detail);
        self.put(fold, Waiting { source, detail, first_at: now, last_at: now, times: 1 });
    }

    fn put(&self, fold: Fold, event: Waiting) {
        let mut waiting = self.lock();
        let crowded = waiting.len() >= SECURITY_EVENTS_WAITING_MAX && !waiting.contains_key(&fold);
        let (fold, event) = if crowded {
            let detail = json!({ "many": true });
            (fold.crowded(), Waiting { source: None, detail, ..event })
        } else {
            (fold, event)
        };
        match waiting.get_mut(&fold) {
            Some(earlier) => earlier.add(event),
            None => {
                waiting.insert(fold, event);
            }
        }
    }
}

/// Which events a list shows.
#[derive(Debug, Clone, Default)]
pub struct SecurityQuery {
    /// Such as `clone_detected`.
    pub kind: Option<String>,
    /// About this agent.
    pub agent_id: Option<String>,
    /// Seen then or later.
    pub since: Option<Timestamp>,
}

impl App {
    /// Security events of this process.
    pub fn security(&self) -> &SecurityLog {
        &self.inner.security
    }

    /// Notes a sighting by itself: where a refusal changes nothing else. Written soon.
    pub(crate) fn sighted(&self, sighting: Sighting) {
        self.security().note(sighting, self.now());
    }

    /// Records a sighting in the transaction of what follows from it.
    pub(crate) async fn record_sighting(&self, tx: &mut Tx, sighting: Sighting) -> AppResult<()> {
        let now = self.now();
        self.security().count(sighting.kind);
        let fold = sighting.fold(now);
        let (source, detail) = (sighting.source, sighting.detail);
        let event = Waiting { source, detail, first_at: now, last_at: now, times: 1 };
        Ok(tx.security().record(&self.security_event(&fold, &event)).await?)
    }

    fn security_event(&self, fold: &Fold, event: &Waiting) -> SecurityEvent {
        SecurityEvent {
            id: self.ids().uuid().to_string(),
            org: fold.org.clone(),
            fold_key: fold.key(),
            kind: fold.kind,
            agent: fold.agent.clone(),
            source: event.source.map(|source| source.to_string()),
            detail: event.detail.to_string(),
            first_at: event.first_at,
            last_at: event.last_at,
            times: event.times,
        }
    }

    /// Writes what waits. What cannot be written waits on. Returns how many rows.
    pub async fn flush_security(&self) -> AppResult<usize> {
        let batch = std::mem::take(&mut *self.security().lock());
        if batch.is_empty() {
            return Ok(0);
        }
        let written = self.write_security(&batch).await;
        if written.is_err() {
            for (fold, event) in batch {
                self.security().put(fold, event);
            }
        }
        written
    }

    async fn write_security(&self, batch: &BTreeMap<Fold, Waiting>) -> AppResult<usize> {
        // In the order of their keys, so that two servers never wait for each other.
        let mut events: Vec<SecurityEvent> =
            batch.iter().map(|(fold, event)| self.security_event(fold, event)).collect();
        events.sort_by(|a, b| (&a.org, &a.fold_key).cmp(&(&b.org, &b.fold_key)));
        let mut tx = self.store().write("security.flush").await?;
        for event in &events {
            tx.security().record(event).await?;
        }
        tx.commit().await?;
        Ok(events.len())
    }

    /// The security events of the caller's organisation, the last seen first.
    pub async fn list_security_events(
        &self,
        caller: &Caller,
        query: SecurityQuery,
        page: &PageQuery,
    ) -> AppResult<Page<SecurityRow>> {
        let org = Self::own_org(caller, Permission::SecurityRead)?;
        let kind = query.kind.as_deref().map(|kind| {
            SecurityKind::parse(kind).ok_or_else(|| AppError::field("kind", "is unknown"))
        });
        let agent = query
            .agent_id
            .as_deref()
            .map(|id| id.parse().map_err(|error| AppError::field("agent_id", error)));
        let filter = SecurityFilter {
            kind: kind.transpose()?,
            agent: agent.transpose()?,
            since: query.since,
        };
        let request = page.request()?;
        // What this process has seen is shown at once.
        self.flush_security().await?;
        let mut reader = self.store().read("security.list").await?;
        Ok(reader.security().list(org, &filter, &request).await?)
    }

    /// Removes what is too old or too much. Returns how many rows.
    pub(crate) async fn purge_security(&self) -> AppResult<u64> {
        let before = self.now().minus(SECURITY_EVENT_LIFE);
        let mut tx = self.store().write("security.purge").await?;
        let gone = tx.security().purge(before, SECURITY_EVENTS_MAX).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(kind: SecurityKind, source: &str) -> Sighting {
        let origin = Origin { source: source.parse().ok(), trace_id: None };
        Sighting::anonymous(kind, &origin, json!({}))
    }

    #[test]
    fn repeats_are_one_event_and_many_sources_are_bounded() {
        let log = SecurityLog::default();
        let at = Timestamp::from_seconds;
        for second in 0..5 {
            log.note(sighting(SecurityKind::BruteForce, "192.0.2.1"), at(second));
        }
        let only: Vec<_> = log.lock().values().cloned().collect();
        assert_eq!((only.len(), only[0].times), (1, 5));
        assert_eq!((only[0].first_at, only[0].last_at), (at(0), at(4)));
        log.note(sighting(SecurityKind::BruteForce, "192.0.2.1"), at(3_600));
        assert_eq!(log.lock().len(), 2, "the next hour is news");
        for n in 0..20_000u32 {
            let source = format!("10.{}.{}.1", n / 250, n % 250);
            log.note(sighting(SecurityKind::BareKey, &source), at(0));
        }
        let waiting = log.lock();
        assert_eq!(waiting.len(), SECURITY_EVENTS_WAITING_MAX + 1);
        assert_eq!(waiting.values().map(|event| event.times).sum::<u64>(), 20_006);
        let counts: BTreeMap<_, _> = log.counts().collect();
        assert_eq!(counts[&SecurityKind::BareKey], 20_000);
    }
}
