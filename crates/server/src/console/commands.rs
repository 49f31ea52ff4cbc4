//! Commands: the list, one with its result and receipt, giving and withdrawing one.

use std::{collections::BTreeMap, time::Duration};

use argosy_domain::{
    access::Permission,
    command::{Command, CommandKind, CommandState},
    digest::Sha256,
    id::{AgentId, CommandId},
};
use argosy_wire::{bytes::encode, rest::commands::CreateCommand};
use askama::Template;
use serde_json::Value;

use super::{
    agents::or_any,
    answer::{Shown, go, page},
    fields::link,
    frame::Frame,
    show::{self, Badge, Fact, When, when},
    visit::{Id, Sent, Visit},
};
use crate::app::{
    commands::end_of,
    paging::{PageQuery, cursor_text},
};

const LIST: &str = "/console/commands";
/// States that a list can be asked for.
const STATES: [&str; 11] = [
    "queued",
    "sent",
    "received",
    "running",
    "succeeded",
    "failed",
    "timed_out",
    "rejected",
    "cancelled",
    "expired",
    "lost",
];

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
fn what(command: &Command) -> String {
    let params = json(&command.params);
    let values = params.as_object().into_iter().flatten();
    let values = values.map(|(_, value)| value.as_str().map_or(value.to_string(), str::to_owned));
    let values = values.collect::<Vec<_>>().join(", ");
    format!("{} {values}", command.kind.as_str()).trim_end().to_owned()
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

#[derive(Template)]
#[template(path = "commands.html")]
struct CommandsPage {
    frame: Frame,
    rows: Vec<CommandRow>,
    states: Vec<(String, String)>,
    state: String,
    agent: String,
    shown: String,
    next: String,
    first: String,
}

/// Puts the names of agents into rows; where one cannot be seen, its id.
async fn name_agents(visit: &Visit, rows: &mut [CommandRow]) {
    let mut names = BTreeMap::<String, String>::new();
    for row in rows {
        let known = names.get(&row.agent).cloned();
        let name = match (known, row.agent.parse::<AgentId>()) {
            (Some(name), _) => name,
            (None, Ok(id)) => {
                let shown = visit.app.show_agent(&visit.caller, &id).await;
                shown.map_or_else(|_| row.agent.clone(), |shown| shown.view.agent.name)
            }
            (None, Err(_)) => row.agent.clone(),
        };
        names.insert(row.agent.clone(), name.clone());
        row.agent_name = name;
    }
}

/// The list.
pub(super) async fn list(visit: Visit) -> Shown {
    let query = &visit.query;
    let (agent, state) = (query.given("agent"), query.given("state"));
    let paging = PageQuery { limit: None, cursor: query.owned("cursor") };
    let of_agent = agent.and_then(|id| id.parse::<AgentId>().ok());
    let listed =
        visit.app.list_commands(&visit.caller, of_agent, query.owned("state"), &paging).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let to = |cursor| link(LIST, [("agent", agent), ("state", state), ("cursor", cursor)]);
    let mut rows: Vec<CommandRow> =
        listed.items.iter().map(|item| command_row(&visit, item)).collect();
    name_agents(&visit, &mut rows).await;
    let states = STATES.map(|state| (state.to_owned(), state.replace('_', " ")));
    page(&CommandsPage {
        frame: visit.frame("Commands", "commands").await,
        states: or_any("Any state", states.to_vec()),
        state: state.unwrap_or_default().to_owned(),
        agent: agent.unwrap_or_default().to_owned(),
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
        may_cancel: command.state == CommandState::Queued && visit.may(Permission::CommandsCancel),
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

/// Withdraws a command that was not sent.
pub(super) async fn cancel(Id(id): Id<CommandId>, Sent { visit, .. }: Sent) -> Shown {
    visit.app.cancel_command(&visit.caller, &visit.origin, &id).await?;
    go(&format!("{LIST}/{id}?done=cancelled"))
}
