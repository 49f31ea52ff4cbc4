//! One agent: who it is, how it is, what it reported, what was asked of it, what happened to it.

mod charts;
mod reports;
mod schedule;

use argosy_domain::{
    access::Permission,
    agent::{AgentState, AgentStatus},
    id::AgentId,
    review::machine_digest,
    telemetry::Severity,
};
use askama::Template;

pub(super) use self::schedule::{change as change_schedule, form as schedule_form};
use self::{
    charts::Chart,
    reports::{Report, report},
    schedule::{Scheduled, scheduled, standing},
};
use super::{
    agents::{accounts_of, assurance},
    answer::{Shown, go, mendable, page, page_as},
    commands::{CommandRow, command_row, policy_of, refusal_of},
    frame::Frame,
    rulings::Decision,
    show::{self, Badge, Fact, When, when},
    visit::{Id, Sent, Visit},
};
use crate::app::{
    agents::AgentSnapshot,
    audit::AuditQuery,
    commands::CommandQuery,
    error::{AppError, AppResult},
    paging::PageQuery,
    telemetry::EventQuery,
};

/// Rows of each list on the page; the lists of their own have more.
const ROWS: u32 = 10;
/// Commands that were refused lately, for what they tell of the host's policy.
const REFUSALS: u32 = 5;

/// A place from which the identity was seen.
struct Origin {
    source: String,
    machine: String,
    version: String,
    at: When,
}

/// What an operator should look at, in words.
struct Review {
    reason: &'static str,
    since: When,
    origins: Vec<Origin>,
}

/// Something that happened.
struct Happening {
    at: When,
    badge: Badge,
    who: String,
    text: String,
}

/// What is known here of the policy of the agent's host.
struct HostPolicy {
    /// Its digest, by the last receipt that names it.
    digest: String,
    /// The rules that refused commands lately.
    refusals: Vec<String>,
}

/// A decision that is offered, or why it is not.
struct Offer {
    decision: Decision,
    allowed: bool,
}

#[derive(Template)]
#[template(path = "agent.html")]
struct AgentPage {
    frame: Frame,
    id: String,
    name: String,
    status: Badge,
    health: Option<Badge>,
    oddities: Vec<Badge>,
    connected: bool,
    seen: When,
    groups: Vec<String>,
    facts: Vec<Fact>,
    labels: Vec<String>,
    closed: String,
    review: Option<Review>,
    offers: Vec<Offer>,
    pending: bool,
    may_approve: bool,
    may_command: bool,
    may_approve_packages: bool,
    may_install: bool,
    may_rename: bool,
    may_delete: bool,
    charts: Vec<Chart>,
    reports: Vec<Report>,
    subsystems: Vec<Scheduled>,
    standing: String,
    may_schedule: bool,
    may_sync: bool,
    commands: Vec<CommandRow>,
    policy: Option<HostPolicy>,
    events: Vec<Happening>,
    timeline: Vec<Happening>,
}

fn said(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "not said".to_owned())
}

fn facts(visit: &Visit, snapshot: &AgentSnapshot, account: String) -> Vec<Fact> {
    let agent = &snapshot.view.agent;
    let mut facts = vec![
        Fact::code("Id", agent.id.to_string()),
        Fact::text("Host name", said(agent.hostname.as_ref())),
        Fact::text("Platform", said(agent.platform.as_ref())),
        Fact::text("Version", said(agent.version.as_ref())),
        Fact::text("Account", account),
        Fact::text("Assurance", assurance(agent.assurance())),
    ];
    if let Some(identity) = &agent.identity {
        let machine = identity.machine_id.as_deref().map(machine_digest);
        facts.push(Fact::code("Machine", machine.unwrap_or_else(|| "not bound".to_owned())));
        facts.push(Fact::code("Identity key", hex(&identity.identity_key)));
        facts.push(Fact::code("Encryption key", hex(&identity.encryption_key)));
    }
    let registered =
        format!("{} from {}", show::exact(agent.registered_at), said(agent.source.as_ref()));
    facts.push(Fact::text("Registered", registered));
    if let Some(approval) = agent.state.approval() {
        let compared = match approval.fingerprint {
            Some(_) => "fingerprint compared",
            None => "no fingerprint compared",
        };
        let text = format!("{} by {}, {compared}", show::exact(approval.at), approval.by);
        facts.push(Fact::text("Approved", text));
    }
    if let Some(called) = &snapshot.view.called {
        facts.push(Fact::code("Called by its service", called.clone()));
    }
    if let Some(successor) = &snapshot.view.replaced_by {
        facts.push(Fact::code("Replaced by", successor.to_string()));
    }
    if visit.app.now() < agent.registered_at {
        facts.push(Fact::text("Clock", "registered in the future by this server's clock"));
    }
    facts
}

