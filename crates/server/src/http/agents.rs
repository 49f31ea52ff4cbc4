//! Agents: what operators see and decide, and heartbeats.

use argosy_domain::{access::Caller, id::AgentId};
use argosy_wire::{
    rest::{
        Page,
        agents::{
            Agent, Approve, Approved, Heartbeat, HeartbeatAnswer, KeyRotated, Rebind, Replace,
            UpdateAgent, WithReason,
        },
        enrolment::CosignedJson,
    },
    succession::Cosigned,
};
use axum::{
    Json as Answered,
    extract::{FromRequest, FromRequestParts as _, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems, Refusal},
    convert,
    extract::{By, From, Id, Json, OptionalJson, Paging, Params},
};
use crate::app::{
    App, Origin,
    agents::{AgentQuery, AgentSnapshot, Replacement, Ruling},
    error::AppResult,
    template::Format,
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
}

/// Lists agents, newest first.
#[utoipa::path(
    get, path = "/agents", tag = "agents", params(Wanted, Paging),
    security(("api_key" = ["agents:read"]), ("api_key" = ["discovery:read"])),
    responses((status = 200, body = Page<Agent>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<Agent>>> {
    let query = AgentQuery {
        status: wanted.status,
        health: wanted.health,
        account: wanted.account_id,
        label: wanted.label,
        q: wanted.q,
        ..AgentQuery::default()
    };
    let page = app.list_agents(&caller, &query, &paging.into()).await?;
    Ok(Answered(convert::page(page, convert::agent)))
}

/// Which template to fill in.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Template {
    /// The account that the agent joins; 1 unless said otherwise.
    account_id: Option<i64>,
    /// `yaml` (default) or `toml`.
    format: Option<String>,
}

/// A commented configuration for an agent, filled in, with a placeholder for the token.
#[utoipa::path(
    get, path = "/agents/config-template", tag = "agents", params(Template),
    security(("api_key" = ["agents:read"])),
    responses((status = 200, body = String, content_type = "text/plain"), Problems)
)]
pub(super) async fn config_template(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Template>,
) -> Answer<String> {
    let format = Format::parse(wanted.format.as_deref())?;
    Ok(app.config_template(&caller, wanted.account_id, format).await?)
}

/// Shows an agent.
#[utoipa::path(
    get, path = "/agents/{id}", tag = "agents", params(("id" = String, Path)),
    security(("api_key" = ["agents:read"]), ("api_key" = ["discovery:read"])),
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
    let approved = app.approve_agent(&caller, &origin, &id, fingerprint).await?;
    Ok(Answered(Approved {
        agent_id: id.to_string(),
        approval_status: "approved".to_owned(),
        api_key: approved.api_key.map(|key| key.reveal()),
    }))
}

/// A decision as it is asked for: by whom, from where, about which agent, and why.
pub(super) struct Asked {
    app: App,
    caller: Caller,
    origin: Origin,
    id: AgentId,
    reason: Option<String>,
}

impl FromRequest<App> for Asked {
    type Rejection = Refusal;
    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let From(origin) = From::from_request_parts(&mut parts, app).await?;
        let By(caller) = By::from_request_parts(&mut parts, app).await?;
        let Id(id) = Id::from_request_parts(&mut parts, app).await?;
        let request = Request::from_parts(parts, body);
        let OptionalJson(WithReason { reason }) = OptionalJson::from_request(request, app).await?;
        Ok(Self { app: app.clone(), caller, origin, id, reason })
    }
}

impl Asked {
    async fn rule(self, ruling: Ruling) -> Answer<Answered<Agent>> {
        let Self { app, caller, origin, id, reason } = self;
        decided(app.rule_on_agent(&caller, &origin, &id, ruling, reason.as_deref()).await)
    }
}

