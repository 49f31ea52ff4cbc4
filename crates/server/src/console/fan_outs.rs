//! Commands to many: the list, one with its progress and its agents, and withdrawing it.

use argosy_domain::{
    access::Permission,
    command::Outcome,
    fan_out::{FanOutEnd, FanOutState, Step},
    id::FanOutId,
};
use argosy_wire::rest::fan_outs::Selector;
use askama::Template;

use super::{
    answer::{Shown, go, page},
    chart,
    commands::short,
    confirm::{Confirm, confirm},
    fields::link,
    frame::Frame,
    show::{self, Badge, Fact, When, when},
    visit::{Id, Sent, Visit},
};
use crate::app::{
    fan_outs::{FanOutPlace, FanOutPlaces, Progress},
    paging::cursor_text,
};

const LIST: &str = "/console/fan-outs";
/// Agents on one page.
const ROWS: u32 = 50;

/// A fan-out in a list.
struct Row {
    id: String,
    what: String,
    state: Badge,
    bar: String,
    done: String,
    errors: u32,
    by: String,
    given: When,
}

#[derive(Template)]
#[template(path = "fan_outs.html")]
struct FanOutsPage {
    frame: Frame,
    rows: Vec<Row>,
    may_command: bool,
    shown: String,
    next: String,
    first: String,
}

/// Where it stands; one of which nothing is left says so before that is written down.
fn state(visit: &Visit, progress: &Progress) -> Badge {
    let Progress { fan_out, tally } = progress;
    let how = match fan_out.state {
        FanOutState::Ended { how, .. } => Some(how),
        FanOutState::Running => match fan_out.plan(tally, visit.app.now()) {
            Step::End(how) => Some(how),
            Step::Begin(_) | Step::Wait => None,
        },
    };
    match how {
        None => Badge::new("info", "running"),
        Some(FanOutEnd::Completed) if tally.errors() == 0 => Badge::new("ok", "completed"),
        Some(FanOutEnd::Completed) => Badge::new("warn", "completed with errors"),
        Some(FanOutEnd::Halted) => Badge::new("bad", "halted"),
        Some(how @ (FanOutEnd::Cancelled | FanOutEnd::Expired)) => Badge::new("off", how.as_str()),
    }
}

/// Agents of which the fan-out is done.
fn done(progress: &Progress) -> String {
    let tally = &progress.tally;
    let over = tally.total() - tally.waiting() - tally.open();
    format!(
        "{} of {}",
        show::count(over.into()),
        show::several(tally.total().into(), "agent", "agents")
    )
}

fn bar(progress: &Progress) -> String {
    let parts: Vec<(String, &'static str, u64)> = progress
        .tally
        .0
        .iter()
        .map(|(state, n)| (state.replace('_', " "), tone(state), u64::from(*n)))
        .collect();
    chart::portions("Agents by where they stand", &parts)
}

fn tone(state: &str) -> &'static str {
    if state == "waiting" { "off" } else { show::command_state(state).tone }
}

/// The list.
pub(super) async fn list(visit: Visit) -> Shown {
    let listed = visit.app.list_fan_outs(&visit.caller, &visit.paging()).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let (next, first) = visit.turns(LIST, cursor.as_deref());
    let row = |progress: &Progress| Row {
        id: progress.fan_out.id.to_string(),
        what: short(progress.fan_out.kind, &progress.fan_out.params),
        state: state(&visit, progress),
        bar: bar(progress),
        done: done(progress),
        errors: progress.tally.errors(),
        by: progress.fan_out.created_by.clone(),
        given: when(progress.fan_out.created_at, visit.app.now()),
    };
    let rows: Vec<Row> = listed.items.iter().map(row).collect();
    page(&FanOutsPage {
        frame: visit.frame("Commands to many", "commands").await,
        may_command: visit.may(Permission::CommandsCreate),
        shown: show::several(rows.len() as u64, "order", "orders"),
        next,
        first,
        rows,
    })
}

/// How many agents stand where, and the way to them.
struct Standing {
    state: Badge,
    count: String,
    path: String,
    chosen: bool,
}

/// An agent of a fan-out.
struct Place {
    agent: String,
    name: String,
    state: Badge,
    command: String,
    detail: String,
}

#[derive(Template)]
#[template(path = "fan_out.html")]
struct FanOutPage {
    frame: Frame,
    id: String,
    what: String,
    state: Badge,
    running: bool,
    may_cancel: bool,
    bar: String,
    done: String,
    standings: Vec<Standing>,
    facts: Vec<Fact>,
    places: Vec<Place>,
    chosen: String,
    shown: String,
    next: String,
    first: String,
}

/// Whom a selector means, in words.
fn whom(selector: &Selector) -> String {
    let mut words = Vec::new();
    match selector.agents.len() {
        0 => {}
        1 => words.push("one agent by its id".to_owned()),
        n => words.push(format!("{n} agents by their ids")),
    }
    let text = |name: &str, value: &Option<String>| value.as_ref().map(|v| format!("{name} {v}"));
    words.extend(text("with", &selector.q));
    words.extend(selector.account_id.map(|id| format!("of account {id}")));
    words.extend(selector.labels.iter().map(|(key, value)| format!("{key}={value}")));
    words.extend(selector.health.clone());
    words.extend(text("version", &selector.version));
    let connection = |yes| if yes { "connected" } else { "not connected" };
    words.extend(selector.connected.map(|yes| connection(yes).to_owned()));
    words.extend(selector.under_review.then(|| "under review".to_owned()));
    if words.is_empty() { "every approved agent".to_owned() } else { words.join(", ") }
}