fn hex(key: &[u8; 32]) -> String {
    format!("{:?}", argosy_domain::digest::Sha256(*key))
}

/// Why an agent is not admitted, or not fully.
fn closed(state: &AgentState) -> String {
    let (verb, closure) = match state {
        AgentState::Quarantined { closure, .. } => ("Quarantined", closure),
        AgentState::Rejected(closure) => ("Rejected", closure),
        AgentState::Revoked(closure) => ("Revoked", closure),
        AgentState::Pending { .. } | AgentState::Approved(_) => return String::new(),
        AgentState::Expired { at } => {
            return format!("Nobody decided in time: expired {}.", show::exact(*at));
        }
        AgentState::Cancelled { at } => {
            return format!("Its token was revoked before a decision: {}.", show::exact(*at));
        }
    };
    let why = closure.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{verb} {} by {}{why}.", show::exact(closure.at), closure.by)
}

fn review(visit: &Visit, snapshot: &AgentSnapshot) -> Option<Review> {
    let review = snapshot.view.agent.review.as_ref()?;
    let origins = review.origins.iter().map(|seen| Origin {
        source: said(seen.source.as_ref()),
        machine: seen.machine_digest().unwrap_or_else(|| "not said".to_owned()),
        version: said(seen.version.as_ref()),
        at: when(seen.at, visit.app.now()),
    });
    Some(Review {
        reason: show::review(review.reason),
        since: when(review.since, visit.app.now()),
        origins: origins.collect(),
    })
}

fn offers(visit: &Visit, snapshot: &AgentSnapshot) -> Vec<Offer> {
    let fitting = Decision::fitting(snapshot).into_iter();
    fitting.map(|decision| Offer { allowed: visit.may(decision.permission()), decision }).collect()
}

async fn events(visit: &Visit, id: &AgentId) -> AppResult<Vec<Happening>> {
    if !visit.may(Permission::InventoryRead) {
        return Ok(Vec::new());
    }
    let paging = PageQuery { limit: Some(ROWS), cursor: None };
    let query = EventQuery::default();
    let listed = visit.app.list_agent_events(&visit.caller, id, &query, &paging).await?;
    let event = |event: crate::app::records::AgentEventRecord| Happening {
        at: when(event.at, visit.app.now()),
        badge: Badge::new(
            match event.severity {
                Severity::Info => "info",
                Severity::Warning => "warn",
                Severity::Error => "bad",
            },
            event.severity.as_str(),
        ),
        who: event.kind,
        text: event.message,
    };
    Ok(listed.items.into_iter().map(event).collect())
}

async fn timeline(visit: &Visit, id: &AgentId) -> AppResult<Vec<Happening>> {
    if !visit.may(Permission::AuditRead) {
        return Ok(Vec::new());
    }
    let paging = PageQuery { limit: Some(ROWS), cursor: None };
    let query = AuditQuery { target: Some(format!("agent:{id}")), ..AuditQuery::default() };
    let listed = visit.app.list_audit(&visit.caller, query, &paging).await?;
    let entry = |entry: crate::app::records::AuditRecord| Happening {
        at: when(entry.at, visit.app.now()),
        badge: Badge::new("off", entry.action),
        who: entry.actor,
        text: super::audit::detail(&entry.detail),
    };
    Ok(listed.items.into_iter().map(entry).collect())
}

/// The newest commands of an agent, and what they tell of its host's policy.
async fn commands(visit: &Visit, id: &AgentId) -> AppResult<(Vec<CommandRow>, Option<HostPolicy>)> {
    if !visit.may(Permission::CommandsRead) {
        return Ok((Vec::new(), None));
    }
    let of_agent = CommandQuery { agent: Some(id.clone()), ..CommandQuery::default() };
    let rejected = CommandQuery { state: Some("rejected".to_owned()), ..of_agent.clone() };
    let page = |limit| PageQuery { limit: Some(limit), cursor: None };
    let listed = visit.app.list_commands(&visit.caller, of_agent, &page(ROWS)).await?;
    let refused = visit.app.list_commands(&visit.caller, rejected, &page(REFUSALS)).await?;
    let digest = listed.items.iter().chain(&refused.items).find_map(policy_of);
    let mut refusals: Vec<String> = refused.items.iter().filter_map(refusal_of).collect();
    refusals.dedup();
    let policy = digest.map(|digest| HostPolicy { digest, refusals });
    Ok((listed.items.iter().map(|item| command_row(visit, item)).collect(), policy))
}

