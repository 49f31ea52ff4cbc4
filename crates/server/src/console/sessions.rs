//! The own sessions, and their ends.

use argosy_domain::id::UserSessionId;
use askama::Template;

use super::{
    answer::{Shown, go, page},
    frame::Frame,
    show::{When, when},
    visit::{Id, Sent, Visit},
};
use crate::app::user_sessions::OwnSession;

/// An open session.
struct Row {
    id: String,
    source: String,
    begun: When,
    seen: When,
    ends: When,
    current: bool,
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    frame: Frame,
    rows: Vec<Row>,
}

/// The own open sessions.
pub(super) async fn list(visit: Visit) -> Shown {
    let own = visit.app.own_sessions(&visit.caller).await?;
    let now = visit.app.now();
    let row = |own: OwnSession| Row {
        id: own.session.id.to_string(),
        source: own.session.source.unwrap_or_else(|| "unknown".to_owned()),
        begun: when(own.session.created_at, now),
        seen: when(own.seen_at, now),
        ends: when(own.session.expires_at, now),
        current: own.current,
    };
    let rows = own.into_iter().map(row).collect();
    page(&SessionsPage { frame: visit.frame("Your sessions", "sessions").await, rows })
}

/// Ends one of them.
pub(super) async fn end(Id(id): Id<UserSessionId>, Sent { visit, .. }: Sent) -> Shown {
    visit.app.end_own_session(&visit.caller, &visit.origin, Some(&id)).await?;
    go("/console/sessions?done=ended")
}
