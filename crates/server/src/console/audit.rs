//! The audit log: filtered, verified, and how to verify it without this server.

use argosy_domain::chain::ChainPosition;
use argosy_wire::{audit::VerifiedExport, problem::Code};
use askama::Template;
use serde_json::Value;

use super::{
    answer::{Shown, page},
    fields::link,
    frame::Frame,
    show::{self, Fact, When, when},
    visit::Visit,
};
use crate::app::{
    audit::{AuditQuery, VERIFIED_MAX, Verdict},
    error::AppError,
    paging::cursor_text,
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
        Some(("fan_out", id)) => format!("/console/fan-outs/{id}"),
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
    let listed = visit.app.list_audit(&visit.caller, wanted, &visit.paging()).await?;
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

#[derive(Template)]
#[template(path = "verified.html")]
struct VerifiedPage {
    frame: Frame,
    /// What was found, where all is well.
    verdict: String,
    /// What is wrong.
    broken: String,
    facts: Vec<Fact>,
    offline: String,
}

fn whole(export: &VerifiedExport) -> (String, Vec<Fact>) {
    let entries = show::several(export.head.position.0, "entry is", "entries are");
    let verdict = format!(
        "{entries} there, unchanged and in order, and the last one is covered by a signature of \
         this server."
    );
    let mut facts = vec![
        Fact::text("Entries", show::count(export.head.position.0)),
        Fact::text("Checkpoints", show::count(export.checkpoints)),
    ];
    if let Some(last) = &export.last_checkpoint {
        facts.push(Fact::text("Last checkpoint", show::exact(last.time)));
    }
    facts.push(Fact::code("Link of the last entry", format!("{:?}", export.head.link)));
    facts.push(Fact::code("Signed by the server", export.server.to_string()));
    (verdict, facts)
}

fn too_long(end: ChainPosition) -> AppError {
    let (entries, most) = (show::count(end.0), show::count(VERIFIED_MAX));
    let why = format!(
        "the log has {entries} entries, and a page verifies {most} at most: export it, and run \
         argosy audit verify"
    );
    AppError::because(Code::TooLarge, why)
}

/// Whether the log is what it was, in words.
pub(super) async fn verify(visit: Visit) -> Shown {
    let (verdict, broken, facts) = match visit.app.verify_audit(&visit.caller).await? {
        Verdict::Whole(export) => {
            let (verdict, facts) = whole(&export);
            (verdict, String::new(), facts)
        }
        Verdict::Broken(broken) => {
            let at = broken.position();
            let at = at.map(|position| Fact::text("At position", position.to_string()));
            (String::new(), format!("{}.", broken.reason), at.into_iter().collect())
        }
        Verdict::TooLong(end) => return Err(too_long(end).into()),
    };
    let frame = visit.frame("Is the log whole?", "audit").await;
    let pin = visit.app.keyring().thumbprint();
    let offline = format!("argosy audit verify audit.ndjson --pin {pin}");
    page(&VerifiedPage { frame, verdict, broken, facts, offline })
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
