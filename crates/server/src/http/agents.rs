//! Agents: what operators see and decide, and heartbeats.

use argosy_domain::id::AgentId;
use argosy_wire::rest::{
    Page,
    agents::{Agent, Approve, Approved, Heartbeat, HeartbeatAnswer, UpdateAgent, WithReason},
};
use axum::{
    Json as Answered,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, From, Id, Json, OptionalJson, Params},
};
use crate::app::{
    App,
    agents::{AgentQuery, AgentSnapshot},
    error::AppResult,
    paging::PageQuery,
};

/// Which agents to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Such as `pending`.
    status: Option<String>,
    /// `healthy`, `stale` or `offline`.
    health: Option<String>,
    /// Of this account.
    account_id: Option<i64>,
    /// `key=value`.
    label: Option<String>,
    /// Part of name, hostname or id.
    q: Option<String>,
    /// Items at most: 1 to 500, 50 unless said otherwise.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// As given by the page before.
    cursor: Option<String>,
}

/// Lists agents, newest first.
#[utoipa::path(
    get, path = "/agents", tag = "agents", params(Wanted),
    security(("api_key" = ["agents:read"])),
    responses((status = 200, body = Page<Agent>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
) -> Answer<Answered<Page<Agent>>> {
    let paging = PageQuery { limit: wanted.limit, cursor: wanted.cursor };
    let query = AgentQuery {
        status: wanted.status,
        health: wanted.health,
        account: wanted.account_id,
        label: wanted.label,
        q: wanted.q,
    };
    let page = app.list_agents(&caller, &query, &paging).await?;
    Ok(Answered(convert::page(page, convert::agent)))
}

/// Shows an agent.
#[utoipa::path(
    get, path = "/agents/{id}", tag = "agents", params(("id" = String, Path)),
    security(("api_key" = ["agents:read"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<AgentId>,
) -> Answer<Answered<Agent>> {
    decided(app.show_agent(&caller, &id).await)
}

fn decided(outcome: AppResult<AgentSnapshot>) -> Answer<Answered<Agent>> {
    Ok(Answered(convert::agent(outcome?)))
}

/// Changes name or labels of an agent.
#[utoipa::path(
    patch, path = "/agents/{id}", tag = "agents", params(("id" = String, Path)),
    request_body = UpdateAgent, security(("api_key" = ["agents:update"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn update(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<AgentId>,
    Json(change): Json<UpdateAgent>,
) -> Answer<Answered<Agent>> {
    decided(app.update_agent(&caller, &origin, &id, change.name.as_deref(), change.labels).await)
}

/// Deletes an agent and everything that is kept of it, the audit log apart.
#[utoipa::path(
    delete, path = "/agents/{id}", tag = "agents", params(("id" = String, Path)),
    security(("api_key" = ["agents:delete"])),
    responses((status = 204), Problems)
)]
pub(super) async fn delete(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<AgentId>,
) -> Answer<StatusCode> {
    app.delete_agent(&caller, &origin, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Approves a registration. A fingerprint that is given must be the agent's.
#[utoipa::path(
    post, path = "/agents/{id}/approve", tag = "agents", params(("id" = String, Path)),
    request_body = Option<Approve>, security(("api_key" = ["agents:approve"])),
    responses((status = 200, body = Approved), Problems)
)]
pub(super) async fn approve(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<AgentId>,
    OptionalJson(body): OptionalJson<Approve>,
) -> Answer<Answered<Approved>> {
    let fingerprint = body.fingerprint.as_deref();
    app.approve_agent(&caller, &origin, &id, fingerprint).await?;
    let (agent_id, approval_status) = (id.to_string(), "approved".to_owned());
    Ok(Answered(Approved { agent_id, approval_status }))
}

/// Rejects a registration.
#[utoipa::path(
    post, path = "/agents/{id}/reject", tag = "agents", params(("id" = String, Path)),
    request_body = Option<WithReason>, security(("api_key" = ["agents:approve"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn reject(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<AgentId>,
    OptionalJson(body): OptionalJson<WithReason>,
) -> Answer<Answered<Agent>> {
    decided(app.reject_agent(&caller, &origin, &id, body.reason.as_deref()).await)
}

/// Revokes an agent: its stream closes, its sessions and keys die.
#[utoipa::path(
    post, path = "/agents/{id}/revoke", tag = "agents", params(("id" = String, Path)),
    request_body = Option<WithReason>, security(("api_key" = ["agents:revoke"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn revoke(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<AgentId>,
    OptionalJson(body): OptionalJson<WithReason>,
) -> Answer<Answered<Agent>> {
    decided(app.revoke_agent(&caller, &origin, &id, body.reason.as_deref()).await)
}

/// Quarantines an agent: it may handshake and heartbeat, and nothing is handed out to it.
#[utoipa::path(
    post, path = "/agents/{id}/quarantine", tag = "agents", params(("id" = String, Path)),
    request_body = Option<WithReason>, security(("api_key" = ["agents:quarantine"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn quarantine(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<AgentId>,
    OptionalJson(body): OptionalJson<WithReason>,
) -> Answer<Answered<Agent>> {
    decided(app.quarantine_agent(&caller, &origin, &id, body.reason.as_deref()).await)
}

/// Ends a quarantine.
#[utoipa::path(
    post, path = "/agents/{id}/restore", tag = "agents", params(("id" = String, Path)),
    request_body = Option<WithReason>, security(("api_key" = ["agents:quarantine"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn restore(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<AgentId>,
    OptionalJson(body): OptionalJson<WithReason>,
) -> Answer<Answered<Agent>> {
    decided(app.restore_agent(&caller, &origin, &id, body.reason.as_deref()).await)
}

/// A heartbeat. It is durable when it is answered.
#[utoipa::path(
    post, path = "/agents/heartbeat", tag = "agents", request_body = Option<Heartbeat>,
    security(("api_key" = []), ("session" = [])),
    responses((status = 200, body = HeartbeatAnswer), Problems)
)]
pub(super) async fn heartbeat(
    State(app): State<App>,
    By(caller): By,
    OptionalJson(body): OptionalJson<Heartbeat>,
) -> Answer<(HeaderMap, Answered<HeartbeatAnswer>)> {
    let received = app.heartbeat(&caller, &body).await?;
    let answer = HeartbeatAnswer {
        status: "ok".to_owned(),
        sync_job_id: None,
        account_id: received.account.0,
        commands_pending: received.commands_pending,
    };
    Ok((next_nonce(&app), Answered(answer)))
}

/// The nonce for the next proof, on answers to session calls.
pub(super) fn next_nonce(app: &App) -> HeaderMap {
    let nonce = HeaderValue::from_str(&app.dpop_nonce());
    nonce
        .into_iter()
        .map(|nonce| (axum::http::HeaderName::from_static("dpop-nonce"), nonce))
        .collect()
}
