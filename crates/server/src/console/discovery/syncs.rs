//! Sync history: the runs, and one with what became of each region.

use argosy_domain::{
    access::Permission,
    discovery::{RegionOutcome, SyncSource, SyncStatus},
    id::{AgentId, SyncJobId},
};
use askama::Template;

use super::{HERE, SYNCS, brought, sync_status};
use crate::{
    app::{App, discovery::SyncQuery, paging::cursor_text, records::SyncJobRecord},
    console::{
        agents::{account_name, accounts_of, or_any},
        answer::{Shown, page},
        fields::{Fields, relink},
        frame::Frame,
        show::{self, Badge, Chip, Fact, When, when},
        visit::{Id, Visit},
    },
};

/// What the address may hold beside the cursor.
const FILTERS: [&str; 3] = ["account", "agent", "status"];
/// Regions on the page of a run; failed ones come first.
const REGIONS_MAX: usize = 500;

/// A run in the list.
struct Row {
    id: String,
    begun: When,
    status: Badge,
    account: String,
    agent: String,
    agent_name: String,
    source: &'static str,
    by: String,
    scope: String,
    brought: String,
    took: String,
}

#[derive(Template)]
#[template(path = "syncs.html")]
struct SyncsPage {
    frame: Frame,
    rows: Vec<Row>,
    accounts: Vec<(String, String)>,
    statuses: Vec<(String, String)>,
    account: String,
    agent: String,
    status: String,
    chips: Vec<Chip>,
    may_sync: bool,
    shown: String,
    next: String,
    first: String,
}

/// Who had it begin, in words.
fn source(source: SyncSource) -> &'static str {
    match source {
        SyncSource::Schedule => "by schedule",
        SyncSource::Hint => "by a heartbeat's answer",
        SyncSource::Command => "by command",
        SyncSource::Console => "from the console",
        SyncSource::Api => "from the API",
    }
}

/// The regions in short: how many, or which one, and how many of them failed.
fn scope(outcomes: &[RegionOutcome]) -> String {
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    let what = match outcomes {
        [] => return String::new(),
        [one] if one.region.is_empty() => one.provider.clone(),
        [one] => format!("{} {}", one.provider, one.region),
        many => show::several(many.len() as u64, "region", "regions"),
    };
    match failed {
        0 => what,
        all if all == outcomes.len() => format!("{what}, failed"),
        some => format!("{what}, {some} failed"),
    }
}

fn took(job: &SyncJobRecord) -> String {
    let ends = job.begun_at.zip(job.finished_at);
    ends.map(|(begun, ended)| show::span(ended.since(begun).as_secs())).unwrap_or_default()
}

/// The name of an agent; its id where it has none any more.
async fn agent_name(visit: &Visit, id: &AgentId) -> String {
    let known = visit.app.show_agent(&visit.caller, id).await;
    known.map_or_else(|_| id.to_string(), |snapshot| snapshot.view.agent.name)
}

fn row(app: &App, job: &SyncJobRecord, accounts: &[(String, String)]) -> Row {
    Row {
        id: job.id.to_string(),
        begun: when(job.created_at, app.now()),
        status: sync_status(job.status),
        account: account_name(accounts, &job.account.0.to_string()),
        agent: job.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
        agent_name: String::new(),
        source: source(job.source),
        by: job.asked_by.clone(),
        scope: scope(&job.outcomes),
        brought: brought(job),
        took: took(job),
    }
}

fn chips(query: &Fields, accounts: &[(String, String)], agent: &str) -> Vec<Chip> {
    let chip = |name: &'static str| {
        let value = query.given(name)?;
        let words = match name {
            "account" => format!("account: {}", account_name(accounts, value)),
            "agent" => format!("agent: {agent}"),
            _ => format!("{name}: {value}"),
        };
        Some(Chip { words, without: relink(SYNCS, &FILTERS, query, &[(name, None)]) })
    };
    FILTERS.into_iter().filter_map(chip).collect()
}

/// The runs, newest first.
pub(in crate::console) async fn list(visit: Visit) -> Shown {
    let query = &visit.query;
    let wanted = SyncQuery {
        account: query.given("account").and_then(|text| text.parse().ok()),
        agent: query.owned("agent"),
        status: query.owned("status"),
    };
    let listed = visit.app.list_syncs(&visit.caller, &wanted, &visit.paging()).await?;
    let accounts = accounts_of(&visit).await;
    let mut names = std::collections::HashMap::new();
    let mut rows = Vec::new();
    for job in &listed.items {
        let mut row = row(&visit.app, job, &accounts);
        if let Some(agent) = &job.agent {
            if !names.contains_key(agent) {
                names.insert(agent, agent_name(&visit, agent).await);
            }
            row.agent_name = names.get(agent).cloned().unwrap_or_default();
        }
        rows.push(row);
    }
    let of = match query.given("agent").map(str::parse::<AgentId>) {
        Some(Ok(agent)) => agent_name(&visit, &agent).await,
        Some(Err(_)) | None => String::new(),
    };
    let cursor = listed.next.as_ref().map(cursor_text);
    let text = |name: &str| query.given(name).unwrap_or_default().to_owned();
    let statuses = SyncStatus::ALL.map(|status| (status.as_str().into(), status.as_str().into()));
    let onward = |at: &str| relink(SYNCS, &FILTERS, query, &[("cursor", Some(at))]);
    page(&SyncsPage {
        frame: visit.frame("Sync history", HERE).await,
        chips: chips(query, &accounts, &of),
        accounts: or_any("Any account", accounts),
        statuses: or_any("Any status", statuses.to_vec()),
        account: text("account"),
        agent: text("agent"),
        status: text("status"),
        may_sync: visit.may(Permission::DiscoverySync),
        shown: show::several(rows.len() as u64, "run", "runs"),
        next: cursor.as_deref().map(onward).unwrap_or_default(),
        first: match query.has("cursor") {
            true => relink(SYNCS, &FILTERS, query, &[]),
            false => String::new(),
        },
        rows,
    })
}

