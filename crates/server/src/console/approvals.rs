//! Registrations that wait: who asks, from where, and the fingerprint that two people compare.

use argosy_domain::{
    access::Permission, agent::AgentStatus, limits::REGISTRATION_LIFE, review::machine_digest,
};
use askama::Template;

use super::{
    answer::{Shown, page},
    fields::link,
    frame::Frame,
    show::{self, When, when},
    visit::Visit,
};
use crate::app::{
    agents::{AgentQuery, AgentSnapshot},
    paging::{PageQuery, cursor_text},
};

/// Somebody who asks to join.
pub(super) struct Asking {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) hostname: String,
    pub(super) platform: String,
    pub(super) version: String,
    pub(super) source: String,
    pub(super) token: String,
    pub(super) machine: String,
    pub(super) since: When,
    pub(super) until: When,
    /// Empty for an agent without keys.
    pub(super) groups: Vec<String>,
    /// As the form sends it back.
    pub(super) fingerprint: String,
}

/// What is known of a registration.
pub(super) fn asking(visit: &Visit, snapshot: &AgentSnapshot) -> Asking {
    let agent = &snapshot.view.agent;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "not said".to_owned());
    let (now, identity) = (visit.app.now(), agent.identity.as_ref());
    let machine = identity.and_then(|identity| identity.machine_id.as_deref());
    Asking {
        id: agent.id.to_string(),
        name: agent.name.clone(),
        hostname: text(&agent.hostname),
        platform: text(&agent.platform),
        version: text(&agent.version),
        source: text(&agent.source),
        token: agent.token.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string),
        machine: machine.map_or_else(|| "not said".to_owned(), machine_digest),
        since: when(agent.registered_at, now),
        until: when(agent.registered_at.plus(REGISTRATION_LIFE), now),
        groups: identity.map(|identity| show::groups(&identity.fingerprint)).unwrap_or_default(),
        fingerprint: identity.map(|i| i.fingerprint.to_string()).unwrap_or_default(),
    }
}

#[derive(Template)]
#[template(path = "approvals.html")]
struct ApprovalsPage {
    frame: Frame,
    asking: Vec<Asking>,
    next: String,
    first: String,
    shown: String,
    may_decide: bool,
    may_enrol: bool,
}

/// The registrations that wait.
pub(super) async fn list(visit: Visit) -> Shown {
    let status = Some(AgentStatus::Pending.as_str().to_owned());
    let query = AgentQuery { status, ..AgentQuery::default() };
    let paging = PageQuery { limit: Some(20), cursor: visit.query.owned("cursor") };
    let listed = visit.app.list_agents(&visit.caller, &query, &paging).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let to = |cursor: &String| link("/console/approvals", [("cursor", Some(cursor.as_str()))]);
    let asking: Vec<Asking> = listed.items.iter().map(|item| asking(&visit, item)).collect();
    let paged = visit.query.has("cursor");
    page(&ApprovalsPage {
        frame: visit.frame("Approvals", "approvals").await,
        shown: show::several(asking.len() as u64, "registration", "registrations"),
        next: cursor.as_ref().map(to).unwrap_or_default(),
        first: if paged { "/console/approvals".to_owned() } else { String::new() },
        may_decide: visit.may(Permission::AgentsApprove),
        may_enrol: visit.may(Permission::TokensCreate),
        asking,
    })
}
