//! One command to many agents: what it says and whom it is for stand in the address, so that a
//! preview changes nothing and can be kept; the start is a form of its own.

use std::collections::BTreeMap;

use argosy_domain::{
    access::Permission, command::CommandKind, limits::FAN_OUT_CONCURRENCY_DEFAULT,
    subsystem::Subsystem,
};
use argosy_wire::rest::fan_outs::{CreateFanOut, Selector};
use askama::Template;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    agent::typed_labels,
    agents::{accounts_of, or_any},
    answer::{Shown, go, page_as, status_of},
    bulk::Touched,
    fields::{Fields, link},
    frame::Frame,
    show,
    visit::{Sent, Visit},
};
use crate::app::{
    error::{AppError, AppResult},
    fan_outs::Preview,
};

/// Where it stands.
pub(super) const PATH: &str = "/console/commands/new";
/// What the address says of an order, beside the ids of agents.
const FIELDS: [&str; 13] = [
    "kind",
    "subsystem",
    "all",
    "q",
    "labels",
    "account",
    "health",
    "version",
    "connected",
    "review",
    "concurrency",
    "errors",
    "life",
];
/// Lives of an order that a form offers.
const LIVES: [(&str, &str); 4] =
    [("1h", "1 hour"), ("24h", "1 day"), ("7d", "7 days"), ("30d", "30 days")];

/// A kind of command, to choose.
struct Kind {
    name: &'static str,
    path: String,
    chosen: bool,
}

/// A field that goes on to the start as it was previewed.
struct Kept {
    name: &'static str,
    value: String,
}

/// Whom it would reach.
struct Reach {
    agents: u64,
    words: String,
    first: Vec<Touched>,
    more: String,
    kept: Vec<Kept>,
    /// Makes a form that is sent twice one order.
    once: String,
}

#[derive(Template)]
#[template(path = "compose.html")]
struct ComposePage<'a> {
    frame: Frame,
    kinds: Vec<Kind>,
    kind: &'static str,
    consequences: &'static [&'static str],
    subsystems: Vec<(String, String)>,
    takes_subsystem: bool,
    said: Said,
    ids: Vec<&'a str>,
    accounts: Vec<(String, String)>,
    lives: Vec<(String, String)>,
    life: &'a str,
    concurrency: String,
    reach: Option<Reach>,
    problem: String,
}

/// What was typed.
struct Said {
    subsystem: String,
    all: bool,
    q: String,
    labels: String,
    account: String,
    health: String,
    version: String,
    connected: String,
    review: bool,
    errors: String,
}

fn said(fields: &Fields) -> Said {
    let text = |name| fields.text(name).to_owned();
    Said {
        subsystem: text("subsystem"),
        all: fields.has("all"),
        q: text("q"),
        labels: text("labels"),
        account: text("account"),
        health: text("health"),
        version: text("version"),
        connected: text("connected"),
        review: fields.given("review").is_some(),
        errors: text("errors"),
    }
}

/// What follows from a command of this kind, one sentence each.
fn consequences(kind: CommandKind) -> &'static [&'static str] {
    match kind {
        CommandKind::SubsystemRun => &[
            "Each runs the collector now and reports. It only reads.",
            "A breaker that rests does not stop it.",
        ],
        CommandKind::DiscoverySync => &[
            "Each reads the clouds that its host has credentials for, and delivers what is there.",
            "Hosts where no cloud is configured say so.",
        ],
        CommandKind::ConfigApply => &[
            "Each takes the configuration that this server wants now, and says so with a receipt.",
            "Agents that have it already change nothing.",
        ],
        CommandKind::AgentRestart => &[
            "The agent's process begins anew, not the machine.",
            "It is gone for some seconds; what it was to report is kept.",
        ],
        CommandKind::KeyRotate => &[
            "Each makes a new identity key; its fingerprint changes.",
            "The old key signs for the new one, so nobody has to compare again.",
        ],
        CommandKind::UpdatesInstall => &["Packages are installed where they are approved."],
    }
}

fn kind_of(fields: &Fields) -> AppResult<CommandKind> {
    let kind = fields.given("kind").unwrap_or(CommandKind::SubsystemRun.as_str());
    let kind = CommandKind::parse(kind).map_err(|error| AppError::field("kind", error))?;
    if kind.changes_host() {
        return Err(AppError::field("kind", "is given where packages are approved"));
    }
    Ok(kind)
}

fn params(kind: CommandKind, fields: &Fields) -> Value {
    match kind {
        CommandKind::SubsystemRun => json!({ "subsystem": fields.text("subsystem") }),
        CommandKind::DiscoverySync
        | CommandKind::ConfigApply
        | CommandKind::AgentRestart
        | CommandKind::KeyRotate
        | CommandKind::UpdatesInstall => json!({}),
    }
}

/// How many at once: as typed, or as many as nobody has to think about.
pub(super) fn at_once(fields: &Fields) -> String {
    fields.owned("concurrency").unwrap_or_else(|| FAN_OUT_CONCURRENCY_DEFAULT.to_string())
}

/// A whole number that was typed, if one was.
pub(super) fn whole(fields: &Fields, name: &'static str) -> AppResult<Option<u32>> {
    let parsed = fields.given(name).map(str::parse).transpose();
    parsed.map_err(|_| AppError::field(name, "must be a whole number"))
}

