//! The first page: what wants attention, then how the fleet is.

use askama::Template;

use super::{
    answer::{Shown, page},
    chart,
    commands::went_wrong,
    fields::link,
    frame::Frame,
    show::{self, several},
    visit::Visit,
};
use crate::app::overview::{Attention, CommandHour, Overview};

/// Something that somebody should look at.
struct Item {
    tone: &'static str,
    headline: String,
    detail: String,
    path: String,
    action: &'static str,
}

/// A number with a name, that leads somewhere.
struct Tile {
    name: &'static str,
    count: u64,
    tone: &'static str,
    path: &'static str,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    items: Vec<Item>,
    tiles: Vec<Tile>,
    agents: u64,
    silence: String,
    commands: String,
    has_commands: bool,
    may_enrol: bool,
}

fn item(
    tone: &'static str,
    (headline, detail): (String, impl Into<String>),
    (path, action): (String, &'static str),
) -> Item {
    Item { tone, headline, detail: detail.into(), path, action }
}

fn reviews(attention: &Attention) -> impl Iterator<Item = Item> {
    let named = attention.reviewed.iter().filter_map(|snapshot| {
        let agent = &snapshot.view.agent;
        let reason = agent.review.as_ref()?.reason;
        let headline = format!("{}: {}", agent.name, show::review(reason));
        let detail = match reason {
            argosy_domain::review::ReviewReason::Clone => {
                "Two bearers of one identity. It is quarantined until you decide."
            }
            argosy_domain::review::ReviewReason::MachineMismatch => {
                "Its identity was shown by a machine other than the enrolled one, which was refused."
            }
            argosy_domain::review::ReviewReason::Downgrade => {
                "It came back with an older version than it had, and is refused."
            }
        };
        let path = format!("/console/agents/{}", agent.id);
        Some(item("bad", (headline, detail), (path, "Look at it")))
    });
    let more = attention.under_review.saturating_sub(attention.reviewed.len() as u64);
    let more = (more > 0).then(|| {
        let headline = format!("{} under review", several(more, "more agent", "more agents"));
        item("bad", (headline, ""), ("/console/agents?review=1".to_owned(), "Show all"))
    });
    named.chain(more)
}

fn items(overview: &Overview) -> Vec<Item> {
    let attention = &overview.attention;
    let mut items = Vec::new();
    if attention.pending > 0 {
        let waits = several(attention.pending, "registration waits", "registrations wait");
        let detail = "Compare the fingerprint with the machine, then approve or reject.";
        let to = ("/console/approvals".to_owned(), "Decide");
        items.push(item("info", (format!("{waits} for approval"), detail), to));
    }
    items.extend(reviews(attention));
    if attention.failed_commands > 0 {
        let headline = several(attention.failed_commands, "command", "commands");
        let headline = format!("{headline} failed within 24 hours");
        let since = overview.commands.first().map(|hour| hour.from.to_string());
        let wrong = went_wrong();
        let pairs = [("state", Some(wrong.as_str())), ("since", since.as_deref())];
        let to = (link("/console/commands", pairs), "Show them");
        items.push(item("bad", (headline, "Failed, timed out, rejected, expired or lost."), to));
    }
    for breaker in &attention.open_breakers {
        let headline = format!("{}: breaker of {} is open", breaker.name, breaker.subsystem);
        let detail = "It failed three times in ten minutes and is tried again after thirty.";
        let to = (format!("/console/agents/{}", breaker.agent), "Look at it");
        items.push(item("warn", (headline, detail), to));
    }
    for (version, agents) in &attention.outdated {
        let headline = format!("{} with version {version}", several(*agents, "agent", "agents"));
        let path = link("/console/agents", [("version", Some(version.as_str()))]);
        let detail = "Older than the minimum version: heartbeats only, until it is newer.";
        items.push(item("warn", (headline, detail), (path, "Show them")));
    }
    if attention.ending_keys > 0 {
        let headline = several(attention.ending_keys, "API key ends", "API keys end");
        let headline = format!("{headline} within 14 days");
        let to = ("/console/keys".to_owned(), "Show keys");
        items.push(item("warn", (headline, "Make new ones before programs are shut out."), to));
    }
    items
}

fn tiles(overview: &Overview) -> Vec<Tile> {
    let status = |name: &str| overview.fleet.agents.get(name).copied().unwrap_or(0);
    let health = |name: &str| overview.fleet.health.get(name).copied().unwrap_or(0);
    let tile = |name, count, tone, path| Tile { name, count, tone, path };
    vec![
        tile("healthy", health("healthy"), "ok", "/console/agents?status=approved&health=healthy"),
        tile("stale", health("stale"), "warn", "/console/agents?status=approved&health=stale"),
        tile("offline", health("offline"), "bad", "/console/agents?status=approved&health=offline"),
        tile("connected now", overview.fleet.connected, "ok", "/console/agents?connected=yes"),
        tile("pending", status("pending"), "info", "/console/approvals"),
        tile("quarantined", status("quarantined"), "warn", "/console/agents?status=quarantined"),
        tile("open commands", overview.fleet.commands_open, "info", "/console/commands"),
    ]
}

fn silence_chart(overview: &Overview) -> String {
    const NAMES: [&str; 7] =
        ["< 1 min", "< 5 min", "< 15 min", "< 1 h", "< 1 day", "longer", "never"];
    const TONES: [&str; 7] = ["ok", "ok", "warn", "bad", "bad", "bad", "off"];
    let counts = NAMES.iter().zip(TONES).zip(overview.silence);
    let bars: Vec<chart::Bar> = counts
        .map(|((name, tone), count)| chart::Bar {
            label: (*name).to_owned(),
            parts: vec![(tone, count)],
        })
        .collect();
    let words: Vec<String> =
        NAMES.iter().zip(overview.silence).map(|(name, n)| format!("{name}: {n}")).collect();
    chart::bars(
        &format!("Agents by time since they were last heard. {}", words.join("; ")),
        &bars,
        1,
    )
}

fn command_chart(hours: &[CommandHour]) -> String {
    let bar = |hour: &CommandHour| chart::Bar {
        label: show::exact(hour.from).get(11..16).unwrap_or_default().to_owned(),
        parts: vec![("ok", hour.succeeded), ("bad", hour.failed), ("info", hour.other)],
    };
    let sum = |count: fn(&CommandHour) -> u64| hours.iter().map(count).sum::<u64>();
    let summary = format!(
        "Commands of the last 24 hours by hour: {} succeeded, {} failed, {} others",
        sum(|hour| hour.succeeded),
        sum(|hour| hour.failed),
        sum(|hour| hour.other)
    );
    chart::bars(&summary, &hours.iter().map(bar).collect::<Vec<_>>(), 4)
}

/// What wants attention, then how the fleet is.
pub(super) async fn show(visit: Visit) -> Shown {
    let overview = visit.app.overview(&visit.caller).await?;
    let any = |hour: &CommandHour| hour.succeeded + hour.failed + hour.other > 0;
    page(&OverviewPage {
        frame: visit.frame("Overview", "overview").await,
        items: items(&overview),
        tiles: tiles(&overview),
        agents: overview.fleet.agents.values().sum(),
        silence: silence_chart(&overview),
        commands: command_chart(&overview.commands),
        has_commands: overview.commands.iter().any(any),
        may_enrol: visit.may(argosy_domain::access::Permission::TokensCreate),
    })
}
