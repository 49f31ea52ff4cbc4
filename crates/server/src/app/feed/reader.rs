//! The one reader of a process: compares what the store has with what was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use argosy_domain::{
    id::{AgentId, OrgId},
    time::Timestamp,
};
use argosy_store::{AgentNow, PageRequest, SecurityFilter};
use tokio::time::sleep;

use super::{AgentChange, FeedEvent, FeedItem, GATHER, News, READ_EVERY};
use crate::app::{App, error::AppResult};

/// How far back each reading looks: for what was committed late, and for clocks of other servers.
pub(super) const LOOK_BACK: Duration = Duration::from_secs(5);
/// Rows of each sort that one reading takes.
const ROWS_MAX: u32 = 5_000;
/// Agents of an organisation that are watched.
const AGENTS_MAX: u32 = 100_000;

/// Agents are compared in each second pass, and when one was decided about: that reads every row.
const AGENTS_EVERY: u64 = 2;

/// What was told of an organisation.
#[derive(Default)]
struct Known {
    passes: u64,
    agents: BTreeMap<AgentId, AgentChange>,
    told: BTreeSet<(Timestamp, String)>,
}

impl Known {
    /// Whether this is new; what is older than `since` is forgotten.
    fn is_news(&mut self, at: Timestamp, key: String) -> bool {
        self.told.insert((at, key))
    }

    fn forget_before(&mut self, since: Timestamp) {
        self.told.retain(|(at, _)| *at >= since);
    }

    /// The agents that differ from what is known.
    fn compare(&mut self, now: Timestamp, agents: Vec<AgentNow>) -> Vec<AgentChange> {
        let mut changes = Vec::new();
        let mut before = std::mem::take(&mut self.agents);
        for agent in agents {
            let mut shown = AgentChange::of(now, agent, Vec::new());
            let changed = match before.remove(&shown.id) {
                None => vec!["registered"],
                Some(earlier) => differences(&earlier, &shown),
            };
            self.agents.insert(shown.id.clone(), shown.clone());
            if !changed.is_empty() {
                shown.changed = changed;
                changes.push(shown);
            }
        }
        changes.extend(before.into_values().filter(|gone| is_live(gone.status)).map(|gone| {
            AgentChange { status: "deleted", changed: vec!["deleted"], connected: false, ..gone }
        }));
        changes
    }
}

/// Agents that left are looked at for a while only, so to miss them then says nothing.
fn is_live(status: &str) -> bool {
    ["pending", "approved", "quarantined"].contains(&status)
}