fn selector(fields: &Fields) -> AppResult<Selector> {
    let account = fields.given("account").map(str::parse).transpose();
    let labels: BTreeMap<String, String> = typed_labels(fields.text("labels"))?;
    let selector = Selector {
        all: fields.has("all"),
        agents: fields.all("id").map(str::to_owned).collect(),
        account_id: account.map_err(|_| AppError::field("account", "must be a number"))?,
        labels,
        health: fields.owned("health"),
        q: fields.owned("q"),
        version: fields.owned("version"),
        connected: fields.given("connected").map(|text| text == "yes"),
        under_review: fields.given("review").is_some(),
    };
    if selector == Selector::default() {
        let why = "say whom it is for: fill in a field, or tick every approved agent";
        return Err(AppError::field("agents", why));
    }
    Ok(selector)
}

fn order(fields: &Fields) -> AppResult<CreateFanOut> {
    let kind = kind_of(fields)?;
    Ok(CreateFanOut {
        selector: selector(fields)?,
        kind: kind.as_str().to_owned(),
        params: params(kind, fields),
        expires_in: fields.owned("life"),
        concurrency: whole(fields, "concurrency")?,
        max_errors: whole(fields, "errors")?,
        idempotency_key: fields.owned("once"),
    })
}

/// The address of an order that says the same but for some fields.
pub(super) fn address<'a>(fields: &'a Fields, other: &[(&'a str, &'a str)]) -> String {
    let said = |name: &'static str| {
        let changed = other.iter().find(|(known, _)| *known == name);
        (name, changed.map(|(_, value)| *value).or_else(|| fields.given(name)))
    };
    let mut pairs: Vec<(&str, Option<&str>)> = FIELDS.into_iter().map(said).collect();
    pairs.extend(fields.all("id").map(|id| ("id", Some(id))));
    pairs.extend(other.iter().filter(|(name, _)| *name == "preview").map(|(n, v)| (*n, Some(*v))));
    link(PATH, pairs)
}

fn reach(visit: &Visit, fields: &Fields, preview: Preview) -> Reach {
    let named = u64::try_from(preview.first.len()).unwrap_or(u64::MAX);
    let more = preview.agents.saturating_sub(named);
    let kept = FIELDS
        .into_iter()
        .filter_map(|name| Some(Kept { name, value: fields.given(name)?.to_owned() }));
    Reach {
        agents: preview.agents,
        words: show::several(preview.agents, "agent", "agents"),
        first: preview.first.iter().map(Touched::of).collect(),
        more: if more > 0 { show::count(more) } else { String::new() },
        kept: kept.collect(),
        once: visit.app.trace_id(),
    }
}

async fn compose_page(
    visit: &Visit,
    status: StatusCode,
    fields: &Fields,
    (reach, problem): (Option<Reach>, String),
) -> Shown {
    visit.must(Permission::CommandsCreate)?;
    let kind = kind_of(fields).unwrap_or(CommandKind::SubsystemRun);
    let given = CommandKind::ALL.into_iter().filter(|one| !one.changes_host());
    let kinds = given.map(|one| Kind {
        name: one.as_str(),
        path: address(fields, &[("kind", one.as_str())]),
        chosen: one == kind,
    });
    let subsystems = Subsystem::ALL.map(|one| (one.as_str().to_owned(), one.as_str().to_owned()));
    let lives = LIVES.map(|(span, words)| (span.to_owned(), words.to_owned()));
    let page = ComposePage {
        frame: visit.frame("A command to many", "commands").await,
        kinds: kinds.collect(),
        kind: kind.as_str(),
        consequences: consequences(kind),
        takes_subsystem: kind == CommandKind::SubsystemRun,
        subsystems: subsystems.to_vec(),
        ids: fields.all("id").collect(),
        accounts: or_any("Any account", accounts_of(visit).await),
        lives: lives.to_vec(),
        life: fields.given("life").unwrap_or("24h"),
        concurrency: at_once(fields),
        said: said(fields),
        reach,
        problem,
    };
    page_as(status, &page)
}

async fn previewed(visit: &Visit, fields: &Fields) -> AppResult<Reach> {
    let order = order(fields)?;
    let preview = visit.app.preview_fan_out(&visit.caller, &order.selector).await?;
    Ok(reach(visit, fields, preview))
}

/// What it says and whom it is for; with a preview where one was asked for.
pub(super) async fn form(visit: Visit) -> Shown {
    let fields = visit.query.clone();
    if !fields.has("preview") {
        return compose_page(&visit, StatusCode::OK, &fields, (None, String::new())).await;
    }
    match previewed(&visit, &fields).await {
        Ok(reach) => {
            compose_page(&visit, StatusCode::OK, &fields, (Some(reach), String::new())).await
        }
        Err(error) if error.code.http() == 422 => {
            compose_page(&visit, status_of(&error), &fields, (None, error.detail)).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Starts it, and leads to its progress.
pub(super) async fn start(Sent { visit, form }: Sent) -> Shown {
    let begun = match order(&form) {
        Ok(order) => visit.app.create_fan_out(&visit.caller, &visit.origin, &order).await,
        Err(error) => Err(error),
    };
    match begun {
        Ok(progress) => go(&format!("/console/fan-outs/{}?done=started", progress.fan_out.id)),
        Err(error) if error.code.http() == 422 => {
            compose_page(&visit, status_of(&error), &form, (None, error.detail)).await
        }
        Err(error) => Err(error.into()),
    }
}
