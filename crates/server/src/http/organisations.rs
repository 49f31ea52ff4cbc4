//! Organisations of the installation.

use argosy_domain::id::OrgId;
use argosy_wire::rest::{
    Page,
    organisations::{CreateOrganisation, CreatedOrganisation, Organisation, UpdateOrganisation},
};
use axum::{Json as Answered, extract::State, http::StatusCode};

use super::{
    answer::{Answer, Problems},
    convert::{self, text},
    extract::{By, From, Id, Json, Paging, Params},
    users::with_password,
};
use crate::app::{App, records::OrganisationRecord};

fn shown(organisation: OrganisationRecord) -> Organisation {
    Organisation {
        id: organisation.id.to_string(),
        name: organisation.name,
        created_at: text(organisation.created_at),
        disabled: organisation.disabled_at.is_some(),
    }
}

/// Makes an organisation with an account and a first administrator.
#[utoipa::path(
    post, path = "/organisations", tag = "organisations", request_body = CreateOrganisation,
    security(("api_key" = ["organisations:create"])),
    responses((status = 201, body = CreatedOrganisation), Problems)
)]
pub(super) async fn create(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Json(request): Json<CreateOrganisation>,
) -> Answer<(StatusCode, Answered<CreatedOrganisation>)> {
    let made = app.create_organisation(&caller, &origin, &request).await?;
    let created = CreatedOrganisation {
        about: shown(made.organisation),
        account_id: made.account_id,
        admin: with_password(made.admin),
    };
    Ok((StatusCode::CREATED, Answered(created)))
}

/// Renames an organisation, shuts everybody of it out, or lets them in again.
#[utoipa::path(
    patch, path = "/organisations/{id}", tag = "organisations", params(("id" = String, Path)),
    request_body = UpdateOrganisation, security(("api_key" = ["organisations:update"])),
    responses((status = 200, body = Organisation), Problems)
)]
pub(super) async fn update(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<OrgId>,
    Json(request): Json<UpdateOrganisation>,
) -> Answer<Answered<Organisation>> {
    Ok(Answered(shown(app.update_organisation(&caller, &origin, &id, &request).await?)))
}

/// Lists organisations, newest first.
#[utoipa::path(
    get, path = "/organisations", tag = "organisations", params(Paging),
    security(("api_key" = ["organisations:read"])),
    responses((status = 200, body = Page<Organisation>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<Organisation>>> {
    let page = app.list_organisations(&caller, &paging.into()).await?;
    Ok(Answered(convert::page(page, shown)))
}
