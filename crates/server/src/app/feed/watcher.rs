//! One who watches: what of the feed it may see, from where, and until when.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use argosy_domain::{
    access::{Caller, Decision, Permission, Target, decide},
    id::OrgId,
    time::Timestamp,
};
use argosy_store::{PageRequest, SecurityFilter};
use argosy_wire::problem::Code;
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    AgentChange, FeedEvent, FeedItem, FeedKind, Said, WATCHERS_MAX, WATCHERS_PER_CALLER_MAX,
    WATCHERS_PER_ORG_MAX, reader::LOOK_BACK,
};
use crate::app::{
    App,
    error::{AppError, AppResult},
};

/// A watcher may go on from what it saw this long ago at most.
const RESUME_WITHIN: Duration = Duration::from_secs(3_600);
/// Events of each sort that a watcher is told when it goes on.
const RESUME_MAX: u32 = 500;
/// How often a credential is looked at that nobody said has changed: it may have expired.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(5);
/// How long the reader may take to know what there is.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A place among the watchers.
struct Seat {
    app: App,
    org: OrgId,
    caller: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut watched = self.app.feed().lock();
        watched.watchers -= 1;
        if let Some(count) = watched.orgs.get_mut(&self.org) {
            *count -= 1;
            if *count == 0 {
                watched.orgs.remove(&self.org);
            }
        }
        if let Some(count) = watched.callers.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                watched.callers.remove(&self.caller);
            }
        }
    }
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Something happened.
    Item(Arc<FeedItem>),
    /// Something may have been missed: read the lists anew.
    Reset,
}

/// One who watches. Ends when its credential does.
pub struct FeedWatcher {
    seat: Seat,
    caller: Caller,
    kinds: BTreeSet<FeedKind>,
    backlog: VecDeque<Told>,
    items: broadcast::Receiver<Said>,
    keys: watch::Receiver<u64>,
    look_again_at: Instant,
}

impl App {
    /// Begins to watch: what the caller may see of the kinds that are asked for (all, where none
    /// is), from now on, or from the time that an earlier watcher was told last.
    pub async fn watch_feed(
        &self,
        caller: Caller,
        kinds: Option<&str>,
        after: Option<&str>,
    ) -> AppResult<FeedWatcher> {
        let org = Self::own_org(&caller, Permission::EventsRead)?.clone();
        let mut kinds = chosen(kinds)?;
        let may = |kind: &FeedKind| {
            let target = Target { org: &org, agent: None };
            decide(&caller, kind.permission(), target) == Decision::Allow
        };
        kinds.retain(may);
        let seat = self.take_seat(&org, caller.actor())?;
        let (items, keys) = (self.feed().items.subscribe(), self.authorities().keys());
        let ready = timeout(READY_WITHIN, self.feed_knows(&org)).await;
        ready.map_err(|_| AppError::new(Code::Unavailable))?;
        let look_again_at = Instant::now() + LOOK_AGAIN_EVERY;
        let backlog = VecDeque::new();
        let mut watcher = FeedWatcher { seat, caller, kinds, backlog, items, keys, look_again_at };
        if let Some(after) = after {
            watcher.catch_up(after).await?;
        }
        Ok(watcher)
    }

    fn take_seat(&self, org: &OrgId, caller: String) -> AppResult<Seat> {
        let mut watched = self.feed().lock();
        let own = watched.callers.get(&caller).copied().unwrap_or_default();
        let of_org = watched.orgs.get(org).copied().unwrap_or_default();
        let full = watched.watchers >= WATCHERS_MAX || of_org >= WATCHERS_PER_ORG_MAX;
        if full || own >= WATCHERS_PER_CALLER_MAX {
            return Err(AppError::rate_limited(10));
        }
        watched.watchers += 1;
        *watched.orgs.entry(org.clone()).or_default() += 1;
        *watched.callers.entry(caller.clone()).or_default() += 1;
        drop(watched);
        self.feed().wanted.notify_one();
        Ok(Seat { app: self.clone(), org: org.clone(), caller })
    }

    async fn feed_knows(&self, org: &OrgId) {
        loop {
            let known = self.feed().is_ready.notified();
            tokio::pin!(known);
            known.as_mut().enable();
            if self.feed().lock().ready.contains(org) {
                return;
            }
            known.await;
        }
    }

    /// Whether a caller is still who it was when it was authenticated.
    pub(crate) async fn still_stands(&self, caller: &Caller) -> AppResult<bool> {
        self.sight().clear().await?;
        if let Some(org) = caller.org()
            && !self.lets_in(org).await?
        {
            return Ok(false);
        }
        match caller {
            Caller::Server => Ok(true),
            Caller::Agent { agent, .. } => Ok(self.standing(agent).await?.is_some()),
            Caller::Key { key, scopes, .. } => {
                let found = self.store().read("authn.again").await?.api_keys().find(key).await?;
                let now = self.now();
                let alive = |at: Option<Timestamp>| at.is_none_or(|at| now < at);
                let Some(key) =
                    found.filter(|key| key.revoked_at.is_none() && alive(key.expires_at))
                else {
                    return Ok(false);
                };
                // Whose role is smaller now, or who is gone, took it along.
                let now_is = self.caller_of_operator_key(key).await;
                Ok(now_is.is_ok_and(|caller| caller.scopes() == *scopes))
            }
            Caller::User { session, .. } => self.session_stands(session).await,
        }
    }
}

