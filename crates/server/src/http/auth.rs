//! API keys of users and services, and who the caller is.

use argosy_domain::{access::Caller, id::ApiKeyId};
use argosy_wire::rest::{
    Page,
    keys::{ApiKey, CreateKey, CreatedKey, Me, MyUser},
};
use axum::{
    Json as Answered,
    extract::State,
    http::{HeaderMap, StatusCode},
};

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, From, Id, Json, Paging, Params, session_cookie},
};
use crate::app::{App, user_sessions::csrf_token};

/// Who the server takes the caller for.
#[utoipa::path(
    get, path = "/auth/me", tag = "access", security(("api_key" = []), ("session" = [])),
    responses((status = 200, body = Me), Problems)
)]
pub(super) async fn me(
    State(app): State<App>,
    By(caller): By,
    headers: HeaderMap,
) -> Answer<Answered<Me>> {
    Ok(Answered(about(&caller, session_cookie(&headers, &app).unwrap_or_default())))
}

/// Who a caller is. A user also gets the token that goes with the cookie.
pub(super) fn about(caller: &Caller, cookie: &str) -> Me {
    let user = match caller {
        Caller::User { user, name, role, must_change_password, .. } => Some(MyUser {
            id: user.to_string(),
            name: name.to_string(),
            role: role.as_str().to_owned(),
            must_change_password: *must_change_password,
            csrf_token: csrf_token(cookie).unwrap_or_default(),
        }),
        Caller::Key { .. } | Caller::Agent { .. } | Caller::Server => None,
    };
    Me {
        actor: caller.actor(),
        organisation: caller.org().map(ToString::to_string).unwrap_or_default(),
        scopes: caller.scopes().iter().map(str::to_owned).collect(),
        user,
    }
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
    let about = convert::key(minted.into_record(), app.now());
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
    let now = app.now();
    Ok(Answered(convert::page(page, |key| convert::key(key, now))))
}

/// Revokes an API key, and what was minted with it. They die with the answer.
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
