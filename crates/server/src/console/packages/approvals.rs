//! Approving packages, and what is approved.

use argosy_domain::{access::Permission, id::ApprovalId, limits::PACKAGES_APPROVED_MAX};
use argosy_wire::rest::updates::{ApproveUpdates, ApprovedPackage, WantedPackage};
use askama::Template;
use axum::http::StatusCode;

use super::{LIST, Whom, why};
use crate::{
    app::{
        paging::{PageQuery, cursor_text},
        records::{ApprovalRecord, FleetPackageRecord},
        updates::UpdatesQuery,
    },
    console::{
        answer::{Shown, go, page, page_as, status_of},
        fields::{Fields, link},
        frame::Frame,
        show::{self, Badge, When, when},
        visit::{Id, Sent, Visit},
    },
};

const APPROVALS: &str = "/console/packages/approvals";
/// Versions that a row of the list names.
const NAMED_MAX: usize = 5;

/// A package that can be approved.
struct Candidate {
    name: String,
    why: Badge,
    versions: String,
    agents: String,
    ticked: bool,
}

#[derive(Template)]
#[template(path = "package_approve.html")]
struct ApprovePage {
    frame: Frame,
    whom: Whom,
    candidates: Vec<Candidate>,
    security: bool,
    /// There are more than the page names.
    more: bool,
    problem: String,
}

fn candidate(fields: &Fields, record: &FleetPackageRecord) -> Candidate {
    let name = record.name.as_str();
    let versions = record.versions.iter().map(|offered| offered.version.as_str());
    let ticked = fields.all("package").any(|ticked| ticked == name);
    Candidate {
        name: name.to_owned(),
        why: why(record.security),
        versions: versions.collect::<Vec<_>>().join(", "),
        agents: show::several(record.agents, "agent", "agents"),
        ticked: ticked || fields.given("one") == Some(name),
    }
}

async fn approve_page(visit: &Visit, status: StatusCode, fields: &Fields, problem: &str) -> Shown {
    visit.must(Permission::UpdatesApprove)?;
    let wanted = UpdatesQuery {
        agent: fields.owned("agent"),
        package: fields.owned("one"),
        security: false,
    };
    let limit = u32::try_from(PACKAGES_APPROVED_MAX).ok();
    let listed =
        visit.app.list_updates(&visit.caller, &wanted, &PageQuery { limit, cursor: None }).await?;
    let page = ApprovePage {
        frame: visit.frame("Approve packages", "packages").await,
        whom: Whom::of(visit, fields).await?,
        candidates: listed.items.iter().map(|record| candidate(fields, record)).collect(),
        security: fields.text("what") == "security",
        more: listed.next.is_some(),
        problem: problem.to_owned(),
    };
    page_as(status, &page)
}

/// What is pending, to tick.
pub(in crate::console) async fn approve_form(visit: Visit) -> Shown {
    approve_page(&visit, StatusCode::OK, &visit.query, "").await
}

fn request(fields: &Fields) -> crate::app::error::AppResult<ApproveUpdates> {
    let security = fields.text("what") == "security";
    let ticked = fields.all("package").filter(|_| !security);
    let packages = ticked.map(|name| WantedPackage { name: name.to_owned(), version: None });
    Ok(ApproveUpdates { selector: Whom::selector(fields)?, packages: packages.collect(), security })
}

/// Approves what was ticked, in the versions that are pending.
pub(in crate::console) async fn approve(Sent { visit, form }: Sent) -> Shown {
    let approved = match request(&form) {
        Ok(request) => visit.app.approve_updates(&visit.caller, &visit.origin, &request).await,
        Err(error) => Err(error),
    };
    match approved {
        Ok(_) => go(&format!("{APPROVALS}?done=packages-approved")),
        Err(error) if error.code.http() == 422 => {
            approve_page(&visit, status_of(&error), &form, &error.detail).await
        }
        Err(error) => Err(error.into()),
    }
}

/// An approval in the list.
struct Row {
    id: String,
    covers: Vec<String>,
    more: String,
    agents: String,
    state: Badge,
    by: String,
    at: When,
    waits: bool,
}

#[derive(Template)]
#[template(path = "package_approvals.html")]
struct ApprovalsPage {
    frame: Frame,
    rows: Vec<Row>,
    may_approve: bool,
    shown: String,
    next: String,
    first: String,
}

fn row(visit: &Visit, record: &ApprovalRecord) -> Row {
    let covers: Vec<ApprovedPackage> = serde_json::from_str(&record.packages).unwrap_or_default();
    let more = covers.len().saturating_sub(NAMED_MAX);
    let named = covers.iter().take(NAMED_MAX);
    let state = match &record.revoked {
        Some(_) => Badge::new("off", "taken back"),
        None if record.waiting == 0 => Badge::new("ok", "nothing waits"),
        None => Badge::new("warn", format!("{} waiting", show::count(record.waiting))),
    };
    Row {
        id: record.id.to_string(),
        covers: named.map(|package| format!("{} {}", package.name, package.version)).collect(),
        more: if more > 0 { format!("and {more} more") } else { String::new() },
        agents: show::several(record.agents, "agent", "agents"),
        state,
        by: record.approved_by.clone(),
        at: when(record.approved_at, visit.app.now()),
        waits: record.revoked.is_none() && record.waiting > 0,
    }
}

/// The approvals, newest first.
pub(in crate::console) async fn approvals(visit: Visit) -> Shown {
    let listed = visit.app.list_approvals(&visit.caller, &visit.paging()).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let (next, first) = visit.turns(APPROVALS, cursor.as_deref());
    let rows: Vec<_> = listed.items.iter().map(|record| row(&visit, record)).collect();
    page(&ApprovalsPage {
        frame: visit.frame("Approvals of packages", "packages").await,
        may_approve: visit.may(Permission::UpdatesApprove),
        shown: show::several(rows.len() as u64, "approval", "approvals"),
        next,
        first,
        rows,
    })
}

/// Takes an approval back.
pub(in crate::console) async fn take_back(
    Id(id): Id<ApprovalId>,
    Sent { visit, form: _ }: Sent,
) -> Shown {
    visit.app.revoke_approval(&visit.caller, &visit.origin, &id).await?;
    go(&format!("{APPROVALS}?done=packages-taken-back"))
}

/// The address of the form for what a list shows.
pub(super) fn approve_path(fields: &Fields) -> String {
    let pairs = [("agent", fields.given("agent")), ("one", fields.given("package"))];
    link(&format!("{LIST}/approve"), pairs)
}
