//! Security events.

use argosy_wire::rest::{Page, security::SecurityEvent};
use axum::{Json as Answered, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, Paging, Params},
};
use crate::app::{App, error::AppError, security::SecurityQuery};

/// Which security events to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Such as `clone_detected`.
    kind: Option<String>,
    /// About this agent.
    agent_id: Option<String>,
    /// Seen then or later, RFC 3339.
    #[param(format = DateTime)]
    since: Option<String>,
}

/// Lists security events, the last seen first.
///
/// Repeats of one kind about one agent from one network within an hour are one event with a count.
#[utoipa::path(
    get, path = "/security/events", tag = "audit", params(Wanted, Paging),
    security(("api_key" = ["security:read"])),
    responses((status = 200, body = Page<SecurityEvent>), Problems)
)]
pub(super) async fn events(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<SecurityEvent>>> {
    let since = wanted.since.map(|since| since.parse()).transpose();
    let query = SecurityQuery {
        kind: wanted.kind,
        agent_id: wanted.agent_id,
        since: since.map_err(|error| AppError::field("since", error))?,
    };
    let page = app.list_security_events(&caller, query, &paging.into()).await?;
    Ok(Answered(convert::page(page, convert::security_event)))
}
