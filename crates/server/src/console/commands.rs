//! Commands: the list, one with its result and receipt, giving one to one agent, and withdrawing.

use std::{collections::BTreeMap, time::Duration};

use argosy_domain::{
    access::Permission,
    command::{Command, CommandKind, CommandState, Outcome},
    digest::Sha256,
    id::{AgentId, CommandId},
};
use argosy_wire::{bytes::encode, rest::commands::CreateCommand};
use askama::Template;
use serde_json::Value;

use super::{
    agents::or_any,
    answer::{Shown, go, page},
    fields::{Fields, link},
    frame::Frame,
    show::{self, Badge, Chip, Fact, When, when},
    visit::{Id, Sent, Visit},
};
use crate::app::{
    commands::{CommandQuery, end_of},
    error::AppError,
    paging::cursor_text,
};

const LIST: &str = "/console/commands";
/// What the address may hold beside the cursor.
const FILTERS: [&str; 3] = ["agent", "state", "since"];
/// States of commands that have not ended.
const OPEN: [&str; 4] = ["queued", "sent", "received", "running"];

/// A command in a list.
pub(super) struct CommandRow {
    pub(super) id: String,
    pub(super) agent: String,
    /// Its name, where a list is of several agents.
    pub(super) agent_name: String,
    pub(super) what: String,
    pub(super) state: Badge,
    pub(super) by: String,
    pub(super) given: When,
    pub(super) took: String,
    pub(super) receipt: &'static str,
}

/// A document of the store; null where it is none.
fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// Kind and parameters in short.
pub(super) fn short(kind: CommandKind, params: &[u8]) -> String {
    let params = json(params);
    let values = params.as_object().into_iter().flatten();
    let values = values.map(|(_, value)| value.as_str().map_or(value.to_string(), str::to_owned));
    let values = values.collect::<Vec<_>>().join(", ");
    format!("{} {values}", kind.as_str()).trim_end().to_owned()
}

fn what(command: &Command) -> String {
    short(command.kind, &command.params)
}

/// The states of commands that went wrong, as a list is asked for them.
pub(super) fn went_wrong() -> String {
    let wrong = Outcome::ALL.into_iter().filter(|outcome| outcome.went_wrong());
    wrong.map(Outcome::as_str).collect::<Vec<_>>().join(",")
}

/// States, and groups of states, that a list can be asked for.
fn states() -> Vec<(String, String)> {
    let group = |states: String, words: &str| (states, words.to_owned());
    let groups = [group(OPEN.join(","), "not ended"), group(went_wrong(), "went wrong")];
    let each = OPEN.into_iter().chain(Outcome::ALL.map(Outcome::as_str));
    let each = each.map(|state| (state.to_owned(), state.replace('_', " ")));
    groups.into_iter().chain(each).collect()
}

fn took(command: &Command) -> String {
    let Some(end) = end_of(command) else { return String::new() };
    let span: Duration = end.at.since(command.created_at);
    if span < Duration::from_secs(1) {
        return format!("{} ms", span.as_millis());
    }
    show::span(span.as_secs())
}

/// What proves the end.
fn receipt(command: &Command) -> &'static str {
    match &command.result {
        Some(result) if result.receipt.is_some() => "signed",
        Some(_) => "unsigned",
        None => "",
    }
}

/// A command as a row.
pub(super) fn command_row(visit: &Visit, command: &Command) -> CommandRow {
    CommandRow {
        id: command.id.to_string(),
        agent: command.agent.to_string(),
        agent_name: String::new(),
        what: what(command),
        state: show::command_state(command.state.as_str()),
        by: command.created_by.clone(),
        given: when(command.created_at, visit.app.now()),
        took: took(command),
        receipt: receipt(command),
    }
}

/// The digest of the host's policy that a receipt names.
pub(super) fn policy_of(command: &Command) -> Option<String> {
    let receipt = json(command.result.as_ref()?.receipt.as_ref()?);
    let digest = receipt["policy_sha256"].as_str()?;
    let none = encode(&Sha256::of(b"").0);
    Some(if digest == none { "the default: no file".to_owned() } else { digest.to_owned() })
}

