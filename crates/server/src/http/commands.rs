//! Commands and receipts.

use argosy_domain::id::{AgentId, CommandId};
use argosy_wire::rest::{
    Page,
    commands::{Command, CreateCommand, Receipt},
};
use axum::{Json as Answered, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, From, Id, IdempotencyKey, Json, Paging, Params},
};
use crate::app::{App, commands::CommandQuery, error::AppError};

/// Gives a command to an agent.
#[utoipa::path(
    post, path = "/agents/{id}/commands", tag = "commands", params(("id" = String, Path)),
    request_body = CreateCommand, security(("api_key" = ["commands:create"])),
    responses((status = 202, body = Command), Problems)
)]
pub(super) async fn create(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(agent): Id<AgentId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(mut request): Json<CreateCommand>,
) -> Answer<(StatusCode, Answered<Command>)> {
    request.idempotency_key = request.idempotency_key.or(key);
    let command = app.create_command(&caller, &origin, &agent, &request).await?;
    Ok((StatusCode::ACCEPTED, Answered(convert::command(&command))))
}

/// Which commands to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// For this agent.
    agent_id: Option<String>,
    /// Such as `running`, or several with commas: `failed,timed_out`.
    state: Option<String>,
    /// Given then or later.
    since: Option<String>,
}

/// Lists commands, newest first.
#[utoipa::path(
    get, path = "/commands", tag = "commands", params(Wanted, Paging),
    security(("api_key" = ["commands:read"])),
    responses((status = 200, body = Page<Command>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<Command>>> {
    let agent = wanted.agent_id.map(|id| id.parse()).transpose();
    let agent = agent.map_err(|error| AppError::field("agent_id", error))?;
    let since = wanted.since.map(|text| text.parse()).transpose();
    let since = since.map_err(|error| AppError::field("since", error))?;
    let query = CommandQuery { agent, state: wanted.state, since };
    let page = app.list_commands(&caller, query, &paging.into()).await?;
    Ok(Answered(convert::page(page, |command| convert::command(&command))))
}

/// Shows a command.
#[utoipa::path(
    get, path = "/commands/{id}", tag = "commands", params(("id" = String, Path)),
    security(("api_key" = ["commands:read"])),
    responses((status = 200, body = Command), Problems)
)]
pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<CommandId>,
) -> Answer<Answered<Command>> {
    Ok(Answered(convert::command(&app.show_command(&caller, &id).await?)))
}

/// Withdraws a command. One that was not sent ends at once; of one that was sent its agent is told,
/// and the state shows later what came of it.
#[utoipa::path(
    post, path = "/commands/{id}/cancel", tag = "commands", params(("id" = String, Path)),
    security(("api_key" = ["commands:cancel"])),
    responses((status = 200, body = Command), Problems)
)]
pub(super) async fn cancel(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<CommandId>,
) -> Answer<Answered<Command>> {
    Ok(Answered(convert::command(&app.cancel_command(&caller, &origin, &id).await?)))
}

/// The signed receipt of a command, with what is needed to verify it offline.
#[utoipa::path(
    get, path = "/commands/{id}/receipt", tag = "commands", params(("id" = String, Path)),
    security(("api_key" = ["commands:read"])),
    responses((status = 200, body = Receipt), Problems)
)]
pub(super) async fn receipt(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<CommandId>,
) -> Answer<Answered<Receipt>> {
    Ok(Answered(convert::receipt(&app.show_receipt(&caller, &id).await?)))
}
