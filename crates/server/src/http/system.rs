//! The server about itself, accounts, and the audit log.

use std::collections::BTreeMap;

use argosy_wire::rest::{
    Page,
    system::{AuditEntry, FleetStatus, Health, Ready},
};
use axum::{Json as Answered, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, Paging, Params},
};
use crate::app::{App, audit::AuditQuery, error::AppError};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn alive() -> Answered<Health> {
    Answered(Health { status: "ok".to_owned(), version: VERSION.to_owned() })
}

/// Whether the server serves.
#[utoipa::path(get, path = "/health", tag = "system", responses((status = 200, body = Health)))]
pub(super) async fn health() -> Answered<Health> {
    alive()
}

/// Whether the server serves.
#[utoipa::path(get, path = "/health", tag = "system", responses((status = 200, body = Health)))]
pub(super) async fn api_health() -> Answered<Health> {
    alive()
}

/// Whether the server may be given work: the store answers and is migrated, what others change is seen,
/// and it does not shut down.
#[utoipa::path(
    get, path = "/ready", tag = "system",
    responses((status = 200, body = Ready), (status = 503, body = Ready))
)]
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Answered<Ready>) {
    let store = match app.store_is_ready().await {
        Ok(true) => "ok",
        Ok(false) => "migrations are missing: run argosyd migrate up",
        Err(_) => "the store does not answer",
    };
    let sight = if app.sight().is_clear() {
        "ok"
    } else {
        "this server cannot see what others on its database change"
    };
    let serving = if app.hub().is_draining() { "this server shuts down" } else { "ok" };
    let checks = [("store", store), ("sight", sight), ("serving", serving)];
    let (code, status) = if checks.iter().all(|(_, said)| *said == "ok") {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    let checks: BTreeMap<_, _> =
        checks.into_iter().map(|(name, said)| (name.to_owned(), said.to_owned())).collect();
    (code, Answered(Ready { status: status.to_owned(), checks }))
}

/// The fleet at a glance.
#[utoipa::path(
    get, path = "/status", tag = "system", security(("api_key" = ["agents:read"])),
    responses((status = 200, body = FleetStatus), Problems)
)]
pub(super) async fn status(
    State(app): State<App>,
    By(caller): By,
) -> Answer<Answered<FleetStatus>> {
    let fleet = app.fleet_status(&caller).await?;
    let named = |counts: BTreeMap<&'static str, u64>| {
        counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    };
    Ok(Answered(FleetStatus {
        version: VERSION.to_owned(),
        server_thumbprint: app.keyring().thumbprint().to_string(),
        database: app.database().to_owned(),
        started_at: fleet.started_at.to_string(),
        agents: named(fleet.agents),
        health: named(fleet.health),
        connected: fleet.connected,
        commands_open: fleet.commands_open,
    }))
}

/// Which audit entries to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// By whom.
    actor: Option<String>,
    /// Such as `agent.approved`.
    action: Option<String>,
    /// To what, such as `agent:<id>`.
    target: Option<String>,
    /// From then on, RFC 3339.
    #[param(format = DateTime)]
    since: Option<String>,
}

/// Lists the audit log, newest first.
#[utoipa::path(
    get, path = "/audit", tag = "audit", params(Wanted, Paging),
    security(("api_key" = ["audit:read"])),
    responses((status = 200, body = Page<AuditEntry>), Problems)
)]
pub(super) async fn audit(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<AuditEntry>>> {
    let since = wanted.since.map(|since| since.parse()).transpose();
    let query = AuditQuery {
        actor: wanted.actor,
        action: wanted.action,
        target: wanted.target,
        since: since.map_err(|error| AppError::field("since", error))?,
    };
    let page = app.list_audit(&caller, query, &paging.into()).await?;
    Ok(Answered(convert::page(page, convert::audit)))
}
