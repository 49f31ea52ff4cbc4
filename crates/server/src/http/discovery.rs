//! Discovered resources.

use argosy_domain::id::ResourceRowId;
use argosy_wire::rest::{
    Page,
    discovery::{Ingest, Ingested, Resource},
};
use axum::{Json as Answered, extract::State, http::HeaderMap};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    agents::next_nonce,
    answer::{Answer, Problems},
    convert,
    extract::{By, Id, Json, Params},
};
use crate::app::{App, discovery::ResourceQuery, paging::PageQuery};

/// Takes one whole run of discovered resources. They are durable when it is answered.
#[utoipa::path(
    post, path = "/discovery/ingest", tag = "discovery", request_body = Ingest,
    security(("api_key" = ["discovery:create"]), ("session" = [])),
    responses((status = 200, body = Ingested), Problems)
)]
pub(super) async fn ingest(
    State(app): State<App>,
    By(caller): By,
    Json(body): Json<Ingest>,
) -> Answer<(HeaderMap, Answered<Ingested>)> {
    let outcome = app.ingest(&caller, body).await?;
    let answer = Ingested {
        job_id: outcome.job.to_string(),
        resources_found: outcome.counts.found(),
        resources_created: outcome.counts.created,
        resources_updated: outcome.counts.updated,
        resources_deleted: outcome.stale,
    };
    Ok((next_nonce(&app), Answered(answer)))
}

/// Which resources to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Of this account.
    account_id: Option<i64>,
    /// Such as `aws`.
    provider: Option<String>,
    /// Such as `eu-central-1`.
    region: Option<String>,
    /// Such as `vpc`.
    resource_type: Option<String>,
    /// `active` or `stale`.
    status: Option<String>,
    /// Part of name, id or address range.
    q: Option<String>,
    /// Items at most: 1 to 500, 50 unless said otherwise.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// As given by the page before.
    cursor: Option<String>,
}

/// Lists resources, newest first.
#[utoipa::path(
    get, path = "/discovery/resources", tag = "discovery", params(Wanted),
    security(("api_key" = ["discovery:read"])),
    responses((status = 200, body = Page<Resource>), Problems)
)]
pub(super) async fn resources(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
) -> Answer<Answered<Page<Resource>>> {
    let paging = PageQuery { limit: wanted.limit, cursor: wanted.cursor };
    let query = ResourceQuery {
        account: wanted.account_id,
        provider: wanted.provider,
        region: wanted.region,
        resource_type: wanted.resource_type,
        status: wanted.status,
        q: wanted.q,
    };
    let page = app.list_resources(&caller, query, &paging).await?;
    Ok(Answered(convert::page(page, convert::resource)))
}

/// Shows a resource.
#[utoipa::path(
    get, path = "/discovery/resources/{id}", tag = "discovery", params(("id" = String, Path)),
    security(("api_key" = ["discovery:read"])),
    responses((status = 200, body = Resource), Problems)
)]
pub(super) async fn resource(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<ResourceRowId>,
) -> Answer<Answered<Resource>> {
    Ok(Answered(convert::resource(app.show_resource(&caller, &id).await?)))
}
