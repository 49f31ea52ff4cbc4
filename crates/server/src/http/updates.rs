//! Operating system packages over the fleet.

use argosy_wire::rest::{
    Page,
    updates::{FleetPackage, OfferedVersion, PendingPackage},
};
use axum::{Json as Answered, extract::State};
use serde::{Deserialize, Deserializer, de};
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, Params},
};
use crate::app::{
    App,
    paging::PageQuery,
    records::{FleetPackageRecord, PendingRecord},
    updates::UpdatesQuery,
};

/// `?security`, `?security=true` or `?security=false`.
fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match String::deserialize(from)?.as_str() {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(de::Error::custom("must be true or false")),
    }
}

/// Which pending packages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only what closes a security hole.
    #[serde(default, deserialize_with = "flag")]
    security: bool,
    /// Of this agent.
    agent_id: Option<String>,
    /// Of this name.
    package: Option<String>,
    /// Items at most: 1 to 500, 50 unless said otherwise.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// As given by the page before.
    cursor: Option<String>,
}

impl Wanted {
    fn parts(self) -> (UpdatesQuery, PageQuery) {
        let Self { security, agent_id, package, limit, cursor } = self;
        (UpdatesQuery { agent: agent_id, package, security }, PageQuery { limit, cursor })
    }
}

/// Lists the packages that are pending in the fleet, security first, then by name.
#[utoipa::path(
    get, path = "/updates", tag = "updates", operation_id = "list_updates", params(Wanted),
    security(("api_key" = ["updates:read"])),
    responses((status = 200, body = Page<FleetPackage>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
) -> Answer<Answered<Page<FleetPackage>>> {
    let (query, paging) = wanted.parts();
    let page = app.list_updates(&caller, &query, &paging).await?;
    Ok(Answered(convert::page(page, fleet_package)))
}

/// Lists pending packages with their agents, by name of package, then by agent.
#[utoipa::path(
    get, path = "/updates/agents", tag = "updates", operation_id = "list_pending_updates",
    params(Wanted), security(("api_key" = ["updates:read"])),
    responses((status = 200, body = Page<PendingPackage>), Problems)
)]
pub(super) async fn pending(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
) -> Answer<Answered<Page<PendingPackage>>> {
    let (query, paging) = wanted.parts();
    let page = app.list_pending_updates(&caller, &query, &paging).await?;
    Ok(Answered(convert::page(page, pending_package)))
}

fn fleet_package(package: FleetPackageRecord) -> FleetPackage {
    let versions = package.versions.into_iter().map(|offered| OfferedVersion {
        version: offered.version.into(),
        security: offered.security,
        agents: offered.agents,
        approved: offered.approved,
    });
    FleetPackage {
        name: package.name.into(),
        security: package.security,
        agents: package.agents,
        versions: versions.collect(),
        pending: package.pending.into_iter().map(pending_package).collect(),
    }
}

fn pending_package(row: PendingRecord) -> PendingPackage {
    let package = row.package;
    PendingPackage {
        agent_id: row.agent.to_string(),
        agent_name: row.agent_name,
        package: package.name.into(),
        architecture: package.architecture.into(),
        current: package.installed.into(),
        available: package.available.into(),
        security: package.security,
        repository: package.repository,
        approval_id: row.approval.map(|id| id.to_string()),
        tried_at: row.tried_at.map(convert::text),
    }
}
