//! Subsystems of agents.

use argosy_domain::{id::AgentId, subsystem::Subsystem};
use argosy_wire::rest::{
    commands::Command,
    subsystems::{Subsystems, UpdateSubsystem},
};
use axum::{Json as Answered, extract::State, http::StatusCode};

use super::{
    answer::{Answer, Problems, Refusal},
    convert,
    extract::{By, From, Id, Json, Texts},
};
use crate::app::{App, error::AppError};

/// The subsystems of an agent: schedules, breakers, and whether the agent has them.
#[utoipa::path(
    get, path = "/agents/{id}/subsystems", tag = "inventory", params(("id" = String, Path)),
    operation_id = "show_subsystems",
    security(("api_key" = ["inventory:read"])),
    responses((status = 200, body = Subsystems), Problems)
)]
pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<AgentId>,
) -> Answer<Answered<Subsystems>> {
    Ok(Answered(convert::subsystems(&id, &app.show_subsystems(&caller, &id).await?)))
}

fn named(id: &str, subsystem: &str) -> Result<(AgentId, Subsystem), Refusal> {
    let none = |what: &str| Refusal(AppError::not_found(what));
    let id = id.parse().map_err(|_| none("agent"))?;
    Ok((id, Subsystem::parse(subsystem).map_err(|_| none("subsystem"))?))
}

/// Changes the schedule of a subsystem; the agent says when it has it.
#[utoipa::path(
    patch, path = "/agents/{id}/subsystems/{subsystem}", tag = "inventory",
    params(("id" = String, Path), ("subsystem" = String, Path)),
    operation_id = "update_subsystem", request_body = UpdateSubsystem,
    security(("api_key" = ["subsystems:update"])),
    responses((status = 200, body = Subsystems), Problems)
)]
pub(super) async fn update(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Texts((id, subsystem)): Texts<(String, String)>,
    Json(change): Json<UpdateSubsystem>,
) -> Answer<Answered<Subsystems>> {
    let (id, subsystem) = named(&id, &subsystem)?;
    let shown = app.update_subsystem(&caller, &origin, (&id, subsystem), &change).await?;
    Ok(Answered(convert::subsystems(&id, &shown)))
}

/// Runs a subsystem of an agent now, by a command.
#[utoipa::path(
    post, path = "/agents/{id}/subsystems/{subsystem}/run", tag = "inventory",
    params(("id" = String, Path), ("subsystem" = String, Path)),
    operation_id = "run_subsystem", security(("api_key" = ["commands:create"])),
    responses((status = 202, body = Command), Problems)
)]
pub(super) async fn run(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Texts((id, subsystem)): Texts<(String, String)>,
) -> Answer<(StatusCode, Answered<Command>)> {
    let (id, subsystem) = named(&id, &subsystem)?;
    let command = app.run_subsystem(&caller, &origin, (&id, subsystem)).await?;
    Ok((StatusCode::ACCEPTED, Answered(convert::command(&command))))
}
