//! Security events: what somebody tried, folded and counted.

use argosy_domain::security::SecurityKind;
use askama::Template;

use super::{
    agents::or_any,
    answer::{Shown, page},
    audit::detail,
    fields::link,
    frame::Frame,
    show::{self, When, when},
    visit::Visit,
};
use crate::app::{paging::cursor_text, records::SecurityRecord, security::SecurityQuery};

const LIST: &str = "/console/security";

/// An event.
struct Row {
    kind: String,
    times: u64,
    agent: String,
    source: String,
    detail: String,
    first: When,
    last: When,
}

#[derive(Template)]
#[template(path = "security.html")]
struct SecurityPage {
    frame: Frame,
    rows: Vec<Row>,
    kinds: Vec<(String, String)>,
    kind: String,
    agent: String,
    shown: String,
    next: String,
    first: String,
}

/// The list, the last seen first.
pub(super) async fn list(visit: Visit) -> Shown {
    let query = &visit.query;
    let (kind, agent) = (query.given("kind"), query.given("agent"));
    let wanted =
        SecurityQuery { kind: query.owned("kind"), agent_id: query.owned("agent"), since: None };
    let listed = visit.app.list_security_events(&visit.caller, wanted, &visit.paging()).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let to = |cursor| link(LIST, [("kind", kind), ("agent", agent), ("cursor", cursor)]);
    let now = visit.app.now();
    let row = |event: SecurityRecord| Row {
        kind: event.kind.replace('_', " "),
        times: event.times,
        agent: event.agent.unwrap_or_default(),
        source: event.source.unwrap_or_default(),
        detail: detail(&event.detail),
        first: when(event.first_at, now),
        last: when(event.last_at, now),
    };
    let rows: Vec<Row> = listed.items.into_iter().map(row).collect();
    let name = |kind: &SecurityKind| (kind.as_str().to_owned(), kind.as_str().replace('_', " "));
    page(&SecurityPage {
        frame: visit.frame("Security events", "security").await,
        kinds: or_any("Any kind", SecurityKind::ALL.iter().map(name).collect()),
        kind: kind.unwrap_or_default().to_owned(),
        agent: agent.unwrap_or_default().to_owned(),
        shown: show::several(rows.len() as u64, "event", "events"),
        next: cursor.as_deref().map(|cursor| to(Some(cursor))).unwrap_or_default(),
        first: if query.has("cursor") { to(None) } else { String::new() },
        rows,
    })
}
