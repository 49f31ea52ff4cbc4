//! The agents that discover: what each does now and did last, and the way to ask it.

use argosy_domain::{access::Permission, agent::AgentStatus, discovery::SyncStatus};
use askama::Template;

use super::{AGENTS, HERE, Run, run};
use crate::{
    app::{discovery::Discoverer, paging::cursor_text},
    console::{
        agents::{account_name, accounts_of},
        answer::{Shown, page},
        frame::Frame,
        show::{self, Badge, When, when},
        visit::Visit,
    },
};

/// An agent.
struct Row {
    id: String,
    name: String,
    status: Badge,
    health: Option<Badge>,
    account: String,
    seen: When,
    last: Option<Run>,
    open: Option<Run>,
    /// What becomes of the run that has not ended, in words.
    next: &'static str,
    /// It can be asked: it is approved and has no run open.
    free: bool,
}

#[derive(Template)]
#[template(path = "discovery_agents.html")]
struct AgentsPage {
    frame: Frame,
    rows: Vec<Row>,
    may_sync: bool,
    shown: String,
    next: String,
    first: String,
}

fn row(visit: &Visit, known: &Discoverer, accounts: &[(String, String)]) -> Row {
    let agent = &known.agent.view.agent;
    let status = agent.state.status();
    Row {
        id: agent.id.to_string(),
        name: agent.name.clone(),
        status: show::status(status),
        health: show::health(&known.agent),
        account: account_name(accounts, &agent.account.0.to_string()),
        seen: when(known.agent.view.last_seen, visit.app.now()),
        last: known.last.as_ref().map(|job| run(&visit.app, job)),
        next: match known.open.as_ref().map(|job| job.status) {
            Some(SyncStatus::Pending) => "told with its next heartbeat",
            Some(_) | None => "",
        },
        open: known.open.as_ref().map(|job| run(&visit.app, job)),
        free: status == AgentStatus::Approved && known.open.is_none(),
    }
}

/// The agents, newest first.
pub(in crate::console) async fn list(visit: Visit) -> Shown {
    let listed = visit.app.list_discoverers(&visit.caller, &visit.paging()).await?;
    let accounts = accounts_of(&visit).await;
    let cursor = listed.next.as_ref().map(cursor_text);
    let (next, first) = visit.turns(AGENTS, cursor.as_deref());
    let rows: Vec<Row> = listed.items.iter().map(|known| row(&visit, known, &accounts)).collect();
    page(&AgentsPage {
        frame: visit.frame("Agents that discover", HERE).await,
        may_sync: visit.may(Permission::DiscoverySync),
        shown: show::several(rows.len() as u64, "agent", "agents"),
        next,
        first,
        rows,
    })
}
