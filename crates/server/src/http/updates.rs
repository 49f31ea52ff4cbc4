//! Operating system packages over the fleet.

use argosy_domain::id::ApprovalId;
use argosy_wire::rest::{
    Page,
    fan_outs::FanOut,
    updates::{
        Approval, ApproveUpdates, FleetPackage, InstallUpdates, OfferedVersion, PendingPackage,
    },
};
use axum::{Json as Answered, extract::State, http::StatusCode};
use serde::{Deserialize, Deserializer, de};
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, From, Id, IdempotencyKey, Json, Paging, Params},
};
use crate::app::{
    App,
    records::{ApprovalRecord, FleetPackageRecord, PendingRecord},
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
}

impl Wanted {
    fn query(self) -> UpdatesQuery {
        let Self { security, agent_id, package } = self;
        UpdatesQuery { agent: agent_id, package, security }
    }
}

/// Lists the packages that are pending in the fleet, security first, then by name.
#[utoipa::path(
    get, path = "/updates", tag = "updates", operation_id = "list_updates", params(Wanted, Paging),
    security(("api_key" = ["updates:read"])),
    responses((status = 200, body = Page<FleetPackage>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<FleetPackage>>> {
    let page = app.list_updates(&caller, &wanted.query(), &paging.into()).await?;
    Ok(Answered(convert::page(page, fleet_package)))
}

/// Lists pending packages with their agents, by name of package, then by agent.
#[utoipa::path(
    get, path = "/updates/agents", tag = "updates", operation_id = "list_pending_updates",
    params(Wanted, Paging), security(("api_key" = ["updates:read"])),
    responses((status = 200, body = Page<PendingPackage>), Problems)
)]
pub(super) async fn pending(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<PendingPackage>>> {
    let page = app.list_pending_updates(&caller, &wanted.query(), &paging.into()).await?;
    Ok(Answered(convert::page(page, pending_package)))
}

/// Approves packages for agents, in the versions that are pending now.
#[utoipa::path(
    post, path = "/updates/approve", tag = "updates", operation_id = "approve_updates",
    request_body = ApproveUpdates, security(("api_key" = ["updates:approve"])),
    responses((status = 201, body = Approval), Problems)
)]
pub(super) async fn approve(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Json(request): Json<ApproveUpdates>,
) -> Answer<(StatusCode, Answered<Approval>)> {
    let row = app.approve_updates(&caller, &origin, &request).await?;
    Ok((StatusCode::CREATED, Answered(approval(row))))
}

/// Lists approvals of packages, newest first.
#[utoipa::path(
    get, path = "/updates/approvals", tag = "updates", operation_id = "list_approvals",
    params(Paging), security(("api_key" = ["updates:read"])),
    responses((status = 200, body = Page<Approval>), Problems)
)]
pub(super) async fn approvals(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<Approval>>> {
    let page = app.list_approvals(&caller, &paging.into()).await?;
    Ok(Answered(convert::page(page, approval)))
}

/// Takes an approval back. What agents were already told to install goes on.
#[utoipa::path(
    delete, path = "/updates/approvals/{id}", tag = "updates", operation_id = "revoke_approval",
    params(("id" = String, Path)), security(("api_key" = ["updates:approve"])),
    responses((status = 200, body = Approval), Problems)
)]
pub(super) async fn revoke(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<ApprovalId>,
) -> Answer<Answered<Approval>> {
    Ok(Answered(approval(app.revoke_approval(&caller, &origin, &id).await?)))
}

/// Lets agents install what is approved for them, or try it, a few agents at a time.
#[utoipa::path(
    post, path = "/updates/install", tag = "updates", operation_id = "install_updates",
    request_body = InstallUpdates, security(("api_key" = ["updates:install"])),
    responses((status = 202, body = FanOut), Problems)
)]
pub(super) async fn install(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    IdempotencyKey(key): IdempotencyKey,
    Json(mut request): Json<InstallUpdates>,
) -> Answer<(StatusCode, Answered<FanOut>)> {
    request.idempotency_key = request.idempotency_key.or(key);
    let progress = app.install_updates(&caller, &origin, &request).await?;
    Ok((StatusCode::ACCEPTED, Answered(convert::fan_out(&progress))))
}

fn approval(row: ApprovalRecord) -> Approval {
    let (revoked_by, revoked_at) =
        row.revoked.map(|revoked| (revoked.by, convert::text(revoked.at))).unzip();
    Approval {
        id: row.id.to_string(),
        selector: serde_json::from_str(&row.selector).unwrap_or_default(),
        packages: serde_json::from_str(&row.packages).unwrap_or_default(),
        agents: row.agents,
        waiting: row.waiting,
        approved_by: row.approved_by,
        approved_at: convert::text(row.approved_at),
        revoked_by,
        revoked_at,
    }
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