fn differences(earlier: &AgentChange, now: &AgentChange) -> Vec<&'static str> {
    let fields = [
        ("status", earlier.status != now.status),
        ("health", earlier.health != now.health),
        ("connected", earlier.connected != now.connected),
        ("name", earlier.name != now.name),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

impl App {
    /// Reads and tells, for as long as it is polled.
    pub(crate) async fn run_feed(&self) {
        let mut known = BTreeMap::<OrgId, Known>::new();
        let mut decided = false;
        loop {
            let orgs = self.feed().begin_pass();
            known.retain(|org, _| orgs.contains(org));
            for org in &orgs {
                let known = known.entry(org.clone()).or_default();
                let with_agents = decided || known.passes.is_multiple_of(AGENTS_EVERY);
                match self.read_changes(org, known, with_agents).await {
                    Ok(news) => self.tell(org, known, news),
                    Err(error) => tracing::debug!(%error, "the feed could not be read"),
                }
            }
            decided = false;
            if orgs.is_empty() {
                self.feed().wanted.notified().await;
                continue;
            }
            tokio::select! {
                () = sleep(READ_EVERY) => {}
                () = self.feed().wanted.notified() => {}
                () = self.feed().decided.notified() => {
                    decided = true;
                    sleep(GATHER).await;
                }
            }
        }
    }

    /// Tells what is new. The first reading only says what there is.
    fn tell(&self, org: &OrgId, known: &mut Known, news: News) {
        if known.passes > 0 {
            self.feed().say(org, news);
        }
        known.passes += 1;
        self.feed().knows(org);
    }

    async fn read_changes(
        &self,
        org: &OrgId,
        known: &mut Known,
        with_agents: bool,
    ) -> AppResult<News> {
        let now = self.now();
        let since = now.minus(LOOK_BACK);
        let mut reader = self.store().read("feed").await?;
        let agents = match with_agents {
            true => Some(reader.feed().agents(org, since, AGENTS_MAX).await?),
            false => None,
        };
        let commands = reader.feed().commands(org, since, ROWS_MAX).await?;
        let syncs = reader.feed().syncs(org, since, ROWS_MAX).await?;
        let filter = SecurityFilter { since: Some(since), ..SecurityFilter::default() };
        let events = reader.security().list(org, &filter, &PageRequest::first(ROWS_MAX)).await?;
        drop(reader);
        let all = usize::try_from(ROWS_MAX).unwrap_or(usize::MAX);
        let incomplete = commands.len() >= all || syncs.len() >= all || events.next.is_some();
        known.forget_before(since);
        let item = |at, event| FeedItem { org: org.clone(), at, event };
        let mut items = Vec::new();
        for change in agents.map(|agents| known.compare(now, agents)).unwrap_or_default() {
            items.push(item(now, FeedEvent::Agent(change)));
        }
        for command in commands {
            if known.is_news(command.at, format!("{} {}", command.id, command.state)) {
                items.push(item(command.at, FeedEvent::Command(command)));
            }
        }
        for sync in syncs {
            if known.is_news(sync.at, format!("{} {}", sync.id, sync.status.as_str())) {
                items.push(item(sync.at, FeedEvent::Sync(sync)));
            }
        }
        for event in events.items {
            if known.is_news(event.last_at, format!("{} {}", event.id, event.times)) {
                items.push(item(event.last_at, FeedEvent::Security(event)));
            }
        }
        items.sort_by_key(|item| item.at);
        Ok(News { items, incomplete })
    }
}

#[cfg(test)]
mod tests {
    use argosy_domain::agent::AgentStatus;

    use super::*;

    fn agent(name: &str, status: AgentStatus, connected: bool) -> AgentNow {
        let at = Timestamp::from_seconds(1);
        AgentNow {
            id: name.parse().unwrap(),
            name: name.to_owned(),
            status,
            status_at: at,
            last_seen: Some(at),
            connected,
        }
    }

    #[test]
    fn what_differs_is_told_and_nothing_else() {
        let mut known = Known::default();
        let at = Timestamp::from_seconds;
        let (approved, revoked) = (AgentStatus::Approved, AgentStatus::Revoked);
        let fields = |changes: Vec<AgentChange>| {
            changes.into_iter().map(|change| (change.id.to_string(), change.changed)).collect()
        };
        let first: Vec<_> = fields(known.compare(at(2), vec![agent("a", approved, false)]));
        assert_eq!(first, [("a".to_owned(), vec!["registered"])]);
        let same: Vec<(String, _)> =
            fields(known.compare(at(3), vec![agent("a", approved, false)]));
        assert!(same.is_empty());
        let two = vec![agent("a", revoked, true), agent("b", approved, false)];
        let both: Vec<_> = fields(known.compare(at(4), two));
        let expected =
            [("a".to_owned(), vec!["status", "connected"]), ("b".to_owned(), vec!["registered"])];
        assert_eq!(both, expected);
        let late: Vec<_> = fields(known.compare(at(4_000), vec![agent("b", approved, false)]));
        assert_eq!(late, [("b".to_owned(), vec!["health"])], "who left before is not deleted now");
        let gone: Vec<_> = fields(known.compare(at(4_000), Vec::new()));
        assert_eq!(gone, [("b".to_owned(), vec!["deleted"])]);
        assert!(known.is_news(at(9), "x".to_owned()) && !known.is_news(at(9), "x".to_owned()));
        known.forget_before(at(10));
        assert!(known.told.is_empty());
    }
}