/// The subsystems, and whether the agent has their newest schedule; for who may see them.
async fn subsystems(visit: &Visit, id: &AgentId) -> AppResult<(Vec<Scheduled>, String)> {
    if !visit.may(Permission::InventoryRead) {
        return Ok((Vec::new(), String::new()));
    }
    let known = visit.app.show_subsystems(&visit.caller, id).await?;
    Ok((scheduled(visit, &known), standing(&known)))
}

/// Everything about an agent.
pub(super) async fn show(visit: Visit, Id(id): Id<AgentId>) -> Shown {
    let snapshot = visit.app.show_agent(&visit.caller, &id).await?;
    let agent = &snapshot.view.agent;
    let status = agent.state.status();
    let (commands, policy) = commands(&visit, &id).await?;
    let inventory = match visit.may(Permission::InventoryRead) {
        true => visit.app.show_inventory(&visit.caller, &id, None).await?,
        false => Vec::new(),
    };
    let account = agent.account.0.to_string();
    let account = accounts_of(&visit)
        .await
        .into_iter()
        .find(|(known, _)| *known == account)
        .map_or(account, |(_, name)| name);
    let works = [AgentStatus::Approved, AgentStatus::Quarantined].contains(&status);
    let (subsystems, standing) = subsystems(&visit, &id).await?;
    page(&AgentPage {
        frame: visit.frame(&agent.name, "agents").await,
        id: id.to_string(),
        name: agent.name.clone(),
        status: show::status(status),
        health: show::health(&snapshot),
        oddities: show::oddities(&snapshot),
        connected: snapshot.view.connected,
        seen: when(snapshot.view.last_seen, visit.app.now()),
        groups: agent.identity.as_ref().map(|i| show::groups(&i.fingerprint)).unwrap_or_default(),
        facts: facts(&visit, &snapshot, account),
        labels: agent.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        closed: closed(&agent.state),
        review: review(&visit, &snapshot),
        offers: offers(&visit, &snapshot),
        pending: status == AgentStatus::Pending,
        may_approve: visit.may(Permission::AgentsApprove),
        may_command: status == AgentStatus::Approved && visit.may(Permission::CommandsCreate),
        may_approve_packages: works && visit.may(Permission::UpdatesApprove),
        may_install: works && visit.may(Permission::UpdatesInstall),
        may_rename: visit.may(Permission::AgentsUpdate),
        may_delete: visit.may(Permission::AgentsDelete),
        charts: if works { charts::all(&visit, &id).await? } else { Vec::new() },
        reports: inventory.iter().map(|row| report(row, visit.app.now())).collect(),
        may_sync: status == AgentStatus::Approved && visit.may(Permission::DiscoverySync),
        may_schedule: works && visit.may(Permission::SubsystemsUpdate),
        subsystems: if works { subsystems } else { Vec::new() },
        standing,
        commands,
        policy,
        events: events(&visit, &id).await?,
        timeline: timeline(&visit, &id).await?,
    })
}

#[derive(Template)]
#[template(path = "agent_edit.html")]
struct EditPage<'a> {
    frame: Frame,
    id: &'a AgentId,
    name: String,
    labels: String,
    problem: &'a str,
}

/// Name and labels.
pub(super) async fn edit_form(visit: Visit, Id(id): Id<AgentId>) -> Shown {
    let snapshot = visit.app.show_agent(&visit.caller, &id).await?;
    visit.must(Permission::AgentsUpdate)?;
    let agent = snapshot.view.agent;
    let labels = agent.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let labels = labels.collect::<Vec<_>>().join("\n");
    let frame = visit.frame(&format!("Name and labels of {}", agent.name), "agents").await;
    page(&EditPage { frame, id: &id, name: agent.name, labels, problem: "" })
}

/// Labels as they are typed: `key=value`, one to a line.
pub(in crate::console) fn typed_labels(
    text: &str,
) -> AppResult<std::collections::BTreeMap<String, String>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pair = |line: &str| {
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| AppError::field("labels", "must be key=value, one to a line"))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    lines.map(pair).collect()
}

/// Changes name and labels.
pub(super) async fn edit(Id(id): Id<AgentId>, Sent { visit, form }: Sent) -> Shown {
    let (name, labels) = (form.text("name"), form.text("labels"));
    let saved = match typed_labels(labels) {
        Ok(labels) => {
            let Visit { app, caller, origin, .. } = &visit;
            app.update_agent(caller, origin, &id, Some(name), Some(labels)).await
        }
        Err(error) => Err(error),
    };
    match saved {
        Ok(_) => go(&format!("/console/agents/{id}?done=saved")),
        Err(error) => {
            let (status, problem) = mendable(error)?;
            let frame = visit.frame("Name and labels", "agents").await;
            let (name, labels) = (name.to_owned(), labels.to_owned());
            let again = EditPage { frame, id: &id, name, labels, problem: &problem };
            page_as(status, &again)
        }
    }
}
