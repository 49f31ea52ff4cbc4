//! The list of agents: search and filters in the address, pages by cursor, rows that stay current.

use argosy_domain::{
    access::Permission,
    agent::{AgentStatus, Assurance},
};
use askama::Template;

use super::{
    answer::{Refused, Shown, page},
    bulk::offered,
    fields::{Fields, link},
    frame::Frame,
    show::{self, Badge, Chip, When, when},
    visit::Visit,
};
use crate::app::{
    agents::{AgentQuery, AgentSnapshot},
    paging::cursor_text,
};

const LIST: &str = "/console/agents";
/// What the address may hold beside the cursor.
pub(super) const FILTERS: [&str; 8] =
    ["q", "status", "health", "account", "label", "version", "connected", "review"];

/// A row of the list.
struct Row {
    id: String,
    name: String,
    status: Badge,
    health: Option<Badge>,
    oddities: Vec<Badge>,
    connected: bool,
    version: String,
    platform: String,
    hostname: String,
    account: String,
    seen: When,
    assurance: &'static str,
    labels: Vec<String>,
}

#[derive(Template)]
#[template(path = "agents.html")]
struct AgentsPage {
    frame: Frame,
    rows: Vec<Row>,
    chips: Vec<Chip>,
    q: String,
    label: String,
    status: String,
    health: String,
    account: String,
    statuses: Vec<(String, String)>,
    accounts: Vec<(String, String)>,
    shown: String,
    next: String,
    first: String,
    may_enrol: bool,
    /// What can be done to several, and to whom.
    actions: Vec<(String, String)>,
    whom: Vec<(String, String)>,
    /// The filters in force, for what is done to all that fit.
    kept: Vec<(&'static str, String)>,
}

/// The name of an account; its number where that is not known.
pub(super) fn account_name(accounts: &[(String, String)], id: &str) -> String {
    let known = accounts.iter().find(|(known, _)| known == id);
    known.map_or_else(|| id.to_owned(), |(_, name)| name.clone())
}

fn row(visit: &Visit, snapshot: &AgentSnapshot, accounts: &[(String, String)]) -> Row {
    let agent = &snapshot.view.agent;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Row {
        id: agent.id.to_string(),
        name: agent.name.clone(),
        status: show::status(agent.state.status()),
        health: show::health(snapshot),
        oddities: show::oddities(snapshot),
        connected: snapshot.view.connected,
        version: text(&agent.version),
        platform: text(&agent.platform),
        hostname: text(&agent.hostname),
        account: account_name(accounts, &agent.account.0.to_string()),
        seen: when(snapshot.view.last_seen, visit.app.now()),
        assurance: assurance(agent.assurance()),
        labels: agent.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
    }
}

/// What an agent has proved, in words.
pub(super) fn assurance(assurance: Assurance) -> &'static str {
    match assurance {
        Assurance::ProofOfPossession => "key proved",
        Assurance::ApiKey => "API key only",
    }
}

/// What an address, or a form that keeps its filters, asks for.
pub(super) fn wanted(query: &Fields) -> AgentQuery {
    AgentQuery {
        status: query.owned("status"),
        health: query.owned("health"),
        account: query.given("account").and_then(|text| text.parse().ok()),
        label: query.owned("label"),
        q: query.owned("q"),
        version: query.owned("version"),
        connected: query.given("connected").map(|text| text == "yes"),
        under_review: query.has("review"),
        token: None,
        discovers: false,
    }
}

fn without<'f>(query: &'f Fields, left_out: &str) -> String {
    let kept = FILTERS.into_iter().filter(|name| *name != left_out);
    link(LIST, kept.map(|name| (name, query.given(name))).collect::<Vec<(&str, Option<&'f str>)>>())
}

fn chips(query: &Fields, accounts: &[(String, String)]) -> Vec<Chip> {
    let given = FILTERS.into_iter().filter_map(|name| Some((name, query.given(name)?)));
    given
        .map(|(name, value)| Chip {
            words: match name {
                "q" => format!("“{value}” in name, host or id"),
                "review" => "under review".to_owned(),
                "connected" if value == "yes" => "connected now".to_owned(),
                "connected" => "not connected".to_owned(),
                "account" => format!("account: {}", account_name(accounts, value)),
                _ => format!("{name}: {value}"),
            },
            without: without(query, name),
        })
        .collect()
}

/// Accounts for a choice: id and name; none for who may not see them.
pub(super) async fn accounts_of(visit: &Visit) -> Vec<(String, String)> {
    let accounts = visit.app.list_accounts(&visit.caller).await.unwrap_or_default();
    accounts.into_iter().map(|account| (account.id.0.to_string(), account.name)).collect()
}

/// A choice with something that means no choice.
pub(super) fn or_any(any: &str, options: Vec<(String, String)>) -> Vec<(String, String)> {
    std::iter::once((String::new(), any.to_owned())).chain(options).collect()
}

/// Whom something can be done to.
fn whom(all: u64) -> Vec<(String, String)> {
    let everybody = format!("all {}", show::several(all, "agent that fits", "agents that fit"));
    let option = |key: &str, words: &str| (key.to_owned(), words.to_owned());
    vec![option("ticked", "the ticked ones"), option("all", &everybody)]
}

/// The list.
pub(super) async fn list(visit: Visit) -> Shown {
    let query = &visit.query;
    let listed = visit.app.list_agents(&visit.caller, &wanted(query), &visit.paging()).await;
    let listed = listed.map_err(Refused)?;
    let all = visit.app.count_agents(&visit.caller, &wanted(query)).await?;
    let accounts = accounts_of(&visit).await;
    let rows: Vec<Row> = listed.items.iter().map(|item| row(&visit, item, &accounts)).collect();
    let cursor = listed.next.as_ref().map(cursor_text);
    let mut onward: Vec<(&str, Option<&str>)> =
        FILTERS.into_iter().map(|name| (name, query.given(name))).collect();
    onward.push(("cursor", cursor.as_deref()));
    let text = |name: &str| query.given(name).unwrap_or_default().to_owned();
    let statuses = AgentStatus::ALL.map(|status| (status.as_str().into(), status.as_str().into()));
    page(&AgentsPage {
        frame: visit.frame("Agents", "agents").await,
        chips: chips(query, &accounts),
        q: text("q"),
        label: text("label"),
        status: text("status"),
        health: text("health"),
        account: text("account"),
        statuses: or_any("Any status", statuses.to_vec()),
        accounts: or_any("Any account", accounts),
        shown: show::shown_of(rows.len(), all, "agent", "agents"),
        next: cursor.as_ref().map(|_| link(LIST, onward)).unwrap_or_default(),
        first: if query.has("cursor") { without(query, "") } else { String::new() },
        may_enrol: visit.may(Permission::TokensCreate),
        actions: offered(&visit),
        whom: whom(all),
        kept: FILTERS.into_iter().filter_map(|name| Some((name, query.owned(name)?))).collect(),
        rows,
    })
}