/// The rule of the host's policy that refused a command.
pub(super) fn refusal_of(command: &Command) -> Option<String> {
    let detail = end_of(command)?.detail.as_ref()?;
    let (_, rule) = detail.split_once("refused by the host's policy: ")?;
    Some(rule.to_owned())
}

#[derive(Template)]
#[template(path = "commands.html")]
struct CommandsPage {
    frame: Frame,
    rows: Vec<CommandRow>,
    states: Vec<(String, String)>,
    state: String,
    agent: String,
    since: String,
    chips: Vec<Chip>,
    filtered: bool,
    may_command: bool,
    shown: String,
    next: String,
    first: String,
}

fn chips(query: &Fields, agent: String) -> Vec<Chip> {
    let chip = |name: &str, words: String| {
        let others = FILTERS.into_iter().filter(|other| *other != name);
        Chip { words, without: link(LIST, others.map(|other| (other, query.given(other)))) }
    };
    let mut chips = Vec::new();
    chips.extend(query.given("agent").map(|_| chip("agent", format!("agent: {agent}"))));
    let since = query.given("since").and_then(|text| text.parse().ok()).map(show::exact);
    chips.extend(since.map(|since| chip("since", format!("since {since}"))));
    chips
}

/// The name of an agent; its id where it cannot be seen.
async fn agent_name(visit: &Visit, id: &AgentId) -> String {
    let shown = visit.app.show_agent(&visit.caller, id).await;
    shown.map_or_else(|_| id.to_string(), |shown| shown.view.agent.name)
}

/// Puts the names of agents into rows.
async fn name_agents(visit: &Visit, rows: &mut [CommandRow]) {
    let mut names = BTreeMap::<String, String>::new();
    for row in rows {
        let known = names.get(&row.agent).cloned();
        let name = match (known, row.agent.parse::<AgentId>()) {
            (Some(name), _) => name,
            (None, Ok(id)) => agent_name(visit, &id).await,
            (None, Err(_)) => row.agent.clone(),
        };
        names.insert(row.agent.clone(), name.clone());
        row.agent_name = name;
    }
}

/// The list.
pub(super) async fn list(visit: Visit) -> Shown {
    let query = &visit.query;
    let agent = query.given("agent").and_then(|id| id.parse::<AgentId>().ok());
    let since = query.given("since").map(str::parse).transpose();
    let since = since.map_err(|error| AppError::field("since", error))?;
    let wanted = CommandQuery { agent: agent.clone(), state: query.owned("state"), since };
    let listed = visit.app.list_commands(&visit.caller, wanted, &visit.paging()).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let to = |cursor| {
        let kept = FILTERS.map(|name| (name, query.given(name)));
        link(LIST, kept.into_iter().chain([("cursor", cursor)]))
    };
    let mut rows: Vec<CommandRow> =
        listed.items.iter().map(|item| command_row(&visit, item)).collect();
    name_agents(&visit, &mut rows).await;
    let name = match &agent {
        Some(id) => agent_name(&visit, id).await,
        None => String::new(),
    };
    let text = |name: &str| query.given(name).unwrap_or_default().to_owned();
    page(&CommandsPage {
        frame: visit.frame("Commands", "commands").await,
        states: or_any("Any state", states()),
        state: text("state"),
        agent: text("agent"),
        since: text("since"),
        chips: chips(query, name),
        filtered: FILTERS.into_iter().any(|name| query.given(name).is_some()),
        may_command: visit.may(Permission::CommandsCreate),
        shown: show::several(rows.len() as u64, "command", "commands"),
        next: cursor.as_deref().map(|cursor| to(Some(cursor))).unwrap_or_default(),
        first: if query.has("cursor") { to(None) } else { String::new() },
        rows,
    })
}

#[derive(Template)]
#[template(path = "command.html")]
struct CommandPage {
    frame: Frame,
    id: String,
    agent: String,
    agent_name: String,
    state: Badge,
    open: bool,
    may_cancel: bool,
    unsent: bool,
    facts: Vec<Fact>,
    detail: String,
    params: String,
    result: String,
    receipt: Vec<Fact>,
    receipt_text: String,
    unsigned: bool,
}

fn pretty(bytes: &[u8]) -> String {
    serde_json::to_string_pretty(&json(bytes)).unwrap_or_default()
}