fn facts(progress: &Progress) -> Vec<Fact> {
    let fan_out = &progress.fan_out;
    let selector: Selector = serde_json::from_str(&fan_out.selector).unwrap_or_default();
    let given = format!("{} by {}", show::exact(fan_out.created_at), fan_out.created_by);
    let allowed = fan_out.errors_max.map_or_else(|| "however many".to_owned(), |n| n.to_string());
    let mut facts = vec![
        Fact::text("For", whom(&selector)),
        Fact::text("Given", given),
        Fact::text("At once", fan_out.concurrency.to_string()),
        Fact::text("Errors", format!("{}; allowed: {allowed}", progress.tally.errors())),
        Fact::text("Nothing is begun after", show::exact(fan_out.expires_at)),
    ];
    if let FanOutState::Ended { at, .. } = fan_out.state {
        facts.push(Fact::text("Ended", show::exact(at)));
    }
    facts
}

fn place(place: FanOutPlace) -> Place {
    let state = match Outcome::parse(&place.state) {
        None if place.state == "waiting" => Badge::new("off", "waiting"),
        Some(_) | None => show::command_state(&place.state),
    };
    Place {
        agent: place.agent.to_string(),
        name: place.name,
        state,
        command: place.command.map(|id| id.to_string()).unwrap_or_default(),
        detail: place.detail.unwrap_or_default(),
    }
}

fn standings(progress: &Progress, id: &FanOutId, chosen: &str) -> Vec<Standing> {
    let standing = |(state, n): (&String, &u32)| Standing {
        state: Badge::new(tone(state), state.replace('_', " ")),
        count: show::count(u64::from(*n)),
        path: link(&format!("{LIST}/{id}"), [("state", Some(state.as_str()))]),
        chosen: state == chosen,
    };
    progress.tally.0.iter().map(standing).collect()
}

/// One, with its progress and its agents.
pub(super) async fn show(visit: Visit, Id(id): Id<FanOutId>) -> Shown {
    let progress = visit.app.show_fan_out(&visit.caller, &id).await?;
    let chosen = visit.query.text("state").to_owned();
    let after = visit.query.given("after").and_then(|text| text.parse().ok()).unwrap_or(0);
    let states: Vec<String> = visit.query.owned("state").into_iter().collect();
    let wanted = FanOutPlaces { states, after, limit: ROWS + 1 };
    let mut places = visit.app.list_fan_out_agents(&visit.caller, &id, &wanted).await?;
    let whole = usize::try_from(ROWS).unwrap_or(usize::MAX);
    let more = places.len() > whole;
    places.truncate(whole);
    let last = places.last().map(|place| place.position.to_string()).filter(|_| more);
    let path = format!("{LIST}/{id}");
    let to = |after| link(&path, [("state", Some(chosen.as_str())), ("after", after)]);
    let all = match chosen.as_str() {
        "" => progress.tally.total(),
        state => progress.tally.0.get(state).copied().unwrap_or(0),
    };
    let badge = state(&visit, &progress);
    let what = short(progress.fan_out.kind, &progress.fan_out.params);
    page(&FanOutPage {
        frame: visit.frame(&what, "commands").await,
        running: badge.word == "running",
        may_cancel: badge.word == "running" && visit.may(Permission::CommandsCancel),
        state: badge,
        bar: bar(&progress),
        done: done(&progress),
        standings: standings(&progress, &id, &chosen),
        facts: facts(&progress),
        shown: show::shown_of(places.len(), all.into(), "agent", "agents"),
        next: last.as_deref().map(|after| to(Some(after))).unwrap_or_default(),
        first: if after > 0 { to(None) } else { String::new() },
        places: places.into_iter().map(place).collect(),
        chosen,
        id: id.to_string(),
        what,
    })
}

/// What follows from withdrawing it.
pub(super) async fn cancel_form(visit: Visit, Id(id): Id<FanOutId>) -> Shown {
    let progress = visit.app.show_fan_out(&visit.caller, &id).await?;
    visit.must(Permission::CommandsCancel)?;
    let about = Confirm {
        here: "commands",
        list: ("Commands to many", LIST),
        verb: "Withdraw",
        name: short(progress.fan_out.kind, &progress.fan_out.params),
        consequences: &[
            "No further agent gets the command.",
            "Commands that were not sent end as cancelled.",
            "Agents that have it are told; what they can stop they stop, and they say what came of it.",
        ],
        action: format!("{LIST}/{id}/cancel"),
    };
    confirm(&visit, about).await
}

/// Withdraws it.
pub(super) async fn cancel(Id(id): Id<FanOutId>, Sent { visit, .. }: Sent) -> Shown {
    visit.app.cancel_fan_out(&visit.caller, &visit.origin, &id).await?;
    go(&format!("{LIST}/{id}?done=withdrawn"))
}