/// Rejects a registration.
#[utoipa::path(
    post, path = "/agents/{id}/reject", tag = "agents", params(("id" = String, Path)),
    request_body = Option<WithReason>, security(("api_key" = ["agents:approve"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn reject(asked: Asked) -> Answer<Answered<Agent>> {
    asked.rule(Ruling::Reject).await
}

/// Revokes an agent: its stream closes, its sessions and keys die.
#[utoipa::path(
    post, path = "/agents/{id}/revoke", tag = "agents", params(("id" = String, Path)),
    request_body = Option<WithReason>, security(("api_key" = ["agents:revoke"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn revoke(asked: Asked) -> Answer<Answered<Agent>> {
    asked.rule(Ruling::Revoke).await
}

/// Quarantines an agent: it may handshake and heartbeat, and nothing is handed out to it.
#[utoipa::path(
    post, path = "/agents/{id}/quarantine", tag = "agents", params(("id" = String, Path)),
    request_body = Option<WithReason>, security(("api_key" = ["agents:quarantine"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn quarantine(asked: Asked) -> Answer<Answered<Agent>> {
    asked.rule(Ruling::Quarantine).await
}

/// Ends a quarantine, or confirms an agent that is under review.
#[utoipa::path(
    post, path = "/agents/{id}/restore", tag = "agents", params(("id" = String, Path)),
    request_body = Option<WithReason>, security(("api_key" = ["agents:quarantine"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn restore(asked: Asked) -> Answer<Answered<Agent>> {
    asked.rule(Ruling::Restore).await
}

/// Binds an agent to the machine that last showed its identity, as `review` tells.
#[utoipa::path(
    post, path = "/agents/{id}/rebind", tag = "agents", params(("id" = String, Path)),
    request_body = Option<Rebind>, security(("api_key" = ["agents:approve"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn rebind(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<AgentId>,
    OptionalJson(body): OptionalJson<Rebind>,
) -> Answer<Answered<Agent>> {
    let (machine, reason) = (body.machine.as_deref(), body.reason.as_deref());
    decided(app.rebind_agent(&caller, &origin, &id, machine, reason).await)
}

/// Lets an approved agent take over from this one, which is revoked and fenced off.
#[utoipa::path(
    post, path = "/agents/{id}/replace", tag = "agents", params(("id" = String, Path)),
    request_body = Replace, security(("api_key" = ["agents:revoke"])),
    responses((status = 200, body = Agent), Problems)
)]
pub(super) async fn replace(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<AgentId>,
    Json(body): Json<Replace>,
) -> Answer<Answered<Agent>> {
    let replacement = Replacement { successor: &body.agent_id, reason: body.reason.as_deref() };
    decided(app.replace_agent(&caller, &origin, &id, &replacement).await)
}

/// A heartbeat of an agent, for itself; or, with a service key, of the agent that it names. It is
/// durable when it is answered.
#[utoipa::path(
    post, path = "/agents/heartbeat", tag = "agents", request_body = Option<Heartbeat>,
    security(("api_key" = ["discovery:create"]), ("session" = [])),
    responses((status = 200, body = HeartbeatAnswer), Problems)
)]
pub(super) async fn heartbeat(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    OptionalJson(body): OptionalJson<Heartbeat>,
) -> Answer<(HeaderMap, Answered<HeartbeatAnswer>)> {
    let received = app.heartbeat(&caller, &origin, &body).await?;
    let answer = HeartbeatAnswer {
        status: "ok".to_owned(),
        sync_job_id: received.sync_job.map(|id| id.to_string()),
        account_id: received.account.0,
        commands_pending: received.commands_pending,
    };
    Ok((next_nonce(&app), Answered(answer)))
}

/// Puts a new identity key in the place of the calling agent's. Its sessions end.
#[utoipa::path(
    post, path = "/agents/keys/rotate", tag = "enrolment", request_body = CosignedJson,
    security(("api_key" = []), ("session" = [])),
    responses((status = 200, body = KeyRotated), Problems)
)]
pub(super) async fn rotate_key(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Json(body): Json<CosignedJson>,
) -> Answer<(HeaderMap, Answered<KeyRotated>)> {
    let rotation = Cosigned::try_from(&body).ok();
    let rotated_at = app.rotate_identity_key(&caller, &origin, rotation.as_ref()).await?;
    Ok((next_nonce(&app), Answered(KeyRotated { rotated_at: rotated_at.to_string() })))
}

/// The nonce for the next proof, on answers to session calls.
pub(super) fn next_nonce(app: &App) -> HeaderMap {
    let nonce = HeaderValue::from_str(&app.dpop_nonce());
    nonce
        .into_iter()
        .map(|nonce| (axum::http::HeaderName::from_static("dpop-nonce"), nonce))
        .collect()
}
