//! Pending packages of operating systems over the fleet: by package, or agent by agent. What closes a
//! security hole comes first.

mod approvals;
mod install;

use argosy_domain::{access::Permission, id::AgentId};
use argosy_wire::rest::fan_outs::Selector;
use askama::Template;

pub(super) use self::{
    approvals::{approvals, approve, approve_form, take_back},
    install::{install, install_form},
};
use super::{
    agent::typed_labels,
    answer::{Shown, page},
    fields::{Fields, link, relink},
    frame::Frame,
    show::{self, Badge, Chip, When, when},
    visit::Visit,
};
use crate::app::{
    error::{AppError, AppResult},
    paging::cursor_text,
    records::{FleetPackageRecord, PendingRecord},
    updates::UpdatesQuery,
};

const LIST: &str = "/console/packages";
/// What the address may hold beside the cursor.
const FILTERS: [&str; 4] = ["view", "package", "security", "agent"];

/// For which hosts packages are approved, tried or installed: one, those with some labels, or all.
pub(super) struct Whom {
    agent: String,
    name: String,
    labels: String,
}

impl Whom {
    async fn of(visit: &Visit, fields: &Fields) -> AppResult<Self> {
        let agent = fields.given("agent").unwrap_or_default().to_owned();
        let name = if agent.is_empty() {
            String::new()
        } else {
            let id: AgentId = agent.parse().map_err(|_| AppError::not_found("agent"))?;
            visit.app.show_agent(&visit.caller, &id).await?.view.agent.name
        };
        Ok(Self { agent, name, labels: fields.text("labels").to_owned() })
    }

    fn selector(fields: &Fields) -> AppResult<Selector> {
        let labels = typed_labels(fields.text("labels"))?;
        let agents: Vec<_> = fields.owned("agent").into_iter().collect();
        let all = labels.is_empty() && agents.is_empty();
        Ok(Selector { all, agents, labels, ..Selector::default() })
    }
}

/// A version that is available somewhere.
struct Version {
    version: String,
    agents: String,
    approved: u64,
}

/// A package that is pending somewhere.
struct Package {
    name: String,
    why: Badge,
    agents: String,
    /// Agent by agent.
    path: String,
    versions: Vec<Version>,
}

/// A package that is pending on an agent.
struct Pending {
    agent: String,
    agent_name: String,
    package: String,
    current: String,
    available: String,
    why: Badge,
    repository: String,
    approved: bool,
    tried: When,
}

/// What the two views have in common.
struct Listing {
    by_agent: bool,
    /// The other view under the same filters: by package, by agent.
    views: (String, String),
    package: String,
    agent: String,
    security: String,
    chips: Vec<Chip>,
    shown: String,
    next: String,
    first: String,
    /// Where what is shown is approved; nowhere for those who may not.
    approve: String,
    /// Where it is tried and installed.
    install: String,
}

#[derive(Template)]
#[template(path = "packages.html")]
struct PackagesPage {
    frame: Frame,
    listing: Listing,
    packages: Vec<Package>,
    pending: Vec<Pending>,
}

fn why(security: bool) -> Badge {
    if security { Badge::new("warn", "security") } else { Badge::new("off", "update") }
}

fn package(query: &Fields, record: &FleetPackageRecord) -> Package {
    let name = record.name.as_str();
    let versions = record.versions.iter().map(|offered| Version {
        version: offered.version.as_str().to_owned(),
        agents: show::several(offered.agents, "agent", "agents"),
        approved: offered.approved,
    });
    let security = query.given("security");
    let to = [("view", Some("agents")), ("package", Some(name)), ("security", security)];
    Package {
        name: name.to_owned(),
        why: why(record.security),
        agents: show::several(record.agents, "agent", "agents"),
        path: link(LIST, to),
        versions: versions.collect(),
    }
}

fn pending(visit: &Visit, record: &PendingRecord) -> Pending {
    let package = &record.package;
    Pending {
        agent: record.agent.to_string(),
        agent_name: record.agent_name.clone(),
        package: package.name.as_str().to_owned(),
        current: package.installed.as_str().to_owned(),
        available: package.available.as_str().to_owned(),
        why: why(package.security),
        repository: package.repository.clone(),
        approved: record.approval.is_some(),
        tried: when(record.tried_at, visit.app.now()),
    }
}

/// The list under other filters.
fn with<'a>(query: &'a Fields, other: &[(&'a str, Option<&'a str>)]) -> String {
    relink(LIST, &FILTERS, query, other)
}

fn listing(visit: &Visit, cursor: Option<&str>, shown: String) -> Listing {
    let query = &visit.query;
    let to = |permission, path: fn(&Fields) -> String| {
        if visit.may(permission) { path(query) } else { String::new() }
    };
    let text = |name: &str| query.given(name).unwrap_or_default().to_owned();
    let chip = |name: &'static str| {
        let value = query.given(name)?;
        let words = if name == "security" {
            "security only".to_owned()
        } else {
            format!("{name}: {value}")
        };
        Some(Chip { words, without: with(query, &[(name, None)]) })
    };
    Listing {
        by_agent: query.text("view") == "agents",
        views: (with(query, &[("view", None)]), with(query, &[("view", Some("agents"))])),
        package: text("package"),
        agent: text("agent"),
        security: text("security"),
        chips: ["package", "security", "agent"].into_iter().filter_map(chip).collect(),
        shown,
        next: cursor.map(|at| with(query, &[("cursor", Some(at))])).unwrap_or_default(),
        first: if query.has("cursor") { with(query, &[]) } else { String::new() },
        approve: to(Permission::UpdatesApprove, approvals::approve_path),
        install: to(Permission::UpdatesInstall, install::install_path),
    }
}

/// The packages, by package or agent by agent.
pub(super) async fn list(visit: Visit) -> Shown {
    let query = &visit.query;
    let wanted = UpdatesQuery {
        agent: query.owned("agent"),
        package: query.owned("package"),
        security: query.given("security").is_some(),
    };
    let frame = visit.frame("Packages", "packages").await;
    if query.text("view") == "agents" {
        let listed =
            visit.app.list_pending_updates(&visit.caller, &wanted, &visit.paging()).await?;
        let cursor = listed.next.as_ref().map(cursor_text);
        let pending: Vec<_> = listed.items.iter().map(|record| pending(&visit, record)).collect();
        let shown = show::several(pending.len() as u64, "row", "rows");
        let listing = listing(&visit, cursor.as_deref(), shown);
        return page(&PackagesPage { frame, listing, packages: Vec::new(), pending });
    }
    let listed = visit.app.list_updates(&visit.caller, &wanted, &visit.paging()).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let packages: Vec<_> = listed.items.iter().map(|record| package(query, record)).collect();
    let shown = show::several(packages.len() as u64, "package", "packages");
    let listing = listing(&visit, cursor.as_deref(), shown);
    page(&PackagesPage { frame, listing, packages, pending: Vec::new() })
}