/// What became of a region.
struct Region {
    place: String,
    account: String,
    outcome: Badge,
    error: String,
    call: String,
    permission: String,
}

#[derive(Template)]
#[template(path = "sync.html")]
struct SyncPage {
    frame: Frame,
    id: String,
    title: String,
    status: Badge,
    open: bool,
    /// What it waits for, in words.
    waits: &'static str,
    error: String,
    agent: String,
    agent_name: String,
    facts: Vec<Fact>,
    regions: Vec<Region>,
    /// Regions that are not shown.
    more: String,
}

fn region(outcome: &RegionOutcome, accounts: &[(String, String)]) -> Region {
    let failure = outcome.failure.as_ref();
    Region {
        place: format!("{} {}", outcome.provider, outcome.region).trim_end().to_owned(),
        account: account_name(accounts, &outcome.account.0.to_string()),
        outcome: match failure {
            None => Badge::new("ok", "read whole"),
            Some(_) => Badge::new("bad", "failed"),
        },
        error: failure.map(|why| why.error.clone()).unwrap_or_default(),
        call: failure.and_then(|why| why.call.clone()).unwrap_or_default(),
        permission: failure.and_then(|why| why.permission.clone()).unwrap_or_default(),
    }
}

fn facts(job: &SyncJobRecord, account: String) -> Vec<Fact> {
    let by = if job.asked_by.is_empty() { String::new() } else { format!(", {}", job.asked_by) };
    let mut facts = vec![
        Fact::text("Account", account),
        Fact::text(
            "Asked for",
            format!("{} {}{by}", show::exact(job.created_at), source(job.source)),
        ),
    ];
    let times =
        [("Begun", job.begun_at), ("Last heard of", job.heard_at), ("Ended", job.finished_at)];
    let times = times.into_iter().filter_map(|(name, at)| Some((name, at?)));
    facts.extend(times.map(|(name, at)| Fact::text(name, show::exact(at))));
    let took = took(job);
    if !took.is_empty() {
        facts.push(Fact::text("Took", took));
    }
    facts.push(Fact::text("Chunks", show::count(u64::from(job.chunks))));
    let counts = [
        ("Found", job.counts.found()),
        ("New", job.counts.created),
        ("Changed", job.counts.updated),
        ("Gone", job.stale),
    ];
    facts.extend(counts.map(|(name, n)| Fact::text(name, show::count(n))));
    facts
}

/// One run.
pub(in crate::console) async fn show(visit: Visit, Id(id): Id<SyncJobId>) -> Shown {
    let mut job = visit.app.show_sync(&visit.caller, &id).await?;
    let accounts = accounts_of(&visit).await;
    let account = account_name(&accounts, &job.account.0.to_string());
    let agent_name = match &job.agent {
        Some(agent) => agent_name(&visit, agent).await,
        None => String::new(),
    };
    job.outcomes.sort_by_key(|outcome| outcome.failure.is_none());
    let hidden = job.outcomes.len().saturating_sub(REGIONS_MAX) as u64;
    let regions = job.outcomes.iter().take(REGIONS_MAX);
    let title = format!("Run of {}", show::exact(job.created_at));
    page(&SyncPage {
        frame: visit.frame(&title, HERE).await,
        id: id.to_string(),
        status: sync_status(job.status),
        open: job.finished_at.is_none(),
        waits: match (job.status, &job.agent) {
            (SyncStatus::Pending, None) => "It waits for any agent of the account.",
            (SyncStatus::Pending, Some(_)) => {
                "It waits for its agent, which hears of it by command or with its next heartbeat."
            }
            (SyncStatus::Running, _) => "It is under way; this page follows it.",
            (SyncStatus::Completed | SyncStatus::Partial | SyncStatus::Failed, _) => "",
        },
        error: job.error.clone().unwrap_or_default(),
        agent: job.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
        agent_name,
        facts: facts(&job, account),
        regions: regions.map(|outcome| region(outcome, &accounts)).collect(),
        more: match hidden {
            0 => String::new(),
            n => show::several(n, "more region was read whole.", "more regions were read whole."),
        },
        title,
    })
}

#[cfg(test)]
mod tests {
    use argosy_domain::{discovery::RegionFailure, id::AccountId};

    use super::*;

    #[test]
    fn a_scope_is_told_in_short_with_what_failed() {
        let outcome = |region: &str, failed: bool| RegionOutcome {
            account: AccountId(1),
            provider: "aws".to_owned(),
            region: region.to_owned(),
            failure: failed.then(|| RegionFailure {
                error: "denied".to_owned(),
                call: None,
                permission: None,
            }),
        };
        assert_eq!(scope(&[]), "");
        assert_eq!(scope(&[outcome("", false)]), "aws");
        assert_eq!(scope(&[outcome("eu", true)]), "aws eu, failed");
        assert_eq!(scope(&[outcome("eu", true), outcome("us", false)]), "2 regions, 1 failed");
    }
}
