//! One decision about several agents: first whom it would touch, then the decision, then how it
//! went with each.

use std::collections::BTreeSet;

use argosy_domain::{
    access::Permission, agent::AgentStatus, command::CommandKind, id::AgentId,
    limits::PAGE_ITEMS_MAX, subsystem::Subsystem,
};
use argosy_wire::{problem::Code, rest::commands::CreateCommand};
use askama::Template;

use super::{
    answer::{Shown, page},
    fields::Fields,
    frame::Frame,
    rulings::Decision,
    show::{self, Badge},
    visit::{Sent, Visit},
};
use crate::app::{
    agents::{AgentSnapshot, Ruling},
    error::{AppError, AppResult},
};

/// What can be done to several agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bulk {
    Decide(Decision, Ruling),
    Run(Subsystem),
}

impl Bulk {
    /// Everything, as a choice names it.
    fn all() -> impl Iterator<Item = Self> {
        let decisions = [
            Self::Decide(Decision::Quarantine, Ruling::Quarantine),
            Self::Decide(Decision::Restore, Ruling::Restore),
            Self::Decide(Decision::Revoke, Ruling::Revoke),
        ];
        decisions.into_iter().chain(Subsystem::ALL.into_iter().map(Self::Run))
    }

    fn key(self) -> String {
        match self {
            Self::Decide(decision, _) => decision.path().to_owned(),
            Self::Run(subsystem) => format!("run-{}", subsystem.as_str()),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Decide(decision, _) => decision.verb().to_owned(),
            Self::Run(subsystem) => format!("Run {} now", subsystem.as_str()),
        }
    }

    fn permission(self) -> Permission {
        match self {
            Self::Decide(decision, _) => decision.permission(),
            Self::Run(_) => Permission::CommandsCreate,
        }
    }

    fn consequences(self) -> &'static [&'static str] {
        match self {
            Self::Decide(decision, _) => decision.consequences(),
            Self::Run(_) => &["Each gets a signed command, and reports when it is done."],
        }
    }

    fn fits(self, snapshot: &AgentSnapshot) -> bool {
        match self {
            Self::Decide(decision, _) => Decision::fitting(snapshot).contains(&decision),
            Self::Run(_) => snapshot.view.agent.state.status() == AgentStatus::Approved,
        }
    }
}

/// What a visitor may do to several agents: key and words.
pub(super) fn offered(visit: &Visit) -> Vec<(String, String)> {
    let may = Bulk::all().filter(|bulk| visit.may(bulk.permission()));
    may.map(|bulk| (bulk.key(), bulk.words())).collect()
}

/// An agent in a preview or a result.
struct Touched {
    id: String,
    name: String,
    status: Badge,
    /// Why it is left out, or what went wrong.
    problem: String,
}

#[derive(Template)]
#[template(path = "bulk.html")]
struct BulkPage {
    frame: Frame,
    key: String,
    decides: bool,
    consequences: &'static [&'static str],
    irreversible: bool,
    touched: Vec<Touched>,
    left_out: Vec<Touched>,
    /// It is over.
    done: bool,
    /// Makes a form that is sent twice one command for each.
    once: String,
}

/// What a form asks for, of agents that exist.
struct Asked {
    bulk: Bulk,
    snapshots: Vec<AgentSnapshot>,
}

async fn asked(visit: &Visit, form: &Fields) -> AppResult<Asked> {
    let key = form.text("action");
    let bulk = Bulk::all().find(|bulk| bulk.key() == key);
    let bulk = bulk.ok_or_else(|| AppError::field("action", "is unknown"))?;
    visit.must(bulk.permission())?;
    let ids: BTreeSet<&str> = form.all("id").collect();
    if ids.is_empty() {
        return Err(AppError::because(Code::Invalid, "tick the agents that it shall touch"));
    }
    if ids.len() > usize::try_from(PAGE_ITEMS_MAX).unwrap_or(usize::MAX) {
        return Err(AppError::field("id", format!("at most {PAGE_ITEMS_MAX} at once")));
    }
    let mut snapshots = Vec::new();
    for id in ids {
        let id: AgentId = id.parse().map_err(|_| AppError::not_found("agent"))?;
        snapshots.push(visit.app.show_agent(&visit.caller, &id).await?);
    }
    Ok(Asked { bulk, snapshots })
}

fn touched(snapshot: &AgentSnapshot, problem: String) -> Touched {
    let agent = &snapshot.view.agent;
    let status = show::status(agent.state.status());
    Touched { id: agent.id.to_string(), name: agent.name.clone(), status, problem }
}

async fn bulk_page(
    visit: &Visit,
    bulk: Bulk,
    lists: (Vec<Touched>, Vec<Touched>),
    done: bool,
) -> Shown {
    let (touched, left_out) = lists;
    let count = show::several(touched.len() as u64, "agent", "agents");
    let frame = visit.frame(&format!("{}: {count}", bulk.words()), "agents").await;
    page(&BulkPage {
        frame,
        key: bulk.key(),
        decides: matches!(bulk, Bulk::Decide(..)),
        consequences: bulk.consequences(),
        irreversible: matches!(bulk, Bulk::Decide(Decision::Revoke, _)),
        touched,
        left_out,
        done,
        once: visit.app.trace_id(),
    })
}

/// Whom it would touch, and whom not and why. Nothing is changed.
pub(super) async fn preview(Sent { visit, form }: Sent) -> Shown {
    let Asked { bulk, snapshots } = asked(&visit, &form).await?;
    let (fitting, others): (Vec<_>, Vec<_>) =
        snapshots.iter().partition(|snapshot| bulk.fits(snapshot));
    let status = |s: &AgentSnapshot| s.view.agent.state.status().as_str();
    let fitting = fitting.into_iter().map(|s| touched(s, String::new())).collect();
    let others =
        others.into_iter().map(|s| touched(s, format!("not possible while {}", status(s))));
    bulk_page(&visit, bulk, (fitting, others.collect()), false).await
}

async fn apply_to(visit: &Visit, bulk: Bulk, id: &AgentId, form: &Fields) -> AppResult<()> {
    let Visit { app, caller, origin, .. } = visit;
    match bulk {
        Bulk::Decide(_, ruling) => {
            app.rule_on_agent(caller, origin, id, ruling, form.given("reason")).await?;
        }
        Bulk::Run(subsystem) => {
            let request = CreateCommand {
                kind: CommandKind::SubsystemRun.as_str().to_owned(),
                params: serde_json::json!({ "subsystem": subsystem.as_str() }),
                expires_in: None,
                idempotency_key: form.given("once").map(|once| format!("{once}-{id}")),
            };
            app.create_command(caller, origin, id, &request).await?;
        }
    }
    Ok(())
}

/// Does it to each, and says how it went.
pub(super) async fn apply(Sent { visit, form }: Sent) -> Shown {
    let Asked { bulk, snapshots } = asked(&visit, &form).await?;
    let (mut changed, mut failed) = (Vec::new(), Vec::new());
    for snapshot in &snapshots {
        let id = &snapshot.view.agent.id;
        match apply_to(&visit, bulk, id, &form).await {
            Ok(()) => {
                let now = visit.app.show_agent(&visit.caller, id).await?;
                changed.push(touched(&now, String::new()));
            }
            Err(error) => failed.push(touched(snapshot, error.detail)),
        }
    }
    bulk_page(&visit, bulk, (changed, failed), true).await
}
