//! Inventory.

use argosy_domain::{id::AgentId, subsystem::Subsystem};
use argosy_wire::rest::inventory::{Inventory, InventoryReport};
use axum::{Json as Answered, extract::State};

use super::{
    answer::{Answer, Problems, Refusal},
    convert,
    extract::{By, Id, Texts},
};
use crate::app::{App, error::AppError};

/// The latest reports of an agent.
#[utoipa::path(
    get, path = "/agents/{id}/inventory", tag = "inventory", params(("id" = String, Path)),
    security(("api_key" = ["inventory:read"])),
    responses((status = 200, body = Inventory), Problems)
)]
pub(super) async fn show_all(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<AgentId>,
) -> Answer<Answered<Inventory>> {
    let rows = app.show_inventory(&caller, &id, None).await?;
    let items = rows.iter().map(convert::report).collect();
    Ok(Answered(Inventory { agent_id: id.to_string(), items }))
}

/// The latest report of one subsystem of an agent.
#[utoipa::path(
    get, path = "/agents/{id}/inventory/{subsystem}", tag = "inventory",
    params(("id" = String, Path), ("subsystem" = String, Path)),
    security(("api_key" = ["inventory:read"])),
    responses((status = 200, body = InventoryReport), Problems)
)]
pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Texts((id, subsystem)): Texts<(String, String)>,
) -> Answer<Answered<InventoryReport>> {
    let none = |what: &str| Refusal(AppError::not_found(what));
    let id: AgentId = id.parse().map_err(|_| none("agent"))?;
    let subsystem = Subsystem::parse(&subsystem).map_err(|_| none("subsystem"))?;
    let rows = app.show_inventory(&caller, &id, Some(subsystem)).await?;
    let row = rows.first().ok_or_else(|| none("report"))?;
    Ok(Answered(convert::report(row)))
}