/// Whether somebody can still say that it is not wanted.
fn withdrawable(command: &Command) -> bool {
    end_of(command).is_none() && command.withdrawn.is_none()
}

fn command_facts(command: &Command) -> Vec<Fact> {
    let mut facts = vec![
        Fact::text("Kind", command.kind.as_str()),
        Fact::text(
            "Given",
            format!("{} by {}", show::exact(command.created_at), command.created_by),
        ),
        Fact::text("Not started after", show::exact(command.expires_at)),
        Fact::text("Place in its agent's order", command.sequence.0.to_string()),
    ];
    if let Some(withdrawal) = &command.withdrawn {
        let text = format!("{} by {}", show::exact(withdrawal.at), withdrawal.by);
        facts.push(Fact::text("Withdrawn", text));
    }
    if let Some(end) = end_of(command) {
        facts.push(Fact::text("Ended", show::exact(end.at)));
    }
    facts
}

/// What the agent signed, name by name.
fn receipt_facts(command: &Command) -> Vec<Fact> {
    const NAMES: [(&str, &str); 7] = [
        ("outcome", "Outcome"),
        ("started_at", "Started"),
        ("ended_at", "Ended"),
        ("result_sha256", "SHA-256 of the result"),
        ("params_sha256", "SHA-256 of the parameters"),
        ("policy_sha256", "SHA-256 of the host's policy"),
        ("journal_id", "Journal"),
    ];
    let Some(receipt) = command.result.as_ref().and_then(|result| result.receipt.as_ref()) else {
        return Vec::new();
    };
    let receipt = json(receipt);
    let said = NAMES.iter().filter_map(|(key, name)| Some((*name, receipt[*key].as_str()?)));
    said.map(|(name, value)| Fact::code(name, value)).collect()
}

/// One command.
pub(super) async fn show(visit: Visit, Id(id): Id<CommandId>) -> Shown {
    let command = visit.app.show_command(&visit.caller, &id).await?;
    let agent = visit.app.show_agent(&visit.caller, &command.agent).await?;
    let result = command.result.as_ref();
    let signature = result.and_then(|result| result.receipt_signature.as_ref());
    let signature = signature.map(|signature| Fact::code("Signature", encode(signature)));
    page(&CommandPage {
        frame: visit.frame(&what(&command), "commands").await,
        id: id.to_string(),
        agent: command.agent.to_string(),
        agent_name: agent.view.agent.name,
        state: show::command_state(command.state.as_str()),
        open: end_of(&command).is_none(),
        may_cancel: withdrawable(&command) && visit.may(Permission::CommandsCancel),
        unsent: command.state == CommandState::Queued,
        facts: command_facts(&command),
        detail: end_of(&command).and_then(|end| end.detail.clone()).unwrap_or_default(),
        params: pretty(&command.params),
        result: result.map(|result| pretty(&result.payload)).unwrap_or_default(),
        receipt: receipt_facts(&command).into_iter().chain(signature).collect(),
        receipt_text: format!("argosy command receipt {id} --verify"),
        unsigned: receipt(&command) == "unsigned",
    })
}

/// Gives an agent the command to run a subsystem.
pub(super) async fn create(Id(agent): Id<AgentId>, Sent { visit, form }: Sent) -> Shown {
    let request = CreateCommand {
        kind: CommandKind::SubsystemRun.as_str().to_owned(),
        params: serde_json::json!({ "subsystem": form.text("subsystem") }),
        expires_in: form.owned("expires_in"),
        // A form that is sent twice gives one command.
        idempotency_key: form.owned("once"),
    };
    let Visit { app, caller, origin, .. } = &visit;
    let command = app.create_command(caller, origin, &agent, &request).await?;
    go(&format!("{LIST}/{}?done=sent", command.id))
}

/// Withdraws a command.
pub(super) async fn cancel(Id(id): Id<CommandId>, Sent { visit, .. }: Sent) -> Shown {
    let command = visit.app.cancel_command(&visit.caller, &visit.origin, &id).await?;
    let done = if end_of(&command).is_some() { "cancelled" } else { "withdrawn" };
    go(&format!("{LIST}/{id}?done={done}"))
}
