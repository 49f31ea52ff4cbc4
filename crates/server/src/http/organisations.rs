//! Organisations of the installation.

use argosy_wire::rest::{
    Page,
    organisations::{CreateOrganisation, CreatedOrganisation, Organisation},
};
use axum::{Json as Answered, extract::State, http::StatusCode};

use super::{
    answer::{Answer, Problems},
    convert::{self, text},
    extract::{By, From, Json, Paging, Params},
    users::with_password,
};
use crate::app::{App, records::OrganisationRecord};

fn shown(organisation: OrganisationRecord) -> Organisation {
    Organisation {
        id: organisation.id.to_string(),
        name: organisation.name,
        created_at: text(organisation.created_at),
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
