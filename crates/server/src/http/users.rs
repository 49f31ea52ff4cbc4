//! Users of the caller's organisation.

use argosy_domain::{id::UserId, user::User as Known};
use argosy_wire::rest::{
    Page,
    users::{CreateUser, UpdateUser, User, UserWithPassword},
};
use axum::{Json as Answered, extract::State, http::StatusCode};

use super::{
    answer::{Answer, Problems},
    convert::{self, text},
    extract::{By, From, Id, Json, Paging, Params},
};
use crate::app::{App, users::MadeUser};

fn shown(user: Known) -> User {
    User {
        id: user.id.to_string(),
        name: user.name.to_string(),
        role: user.role.as_str().to_owned(),
        disabled: user.disabled_at.is_some(),
        must_change_password: user.must_change_password,
        created_by: user.created_by,
        created_at: text(user.created_at),
        last_login_at: user.last_login_at.map(text),
    }
}

pub(super) fn with_password(made: MadeUser) -> UserWithPassword {
    UserWithPassword { about: shown(made.user), password: made.password }
}

/// Makes a user with a generated password, which this answer alone shows.
#[utoipa::path(
    post, path = "/users", tag = "users", request_body = CreateUser,
    security(("api_key" = ["users:create"])),
    responses((status = 201, body = UserWithPassword), Problems)
)]
pub(super) async fn create(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Json(request): Json<CreateUser>,
) -> Answer<(StatusCode, Answered<UserWithPassword>)> {
    let made = app.create_user(&caller, &origin, &request).await?;
    Ok((StatusCode::CREATED, Answered(with_password(made))))
}

/// Lists users, newest first.
#[utoipa::path(
    get, path = "/users", tag = "users", params(Paging), security(("api_key" = ["users:read"])),
    responses((status = 200, body = Page<User>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<User>>> {
    let page = app.list_users(&caller, &paging.into()).await?;
    Ok(Answered(convert::page(page, shown)))
}

/// Changes name, role or access of a user, or resets the password.
#[utoipa::path(
    patch, path = "/users/{id}", tag = "users", params(("id" = String, Path)),
    request_body = UpdateUser, security(("api_key" = ["users:update"])),
    responses((status = 200, body = UserWithPassword), Problems)
)]
pub(super) async fn update(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<UserId>,
    Json(request): Json<UpdateUser>,
) -> Answer<Answered<UserWithPassword>> {
    Ok(Answered(with_password(app.update_user(&caller, &origin, &id, &request).await?)))
}

/// Deletes a user, with every session and key.
#[utoipa::path(
    delete, path = "/users/{id}", tag = "users", params(("id" = String, Path)),
    security(("api_key" = ["users:delete"])),
    responses((status = 204), Problems)
)]
pub(super) async fn delete(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<UserId>,
) -> Answer<StatusCode> {
    app.delete_user(&caller, &origin, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
