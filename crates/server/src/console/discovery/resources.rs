//! Resources: a table, the tree of networks, and what stands out, all under the filters of the address.

use argosy_domain::access::Permission;
use askama::Template;

use super::{
    HERE, RESOURCES, called,
    hints::{Hints, hints},
    kind, resource_status, tree,
};
use crate::{
    app::{
        discovery::ResourceQuery, error::AppResult, paging::cursor_text, records::ResourceRecord,
    },
    console::{
        agents::{account_name, accounts_of, or_any},
        answer::{Shown, page},
        fields::{Fields, link, relink},
        frame::Frame,
        show::{self, Badge, Chip, When, when},
        visit::Visit,
    },
};

/// What the address may hold beside the cursor.
const FILTERS: [&str; 7] = ["view", "q", "account", "provider", "region", "type", "status"];
const EXPORT: &str = "/api/v1/discovery/export";

/// A resource in the table.
struct Row {
    id: String,
    name: String,
    resource_id: String,
    kind: String,
    provider: String,
    region: String,
    cidr: String,
    account: String,
    status: Badge,
    first: When,
    last: When,
}

/// What is shown, and the ways from here.
struct Listing {
    /// `table`, `tree` or `hints`.
    view: &'static str,
    /// Each view: its name, its words, the way to it.
    views: Vec<(&'static str, &'static str, String)>,
    q: String,
    account: String,
    provider: String,
    region: String,
    kind: String,
    status: String,
    accounts: Vec<(String, String)>,
    chips: Vec<Chip>,
    /// What is filtered, as files.
    exports: [(&'static str, String); 2],
    shown: String,
    next: String,
    first: String,
    may_sync: bool,
}

#[derive(Template)]
#[template(path = "discovery.html")]
struct DiscoveryPage {
    frame: Frame,
    listing: Listing,
    rows: Vec<Row>,
    roots: Vec<String>,
    /// Some of what lies in the networks is not shown.
    truncated: bool,
    hints: Option<Hints>,
}

fn wanted(query: &Fields) -> ResourceQuery {
    ResourceQuery {
        account: query.given("account").and_then(|text| text.parse().ok()),
        provider: query.owned("provider"),
        region: query.owned("region"),
        resource_type: query.owned("type"),
        status: query.owned("status"),
        q: query.owned("q"),
    }
}

fn row(visit: &Visit, record: &ResourceRecord, accounts: &[(String, String)]) -> Row {
    let (seen, now) = (&record.resource, visit.app.now());
    Row {
        id: record.id.to_string(),
        name: called(&seen.name, &seen.resource_id),
        resource_id: seen.resource_id.clone(),
        kind: kind(&seen.resource_type),
        provider: seen.provider.clone(),
        region: seen.region.clone(),
        cidr: seen.cidr.clone().unwrap_or_default(),
        account: account_name(accounts, &record.account.0.to_string()),
        status: resource_status(record.status),
        first: when(record.first_seen_at, now),
        last: when(record.last_seen_at, now),
    }
}

fn chips(query: &Fields, accounts: &[(String, String)]) -> Vec<Chip> {
    let chip = |name: &'static str| {
        let value = query.given(name).filter(|_| name != "view")?;
        let words = match name {
            "q" => format!("“{value}” in name, id or range"),
            "account" => format!("account: {}", account_name(accounts, value)),
            _ => format!("{name}: {value}"),
        };
        Some(Chip { words, without: to(query, &[(name, None)]) })
    };
    FILTERS.into_iter().filter_map(chip).collect()
}

/// The page under other filters.
fn to<'a>(query: &'a Fields, other: &[(&'a str, Option<&'a str>)]) -> String {
    relink(RESOURCES, &FILTERS, query, other)
}

fn export(query: &Fields, format: &'static str) -> String {
    let renamed = [
        ("format", Some(format)),
        ("account_id", query.given("account")),
        ("resource_type", query.given("type")),
    ];
    let same = ["provider", "region", "status", "q"].map(|name| (name, query.given(name)));
    link(EXPORT, renamed.into_iter().chain(same))
}

fn listing(visit: &Visit, accounts: Vec<(String, String)>) -> Listing {
    let query = &visit.query;
    let text = |name: &str| query.given(name).unwrap_or_default().to_owned();
    let view = match query.text("view") {
        "tree" => "tree",
        "hints" => "hints",
        _ => "table",
    };
    Listing {
        view,
        views: vec![
            ("table", "Table", to(query, &[("view", None)])),
            ("tree", "Tree", to(query, &[("view", Some("tree"))])),
            ("hints", "Hints", to(query, &[("view", Some("hints"))])),
        ],
        q: text("q"),
        account: text("account"),
        provider: text("provider"),
        region: text("region"),
        kind: text("type"),
        status: text("status"),
        chips: chips(query, &accounts),
        accounts: or_any("Any account", accounts),
        exports: [("CSV", export(query, "csv")), ("JSON", export(query, "json"))],
        shown: String::new(),
        next: String::new(),
        first: if query.has("cursor") { to(query, &[]) } else { String::new() },
        may_sync: visit.may(Permission::DiscoverySync),
    }
}

async fn fill(
    visit: &Visit,
    page: &mut DiscoveryPage,
    accounts: &[(String, String)],
) -> AppResult<()> {
    let Visit { app, caller, query, .. } = visit;
    let listing = &mut page.listing;
    let next = match listing.view {
        "hints" => {
            page.hints = Some(hints(visit, wanted(query).account, accounts).await?);
            None
        }
        "tree" => {
            let drawn = tree::draw(visit, wanted(query)).await?;
            listing.shown = show::several(drawn.roots.len() as u64, "network", "networks");
            (page.roots, page.truncated) = (drawn.roots, drawn.truncated);
            drawn.next
        }
        _ => {
            let listed = app.list_resources(caller, wanted(query), &visit.paging()).await?;
            page.rows = listed.items.iter().map(|record| row(visit, record, accounts)).collect();
            listing.shown = show::several(page.rows.len() as u64, "resource", "resources");
            listed.next.as_ref().map(cursor_text)
        }
    };
    let onward = |at: &str| relink(RESOURCES, &FILTERS, query, &[("cursor", Some(at))]);
    listing.next = next.as_deref().map(onward).unwrap_or_default();
    Ok(())
}

/// The table, the tree or the hints.
pub(in crate::console) async fn list(visit: Visit) -> Shown {
    let accounts = accounts_of(&visit).await;
    let mut shown = DiscoveryPage {
        frame: visit.frame("Discovery", HERE).await,
        listing: listing(&visit, accounts.clone()),
        rows: Vec::new(),
        roots: Vec::new(),
        truncated: false,
        hints: None,
    };
    fill(&visit, &mut shown, &accounts).await?;
    page(&shown)
}
