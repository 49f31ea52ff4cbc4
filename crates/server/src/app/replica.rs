//! This server among others on the same database: what it tells them, what it does for all.
//!
//! *Invariant:* a wake-up between servers carries no payload; whoever hears it reads what is due.
//! A lost one costs a second at most. What only one server does is safe if two do it: the lease
//! spares the work, conditional statements keep it right.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use argosy_domain::id::AgentId;
use tokio::{sync::Notify, time::Instant};

use super::{App, error::AppResult, streams::CloseReason};

/// What other servers say and did, for the task that hears and looks.
pub use argosy_store::{Listener, Watch};

/// How often a server says that it runs, and renews its lease.
pub const BEAT_EVERY: Duration = Duration::from_secs(2);
/// A server that was not heard of for this long is dead: its streams are nobody's.
pub const DEAD_AFTER: Duration = Duration::from_secs(15);
/// How long a lease lasts unless it is renewed.
pub const LEASE_LIFE: Duration = Duration::from_secs(10);
/// A server that has been blind for this long lets go of who is connected, where others run: they may see.
pub const LET_GO_AFTER: Duration = Duration::from_secs(10);
/// The lease of what one server does for all: sealing, expiring, purging.
const HOUSEKEEPING: &str = "housekeeping";
/// Commands older than this are not looked for again and again: their streams know of them.
const WAITING_SINCE: Duration = Duration::from_secs(60);

/// What a server knows of itself.
pub struct Replica {
    id: String,
    leads_until: Mutex<Option<Instant>>,
    /// Others ran when this server last said that it does.
    others: AtomicBool,
    let_go: Arc<Notify>,
    wake_streams: Notify,
    wake_others: Notify,
}

impl Replica {
    /// A server that has just started; `id` is its own for as long as it runs.
    pub fn new(id: String) -> Self {
        Self {
            id,
            leads_until: Mutex::new(None),
            others: AtomicBool::new(false),
            let_go: Arc::default(),
            wake_streams: Notify::new(),
            wake_others: Notify::new(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whoever accepts connections is notified when those that are open are to end, each after its request.
    pub fn let_go(&self) -> Arc<Notify> {
        Arc::clone(&self.let_go)
    }

    /// Returns when another server has said that there is something to read.
    pub(crate) async fn called(&self) {
        self.wake_streams.notified().await;
    }

    /// Returns when other servers are to be woken.
    pub(crate) async fn has_news(&self) {
        self.wake_others.notified().await;
    }
}

impl App {
    /// This server among others.
    pub fn replica(&self) -> &Replica {
        &self.inner.replica
    }

    /// Something may be due for an agent, wherever its stream is.
    pub(crate) fn wake_agent(&self, agent: &AgentId) {
        self.hub().wake(agent);
        if self.store().is_shared() && !self.hub().has(agent) {
            self.replica().wake_others.notify_one();
        }
    }

    /// Something may be due for streams of this server.
    pub(crate) fn wake_streams(&self) {
        self.replica().wake_streams.notify_one();
    }

    /// The eyes and ears of a server that shares its database.
    pub(crate) fn watch_others(&self) -> Option<(Watch, Listener)> {
        self.store().watch()
    }

    /// Tells other servers that there is something to read.
    pub(crate) async fn call_others(&self) -> AppResult<()> {
        Ok(self.store().wake_others().await?)
    }

    /// Wakes the streams of this server for which commands or configurations wait. Returns how many.
    pub(crate) async fn wake_waiting(&self) -> AppResult<usize> {
        let since = self.now().minus(WAITING_SINCE);
        let mut reader = self.store().read("replica.waiting").await?;
        let mut waiting = reader.commands().waiting_at(self.replica().id(), since).await?;
        waiting.extend(reader.configurations().waiting_at(self.replica().id(), since).await?);
        drop(reader);
        for agent in &waiting {
            self.hub().wake(agent);
        }
        Ok(waiting.len())
    }

    /// Says that this server runs, buries those that do not, and takes the lease of what one does
    /// for all, if it is free.
    pub(crate) async fn beat(&self) -> AppResult<()> {
        let began = Instant::now();
        let holder = self.replica().id();
        let mut tx = self.store().write("replica.beat").await?;
        let mut reopened = Vec::new();
        if !tx.replicas().beat(holder).await? {
            reopened = self.hub().recorded();
            tx.presence().reopen_streams(holder, &reopened).await?;
        }
        let lease = tx.replicas().lease(HOUSEKEEPING, holder, LEASE_LIFE).await?;
        if lease.is_some() {
            tx.replicas().bury(DEAD_AFTER).await?;
        }
        let running = tx.replicas().count_alive(DEAD_AFTER).await?;
        tx.commit().await?;
        self.replica().others.store(running > 1, Relaxed);
        let leads_until = lease.map(|_| began + LEASE_LIFE);
        *self.replica().leads_until.lock().unwrap_or_else(PoisonError::into_inner) = leads_until;
        self.close_ended(&reopened).await
    }

    /// Closes the streams that ended while they were opened anew; those that end later say so.
    async fn close_ended(&self, reopened: &[(AgentId, i64)]) -> AppResult<()> {
        if reopened.is_empty() {
            return Ok(());
        }
        tracing::warn!(streams = reopened.len(), "others took this server for dead");
        let open: BTreeMap<_, _> = self.hub().recorded().into_iter().collect();
        let ended: Vec<_> =
            reopened.iter().filter(|(agent, stream)| open.get(agent) != Some(stream)).collect();
        if ended.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let mut tx = self.store().write("replica.close_ended").await?;
        for (agent, stream) in ended {
            tx.presence().close_stream(agent, *stream, now).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Lets go of streams and connections where this server has been blind for long and others run: a
    /// balancer leads whoever comes again elsewhere. Answers whether it did.
    pub(crate) fn let_go_if_blind(&self) -> bool {
        let long = self.sight().blind_for().is_some_and(|blind| blind >= LET_GO_AFTER);
        if !long || !self.replica().others.load(Relaxed) {
            return false;
        }
        self.hub().close_all(CloseReason::Blind);
        self.replica().let_go.notify_one();
        true
    }

    /// Whether this server does what one does for all.
    pub(crate) fn leads(&self) -> bool {
        let until = *self.replica().leads_until.lock().unwrap_or_else(PoisonError::into_inner);
        !self.store().is_shared() || until.is_some_and(|until| Instant::now() < until)
    }

    /// After a start no stream is here yet; those of servers that are gone are nobody's.
    pub async fn forget_connections(&self) -> AppResult<()> {
        let mut tx = self.store().write("setup.presence").await?;
        if self.store().is_shared() {
            tx.replicas().beat(self.replica().id()).await?;
            tx.replicas().bury(DEAD_AFTER).await?;
        } else {
            tx.presence().clear_connected().await?;
        }
        Ok(tx.commit().await?)
    }

    /// Says goodbye to the other servers.
    pub(crate) async fn leave(&self) -> AppResult<()> {
        if !self.store().is_shared() {
            return Ok(());
        }
        let mut tx = self.store().write("replica.leave").await?;
        tx.replicas().leave(self.replica().id()).await?;
        Ok(tx.commit().await?)
    }
}
