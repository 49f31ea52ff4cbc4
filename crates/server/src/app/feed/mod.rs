//! What changes, told to those who watch: security events, agents, commands, runs of discovery.
//!
//! One reader per process looks at the store twice a second, and at once when somebody decided about
//! an agent, for the organisations that somebody watches, and tells what is new. So nothing is written for watchers, what other servers change is
//! seen too, and nobody watching costs nothing. *Invariant:* a watcher who does not read costs a
//! bounded amount of memory, and only until it is cut off.

mod reader;
mod watcher;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use argosy_domain::{
    access::Permission,
    agent::Health,
    id::{AgentId, OrgId},
    time::Timestamp,
};
use argosy_store::{AgentNow, CommandNow, SecurityRow, SyncNow};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

pub use self::watcher::{FeedWatcher, Told};

/// Watchers of one server at most.
pub const WATCHERS_MAX: usize = 200;
/// Watchers of one caller at most, on one server.
pub const WATCHERS_PER_CALLER_MAX: usize = 20;
/// Watchers of one organisation at most, on one server.
pub const WATCHERS_PER_ORG_MAX: usize = 100;
/// Events that a watcher may fall behind; then it is told to read the lists anew.
const BEHIND_MAX: usize = 4_096;
/// Events of one organisation that are told at once; more than that are one `reset`.
const AT_ONCE_MAX: usize = 2_000;
/// How often the store is read.
const READ_EVERY: Duration = Duration::from_millis(500);

/// How long a decision about an agent waits for others that are told with it.
const GATHER: Duration = Duration::from_millis(100);

/// A kind of event, as watchers choose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FeedKind {
    /// An agent changed.
    Agent,
    /// The state of a command changed.
    Command,
    /// A security event.
    Security,
    /// A run of discovery went on.
    Sync,
}

impl FeedKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Command, Self::Security, Self::Sync];

    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Command => "command",
            Self::Security => "security",
            Self::Sync => "sync",
        }
    }

    /// Who may see it.
    pub fn permission(self) -> Permission {
        match self {
            Self::Agent => Permission::AgentsRead,
            Self::Command => Permission::CommandsRead,
            Self::Security => Permission::SecurityRead,
            Self::Sync => Permission::DiscoveryRead,
        }
    }
}

/// An agent that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentChange {
    /// Which.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// Where it stands now; `deleted` when it is gone.
    pub status: &'static str,
    /// How it is.
    pub health: &'static str,
    /// Whether a stream of it is open.
    pub connected: bool,
    /// What changed: `registered`, `status`, `health`, `connected`, `name`, `deleted`.
    pub changed: Vec<&'static str>,
}

impl AgentChange {
    fn of(now: Timestamp, agent: AgentNow, changed: Vec<&'static str>) -> Self {
        Self {
            id: agent.id,
            name: agent.name,
            status: agent.status.as_str(),
            health: Health::at(now, agent.last_seen).as_str(),
            connected: agent.connected,
            changed,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedEvent {
    /// An agent changed.
    Agent(AgentChange),
    /// A command came into this state.
    Command(CommandNow),
    /// A security event, new or seen again.
    Security(SecurityRow),
    /// A run of discovery is this far.
    Sync(SyncNow),
}

impl FeedEvent {
    /// Its kind.
    pub fn kind(&self) -> FeedKind {
        match self {
            Self::Agent(_) => FeedKind::Agent,
            Self::Command(_) => FeedKind::Command,
            Self::Security(_) => FeedKind::Security,
            Self::Sync(_) => FeedKind::Sync,
        }
    }
}

/// What happened, where and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedItem {
    /// In which organisation.
    pub org: OrgId,
    /// When. Watchers name it to go on from there.
    pub at: Timestamp,
    /// What.
    pub event: FeedEvent,
}

/// What the reader says to every watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// Something happened.
    Item(Arc<FeedItem>),
    /// More happened in this organisation than can be told.
    Reset(OrgId),
}

/// What is new in an organisation.
#[derive(Debug, Default)]
struct News {
    items: Vec<FeedItem>,
    /// Whether there may be more than was read.
    incomplete: bool,
}

#[derive(Default)]
struct Watched {
    orgs: BTreeMap<OrgId, usize>,
    callers: BTreeMap<String, usize>,
    watchers: usize,
    /// Organisations whose present state the reader knows.
    ready: BTreeSet<OrgId>,
}

/// Who watches, and what they are told.
pub struct Feed {
    watched: Mutex<Watched>,
    items: broadcast::Sender<Said>,
    wanted: Notify,
    is_ready: Notify,
    /// Somebody decided about an agent.
    decided: Notify,
    closing: CancellationToken,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            watched: Mutex::default(),
            items: broadcast::Sender::new(BEHIND_MAX),
            wanted: Notify::new(),
            is_ready: Notify::new(),
            decided: Notify::new(),
            closing: CancellationToken::new(),
        }
    }
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watchers.
    pub fn len(&self) -> usize {
        self.lock().watchers
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every watcher, because the server shuts down.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// The organisations that are watched. Of others the reader knows nothing any more.
    fn begin_pass(&self) -> Vec<OrgId> {
        let mut watched = self.lock();
        let Watched { orgs, ready, .. } = &mut *watched;
        ready.retain(|org| orgs.contains_key(org));
        orgs.keys().cloned().collect()
    }

    /// Tells the watchers of an organisation what is new, or that it is too much to tell.
    fn say(&self, org: &OrgId, news: News) {
        let too_many = news.items.len() > AT_ONCE_MAX;
        // Nobody may be listening any more.
        if too_many || news.incomplete {
            let _ = self.items.send(Said::Reset(org.clone()));
        }
        if !too_many {
            for item in news.items {
                let _ = self.items.send(Said::Item(Arc::new(item)));
            }
        }
    }

    /// The reader knows the present state of an organisation.
    /// An agent was decided about: it is looked at soon.
    pub(super) fn agents_changed(&self) {
        self.decided.notify_one();
    }

    fn knows(&self, org: &OrgId) {
        if self.lock().ready.insert(org.clone()) {
            self.is_ready.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(count: usize, incomplete: bool) -> News {
        let org: OrgId = "o".parse().unwrap();
        let change = AgentChange {
            id: "a".parse().unwrap(),
            name: "a".into(),
            status: "approved",
            health: "online",
            connected: true,
            changed: vec!["status"],
        };
        let (at, event) = (Timestamp::from_seconds(1), FeedEvent::Agent(change));
        News { items: vec![FeedItem { org, at, event }; count], incomplete }
    }

    #[test]
    fn what_is_too_much_to_tell_is_one_reset_and_no_other_organisation_falls_behind() {
        let feed = Feed::default();
        let mut heard = feed.items.subscribe();
        let org: OrgId = "o".parse().unwrap();
        feed.say(&org, news(AT_ONCE_MAX + 1, false));
        assert_eq!(heard.try_recv(), Ok(Said::Reset(org.clone())));
        assert!(heard.is_empty());
        feed.say(&org, news(1, true));
        assert_eq!(heard.try_recv(), Ok(Said::Reset(org.clone())));
        assert!(matches!(heard.try_recv(), Ok(Said::Item(_))));
        feed.say(&org, news(AT_ONCE_MAX, false));
        assert_eq!(heard.len(), AT_ONCE_MAX);
    }
}
