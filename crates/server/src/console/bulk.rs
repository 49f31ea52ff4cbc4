//! One decision about several agents, ticked or all that a filter lets through: first whom it would
//! touch, then the decision, then how it went with each. A command to several is composed elsewhere.

use std::collections::BTreeSet;

use argosy_domain::{
    access::Permission, agent::AgentStatus, command::CommandKind, id::AgentId,
    limits::PAGE_ITEMS_MAX, subsystem::Subsystem,
};
use argosy_wire::problem::Code;
use askama::Template;
use futures::{StreamExt as _, stream};

use super::{
    agents::wanted,
    answer::{Shown, go, page},
    compose,
    fields::Fields,
    frame::Frame,
    rulings::Decision,
    show::{self, Badge},
    visit::{Sent, Visit},
};
use crate::app::{
    agents::{AgentSnapshot, Ruling},
    error::{AppError, AppResult},
    paging::{PageQuery, cursor_text},
};

/// Agents that one decision is about at most.
const AGENTS_MAX: usize = 1_000;
/// Agents that are decided about at once: their transactions share commits.
const AT_ONCE: usize = 16;

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
}

/// What a visitor may do to several agents: key and words.
pub(super) fn offered(visit: &Visit) -> Vec<(String, String)> {
    let may = Bulk::all().filter(|bulk| visit.may(bulk.permission()));
    may.map(|bulk| (bulk.key(), bulk.words())).collect()
}

/// An agent in a preview or a result.
pub(super) struct Touched {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: Badge,
    /// Why it is left out, or what went wrong.
    pub(super) problem: String,
}

impl Touched {
    /// One of which there is nothing more to say.
    pub(super) fn of(snapshot: &AgentSnapshot) -> Self {
        Self::because(snapshot, String::new())
    }

    fn because(snapshot: &AgentSnapshot, problem: String) -> Self {
        let agent = &snapshot.view.agent;
        let status = show::status(agent.state.status());
        Self { id: agent.id.to_string(), name: agent.name.clone(), status, problem }
    }
}

#[derive(Template)]
#[template(path = "bulk.html")]
struct BulkPage {
    frame: Frame,
    key: String,
    consequences: &'static [&'static str],
    irreversible: bool,
    touched: Vec<Touched>,
    left_out: Vec<Touched>,
    /// It is over.
    done: bool,
}

fn too_many(all: u64) -> AppError {
    let (all, most) = (show::count(all), show::count(AGENTS_MAX as u64));
    let why = format!("{all} agents fit, and one decision is about {most} at most: filter more");
    AppError::because(Code::Invalid, why)
}

/// All that fit the filters of the list.
async fn fitting(visit: &Visit, form: &Fields) -> AppResult<Vec<AgentSnapshot>> {
    let query = wanted(form);
    let all = visit.app.count_agents(&visit.caller, &query).await?;
    if all > AGENTS_MAX as u64 {
        return Err(too_many(all));
    }
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let paging = PageQuery { limit: Some(PAGE_ITEMS_MAX), cursor };
        let page = visit.app.list_agents(&visit.caller, &query, &paging).await?;
        found.extend(page.items);
        cursor = page.next.as_ref().map(cursor_text);
        if cursor.is_none() || found.len() >= AGENTS_MAX {
            return Ok(found);
        }
    }
}

/// The agents that a form names.
async fn named(visit: &Visit, form: &Fields) -> AppResult<Vec<AgentSnapshot>> {
    let ids: BTreeSet<&str> = form.all("id").collect();
    if ids.is_empty() {
        return Err(AppError::because(Code::Invalid, "tick the agents that it shall touch"));
    }
    if ids.len() > AGENTS_MAX {
        return Err(too_many(ids.len() as u64));
    }
    let mut snapshots = Vec::new();
    for id in ids {
        let id: AgentId = id.parse().map_err(|_| AppError::not_found("agent"))?;
        snapshots.push(visit.app.show_agent(&visit.caller, &id).await?);
    }
    Ok(snapshots)
}

/// What a form asks for.
fn asked(visit: &Visit, form: &Fields) -> AppResult<Bulk> {
    let key = form.text("action");
    let bulk = Bulk::all().find(|bulk| bulk.key() == key);
    let bulk = bulk.ok_or_else(|| AppError::field("action", "is unknown"))?;
    visit.must(bulk.permission())?;
    Ok(bulk)
}

