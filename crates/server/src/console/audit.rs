//! The audit log, filtered; and how to check it without this server.

use askama::Template;
use serde_json::Value;

use super::{
    answer::{Shown, page},
    fields::link,
    frame::Frame,
    show::{self, When, when},
    visit::Visit,
};
use crate::app::{
    audit::AuditQuery,
    error::AppError,
    paging::{PageQuery, cursor_text},
};

const LIST: &str = "/console/audit";
/// What the address may hold beside the cursor.
const FILTERS: [&str; 4] = ["actor", "action", "target", "since"];

/// An entry.
struct Entry {
    at: When,
    exact: String,
    actor: String,
    action: String,
    target: String,
    /// Where the target has a page.
    path: String,
    detail: String,
    source: String,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    entries: Vec<Entry>,
    actor: String,
    action: String,
    target: String,
    since: String,
    filtered: bool,
    shown: String,
    next: String,
    first: String,
}

/// The rest of an entry in one line: names and values, nothing that is empty.
pub(super) fn detail(json: &str) -> String {
    let parsed: Value = serde_json::from_str(json).unwrap_or_default();
    let pairs = parsed.as_object().into_iter().flatten().filter_map(|(name, value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        (!text.is_empty() && text != "{}").then(|| format!("{name}: {text}"))
    });
    pairs.collect::<Vec<_>>().join(" · ")
}

/// Where a target has a page of its own.
fn path_of(target: &str) -> String {
    match target.split_once(':') {
        Some(("agent", id)) => format!("/console/agents/{id}"),
        Some(("command", id)) => format!("/console/commands/{id}"),
        Some(_) | None => String::new(),
    }
}

/// The log, newest first.
pub(super) async fn list(visit: Visit) -> Shown {
    let query = &visit.query;
    let since = query.given("since").map(|text| {
        text.parse()
            .map_err(|_| AppError::field("since", "must be a time such as 2026-11-22T10:00:00Z"))
    });
    let wanted = AuditQuery {
        actor: query.owned("actor"),
        action: query.owned("action"),
        target: query.owned("target"),
        since: since.transpose()?,
    };
    let paging = PageQuery { limit: None, cursor: query.owned("cursor") };
    let listed = visit.app.list_audit(&visit.caller, wanted, &paging).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let to = |cursor: Option<&str>| {
        let filters = FILTERS.into_iter().map(|name| (name, query.given(name)));
        link(LIST, filters.chain([("cursor", cursor)]))
    };
    let now = visit.app.now();
    let entry = |row: crate::app::records::AuditRecord| Entry {
        at: when(row.at, now),
        exact: show::exact(row.at),
        path: row.target.as_deref().map(path_of).unwrap_or_default(),
        target: row.target.unwrap_or_default(),
        detail: detail(&row.detail),
        actor: row.actor,
        action: row.action,
        source: row.source.unwrap_or_default(),
    };
    let entries: Vec<Entry> = listed.items.into_iter().map(entry).collect();
    let text = |name: &str| query.given(name).unwrap_or_default().to_owned();
    page(&AuditPage {
        frame: visit.frame("Audit log", "audit").await,
        actor: text("actor"),
        action: text("action"),
        target: text("target"),
        since: text("since"),
        filtered: FILTERS.into_iter().any(|name| query.given(name).is_some()),
        shown: show::several(entries.len() as u64, "entry", "entries"),
        next: cursor.as_deref().map(|cursor| to(Some(cursor))).unwrap_or_default(),
        first: if query.has("cursor") { to(None) } else { String::new() },
        entries,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_one_line_of_what_is_there() {
        let json = r#"{"name":"web","reason":null,"fingerprint":"29a1","labels":{},"n":3}"#;
        assert_eq!(detail(json), "fingerprint: 29a1 · n: 3 · name: web");
        assert_eq!(detail("no json"), "");
    }
}
