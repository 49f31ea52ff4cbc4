//! Fan-outs.

use argosy_domain::id::FanOutId;
use argosy_wire::rest::{
    Page,
    commands::Command,
    fan_outs::{CreateFanOut, FanOut},
};
use axum::{Json as Answered, extract::State, http::StatusCode};

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, From, Id, IdempotencyKey, Json, Paging, Params},
};
use crate::app::App;

/// Gives an order to many agents, a few at a time.
#[utoipa::path(
    post, path = "/commands", tag = "commands", operation_id = "create_fan_out",
    request_body = CreateFanOut, security(("api_key" = ["commands:create"])),
    responses((status = 202, body = FanOut), Problems)
)]
pub(super) async fn create(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    IdempotencyKey(key): IdempotencyKey,
    Json(mut request): Json<CreateFanOut>,
) -> Answer<(StatusCode, Answered<FanOut>)> {
    request.idempotency_key = request.idempotency_key.or(key);
    let progress = app.create_fan_out(&caller, &origin, &request).await?;
    Ok((StatusCode::ACCEPTED, Answered(convert::fan_out(&progress))))
}

/// Lists fan-outs, newest first.
#[utoipa::path(
    get, path = "/fan-outs", tag = "commands", operation_id = "list_fan_outs", params(Paging),
    security(("api_key" = ["commands:read"])),
    responses((status = 200, body = Page<FanOut>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<FanOut>>> {
    let page = app.list_fan_outs(&caller, &paging.into()).await?;
    Ok(Answered(convert::page(page, |progress| convert::fan_out(&progress))))
}

/// Shows a fan-out and how far it is.
#[utoipa::path(
    get, path = "/fan-outs/{id}", tag = "commands", operation_id = "show_fan_out",
    params(("id" = String, Path)),
    security(("api_key" = ["commands:read"])),
    responses((status = 200, body = FanOut), Problems)
)]
pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<FanOutId>,
) -> Answer<Answered<FanOut>> {
    Ok(Answered(convert::fan_out(&app.show_fan_out(&caller, &id).await?)))
}

/// Lists the commands that a fan-out gave, newest first.
#[utoipa::path(
    get, path = "/fan-outs/{id}/commands", tag = "commands", operation_id = "list_fan_out_commands",
    params(("id" = String, Path), Paging), security(("api_key" = ["commands:read"])),
    responses((status = 200, body = Page<Command>), Problems)
)]
pub(super) async fn commands(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<FanOutId>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<Command>>> {
    let page = app.list_fan_out_commands(&caller, &id, &paging.into()).await?;
    Ok(Answered(convert::page(page, |command| convert::command(&command))))
}

/// Withdraws a fan-out: nothing more is begun, and its commands that have not ended are withdrawn.
#[utoipa::path(
    post, path = "/fan-outs/{id}/cancel", tag = "commands", operation_id = "cancel_fan_out",
    params(("id" = String, Path)),
    security(("api_key" = ["commands:cancel"])),
    responses((status = 200, body = FanOut), Problems)
)]
pub(super) async fn cancel(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<FanOutId>,
) -> Answer<Answered<FanOut>> {
    Ok(Answered(convert::fan_out(&app.cancel_fan_out(&caller, &origin, &id).await?)))
}