async fn bulk_page(
    visit: &Visit,
    (bulk, decision): (Bulk, Decision),
    (touched, left_out): (Vec<Touched>, Vec<Touched>),
    done: bool,
) -> Shown {
    let count = show::several(touched.len() as u64, "agent", "agents");
    let frame = visit.frame(&format!("{}: {count}", bulk.words()), "agents").await;
    page(&BulkPage {
        frame,
        key: bulk.key(),
        consequences: decision.consequences(),
        irreversible: decision == Decision::Revoke,
        touched,
        left_out,
        done,
    })
}

/// The page that previews and starts a command to the same agents.
fn to_command(subsystem: Subsystem, everybody: bool, form: &Fields) -> Shown {
    let kind = CommandKind::SubsystemRun.as_str();
    let labels = form.text("label");
    let mut said = vec![("kind", kind), ("subsystem", subsystem.as_str()), ("preview", "1")];
    if everybody {
        if !["", AgentStatus::Approved.as_str()].contains(&form.text("status")) {
            let why = "a command reaches approved agents only: the filter shows others";
            return Err(AppError::because(Code::Invalid, why).into());
        }
        let nothing = compose::address(form, &[]) == compose::PATH && labels.is_empty();
        said.extend([("labels", labels)]);
        said.extend(nothing.then_some(("all", "yes")));
    }
    let kept = if everybody { form.without("id") } else { form.only("id") };
    go(&compose::address(&kept, &said))
}

/// Whom it would touch, and whom not and why. Nothing is changed.
pub(super) async fn preview(Sent { visit, form }: Sent) -> Shown {
    let bulk = asked(&visit, &form)?;
    let everybody = form.text("whom") == "all";
    let decision = match bulk {
        Bulk::Decide(decision, _) => decision,
        Bulk::Run(subsystem) => return to_command(subsystem, everybody, &form),
    };
    let snapshots = match everybody {
        true => fitting(&visit, &form).await?,
        false => named(&visit, &form).await?,
    };
    let (fitting, others): (Vec<_>, Vec<_>) =
        snapshots.iter().partition(|snapshot| Decision::fitting(snapshot).contains(&decision));
    let status = |s: &AgentSnapshot| s.view.agent.state.status().as_str();
    let others = others
        .into_iter()
        .map(|s| Touched::because(s, format!("not possible while {}", status(s))));
    let lists = (fitting.into_iter().map(Touched::of).collect(), others.collect());
    bulk_page(&visit, (bulk, decision), lists, false).await
}

/// Decides about one agent: how it is then, or what went wrong.
async fn decide(
    visit: &Visit,
    ruling: Ruling,
    snapshot: &AgentSnapshot,
    reason: Option<&str>,
) -> Result<Touched, Touched> {
    let Visit { app, caller, origin, .. } = visit;
    let ruled = app.rule_on_agent(caller, origin, &snapshot.view.agent.id, ruling, reason).await;
    match ruled {
        Ok(now) => Ok(Touched::of(&now)),
        Err(error) => Err(Touched::because(snapshot, error.detail)),
    }
}

/// Does it to each that the preview named, and says how it went.
pub(super) async fn apply(Sent { visit, form }: Sent) -> Shown {
    let bulk = asked(&visit, &form)?;
    let (decision, ruling) = match bulk {
        Bulk::Decide(decision, ruling) => (decision, ruling),
        Bulk::Run(subsystem) => return to_command(subsystem, false, &form),
    };
    let snapshots = named(&visit, &form).await?;
    let reason = form.given("reason");
    let decisions: Vec<_> =
        snapshots.iter().map(|snapshot| decide(&visit, ruling, snapshot, reason)).collect();
    let ruled: Vec<_> = stream::iter(decisions).buffered(AT_ONCE).collect().await;
    let (mut changed, mut failed) = (Vec::new(), Vec::new());
    for touched in ruled {
        match touched {
            Ok(touched) => changed.push(touched),
            Err(touched) => failed.push(touched),
        }
    }
    bulk_page(&visit, (bulk, decision), (changed, failed), true).await
}
