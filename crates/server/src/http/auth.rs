//! API keys of users and services, and who the caller is.

use argosy_domain::{access::Caller, id::ApiKeyId};
use argosy_wire::rest::{
    Page,
    keys::{ApiKey, CreateKey, CreatedKey, Me},
};
use axum::{Json as Answered, extract::State, http::StatusCode};

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, From, Id, Json, Paging, Params},
};
use crate::app::App;

/// Who the server takes the caller for.
#[utoipa::path(
    get, path = "/auth/me", tag = "access", security(("api_key" = []), ("session" = [])),
    responses((status = 200, body = Me), Problems)
)]
pub(super) async fn me(By(caller): By) -> Answer<Answered<Me>> {
    let scopes = match &caller {
        Caller::Key { scopes, .. } => scopes.iter().map(str::to_owned).collect(),
        Caller::Agent { .. } | Caller::Server => Vec::new(),
    };
    let organisation = caller.org().map(ToString::to_string).unwrap_or_default();
    Ok(Answered(Me { actor: caller.actor(), organisation, scopes }))
}

/// Mints an API key with no more than the caller has. The only answer that ever shows it.
#[utoipa::path(
    post, path = "/auth/keys", tag = "access", request_body = CreateKey,
    security(("api_key" = ["keys:create"])),
    responses((status = 201, body = CreatedKey), Problems)
)]
pub(super) async fn create_key(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Json(request): Json<CreateKey>,
) -> Answer<(StatusCode, Answered<CreatedKey>)> {
    let minted = app.create_key(&caller, &origin, request).await?;
    let key = minted.secret.reveal();
    let about = convert::key(minted.into_record());
    Ok((StatusCode::CREATED, Answered(CreatedKey { key, about })))
}

/// Lists the API keys of users and services, newest first.
#[utoipa::path(
    get, path = "/auth/keys", tag = "access", params(Paging),
    security(("api_key" = ["keys:read"])),
    responses((status = 200, body = Page<ApiKey>), Problems)
)]
pub(super) async fn list_keys(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<ApiKey>>> {
    let page = app.list_keys(&caller, &paging.into()).await?;
    Ok(Answered(convert::page(page, convert::key)))
}

/// Revokes an API key. It dies with the answer.
#[utoipa::path(
    delete, path = "/auth/keys/{id}", tag = "access", params(("id" = String, Path)),
    security(("api_key" = ["keys:revoke"])),
    responses((status = 204), Problems)
)]
pub(super) async fn revoke_key(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<ApiKeyId>,
) -> Answer<StatusCode> {
    app.revoke_key(&caller, &origin, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