fn chosen(kinds: Option<&str>) -> AppResult<BTreeSet<FeedKind>> {
    let Some(names) = kinds.filter(|names| !names.is_empty()) else {
        return Ok(FeedKind::ALL.into());
    };
    let kind = |name: &str| FeedKind::ALL.into_iter().find(|kind| kind.as_str() == name.trim());
    let chosen: Option<_> = names.split(',').map(kind).collect();
    chosen.ok_or_else(|| AppError::field("kinds", "must be of agent, command, security, sync"))
}

impl FeedWatcher {
    /// What is told next; none when it is over: the credential ended, the server is blind or
    /// shuts down. Who fell behind reads the lists anew.
    pub async fn next(&mut self) -> Option<Told> {
        let app = self.seat.app.clone();
        loop {
            if let Some(told) = self.backlog.pop_front() {
                return Some(told);
            }
            tokio::select! {
                biased;
                () = app.feed().closing.cancelled() => return None,
                changed = self.keys.changed() => {
                    if changed.is_err() || !self.stands(&app).await {
                        return None;
                    }
                }
                () = sleep_until(self.look_again_at) => {
                    self.look_again_at = Instant::now() + LOOK_AGAIN_EVERY;
                    if !self.stands(&app).await {
                        return None;
                    }
                }
                item = self.items.recv() => match item {
                    Ok(Said::Reset(org)) if org == self.seat.org => return Some(Told::Reset),
                    Ok(Said::Reset(_)) => {}
                    Ok(Said::Item(item)) if item.org != self.seat.org => {}
                    Ok(Said::Item(item)) if !self.kinds.contains(&item.event.kind()) => {}
                    Ok(Said::Item(item)) => {
                        if app.sight().clear().await.is_err() {
                            return None;
                        }
                        // Who was revoked meanwhile hears of that first.
                        let changed = self.keys.has_changed().unwrap_or(true);
                        if changed && !self.stands(&app).await {
                            return None;
                        }
                        return Some(Told::Item(item));
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => return Some(Told::Reset),
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        }
    }

    async fn stands(&mut self, app: &App) -> bool {
        self.keys.mark_unchanged();
        app.still_stands(&self.caller).await.unwrap_or(false)
    }

    /// What happened since an earlier watcher was told last.
    async fn catch_up(&mut self, after: &str) -> AppResult<()> {
        let app = self.seat.app.clone();
        let now = app.now();
        let since = after.parse().ok().map(Timestamp::from_micros);
        let Some(since) = since.filter(|since| *since >= now.minus(RESUME_WITHIN)) else {
            self.backlog.push_back(Told::Reset);
            return Ok(());
        };
        // What was committed late carries an earlier time.
        let since = since.minus(LOOK_BACK);
        let org = self.seat.org.clone();
        let mut reader = app.store().read("feed.resume").await?;
        let commands = reader.feed().commands(&org, since, RESUME_MAX).await?;
        let filter = SecurityFilter { since: Some(since), ..SecurityFilter::default() };
        let events = reader.security().list(&org, &filter, &PageRequest::first(RESUME_MAX)).await?;
        let agents = reader.feed().changed_agents(&org, since, RESUME_MAX).await?;
        let syncs = reader.feed().syncs(&org, since, RESUME_MAX).await?;
        drop(reader);
        let all = usize::try_from(RESUME_MAX).unwrap_or(usize::MAX);
        let full = [commands.len(), agents.len(), syncs.len()].into_iter().any(|n| n >= all);
        if full || events.next.is_some() {
            self.backlog.push_back(Told::Reset);
        }
        let mut items: Vec<FeedItem> = Vec::new();
        let mut add = |at, event| items.push(FeedItem { org: org.clone(), at, event });
        for command in commands {
            add(command.at, FeedEvent::Command(command));
        }
        for sync in syncs {
            add(sync.at, FeedEvent::Sync(sync));
        }
        for event in events.items {
            add(event.last_at, FeedEvent::Security(event));
        }
        for agent in agents {
            add(agent.status_at, FeedEvent::Agent(AgentChange::of(now, agent, vec!["status"])));
        }
        items.retain(|item| self.kinds.contains(&item.event.kind()));
        items.sort_by_key(|item| item.at);
        self.backlog.extend(items.into_iter().map(|item| Told::Item(Arc::new(item))));
        Ok(())
    }
}
