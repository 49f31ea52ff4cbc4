//! Asking for a run, after saying what follows from it.

use argosy_domain::{access::Permission, discovery::SyncSource, id::AgentId};
use askama::Template;
use axum::http::StatusCode;

use super::{HERE, SYNCS};
use crate::{
    app::{
        discovery::SyncWanted,
        error::{AppError, AppResult},
    },
    console::{
        agents::accounts_of,
        answer::{Shown, go, mendable, page_as},
        fields::Fields,
        frame::Frame,
        visit::{Sent, Visit},
    },
};

/// What follows, one sentence each.
const CONSEQUENCES: &[&str] = &[
    "An agent with keys gets a signed command at once. One without hears of it in the answer to its next heartbeat.",
    "An agent that is at a run already goes on with that one.",
    "Clouds are only read. What a region that was read whole holds no longer is shown as stale, and kept.",
];

#[derive(Template)]
#[template(path = "sync_new.html")]
struct StartPage<'a> {
    frame: Frame,
    /// The agent that is asked, and its name; none where somebody of an account is.
    agent: Option<(String, String)>,
    accounts: Vec<(String, String)>,
    account: String,
    who: String,
    consequences: &'static [&'static str],
    problem: &'a str,
}

/// The agent that an address or a form names.
async fn named(visit: &Visit, fields: &Fields) -> AppResult<Option<(String, String)>> {
    let Some(text) = fields.given("agent") else { return Ok(None) };
    let id: AgentId = text.parse().map_err(|_| AppError::not_found("agent"))?;
    let agent = visit.app.show_agent(&visit.caller, &id).await?.view.agent;
    Ok(Some((id.to_string(), agent.name)))
}

async fn start_page(visit: &Visit, status: StatusCode, fields: &Fields, problem: &str) -> Shown {
    visit.must(Permission::DiscoverySync)?;
    let agent = named(visit, fields).await?;
    let title = match &agent {
        Some((_, name)) => format!("Sync now: {name}"),
        None => "Sync now".to_owned(),
    };
    let page = StartPage {
        frame: visit.frame(&title, HERE).await,
        agent,
        accounts: accounts_of(visit).await,
        account: fields.text("account").to_owned(),
        who: fields.text("who").to_owned(),
        consequences: CONSEQUENCES,
        problem,
    };
    page_as(status, &page)
}

/// Who shall read, and what follows from it.
pub(in crate::console) async fn form(visit: Visit) -> Shown {
    start_page(&visit, StatusCode::OK, &visit.query, "").await
}

/// Asks for it, and leads to the run.
pub(in crate::console) async fn start(Sent { visit, form }: Sent) -> Shown {
    let wanted = SyncWanted {
        account: form.given("account").and_then(|text| text.parse().ok()),
        agent: form.owned("agent"),
        all_agents: form.text("who") == "all",
    };
    let (caller, origin) = (&visit.caller, &visit.origin);
    match visit.app.start_sync(caller, origin, SyncSource::Console, &wanted).await {
        Ok(jobs) => match jobs.as_slice() {
            [one] => go(&format!("{SYNCS}/{}?done=sync-asked", one.id)),
            [] => {
                let problem = "The account has no approved agent.";
                start_page(&visit, StatusCode::CONFLICT, &form, problem).await
            }
            _ => go(&format!("{SYNCS}?done=sync-asked")),
        },
        Err(error) => {
            let (status, problem) = mendable(error)?;
            start_page(&visit, status, &form, &problem).await
        }
    }
}
