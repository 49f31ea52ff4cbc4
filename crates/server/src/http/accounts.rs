//! Accounts of an organisation.

use argosy_domain::{account::Account as DomainAccount, id::AccountId};
use argosy_wire::rest::{
    Page,
    accounts::{Account, CreateAccount, UpdateAccount},
};
use axum::{Json as Answered, extract::State, http::StatusCode};

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, From, Id, Json},
};
use crate::app::{
    App,
    error::{AppError, AppResult},
};

/// A text that is no number is an account that nobody has.
fn number(id: &str) -> AppResult<AccountId> {
    id.parse().map_err(|_| AppError::not_found("account"))
}

/// Lists accounts.
#[utoipa::path(
    get, path = "/accounts", tag = "accounts", operation_id = "accounts",
    security(("api_key" = ["accounts:read"])),
    responses((status = 200, body = Page<Account>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
) -> Answer<Answered<Page<Account>>> {
    let accounts = app.list_accounts(&caller).await?;
    let syncs = app.last_syncs(&caller).await?;
    let account = |account: DomainAccount| {
        let last_sync = syncs.get(&account.id).copied();
        convert::account(account, last_sync)
    };
    let items = accounts.into_iter().map(account).collect();
    Ok(Answered(Page { items, next_cursor: None }))
}

/// Makes an account.
#[utoipa::path(
    post, path = "/accounts", tag = "accounts", operation_id = "create_account",
    request_body = CreateAccount, security(("api_key" = ["accounts:create"])),
    responses((status = 201, body = Account), Problems)
)]
pub(super) async fn create(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Json(request): Json<CreateAccount>,
) -> Answer<(StatusCode, Answered<Account>)> {
    let account = app.create_account(&caller, &origin, &request).await?;
    Ok((StatusCode::CREATED, Answered(convert::account(account, None))))
}

/// Shows an account.
#[utoipa::path(
    get, path = "/accounts/{id}", tag = "accounts", operation_id = "show_account",
    params(("id" = i64, Path)), security(("api_key" = ["accounts:read"])),
    responses((status = 200, body = Account), Problems)
)]
pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<String>,
) -> Answer<Answered<Account>> {
    let account = app.show_account(&caller, number(&id)?).await?;
    let last_sync = app.last_syncs(&caller).await?.remove(&account.id);
    Ok(Answered(convert::account(account, last_sync)))
}

/// Changes an account.
#[utoipa::path(
    patch, path = "/accounts/{id}", tag = "accounts", operation_id = "update_account",
    params(("id" = i64, Path)), request_body = UpdateAccount,
    security(("api_key" = ["accounts:update"])),
    responses((status = 200, body = Account), Problems)
)]
pub(super) async fn update(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<String>,
    Json(request): Json<UpdateAccount>,
) -> Answer<Answered<Account>> {
    let account = app.update_account(&caller, &origin, number(&id)?, &request).await?;
    let last_sync = app.last_syncs(&caller).await.unwrap_or_default().remove(&account.id);
    Ok(Answered(convert::account(account, last_sync)))
}

/// Deletes an account that nothing belongs to.
#[utoipa::path(
    delete, path = "/accounts/{id}", tag = "accounts", operation_id = "delete_account",
    params(("id" = i64, Path)), security(("api_key" = ["accounts:delete"])),
    responses((status = 204), Problems)
)]
pub(super) async fn delete(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<String>,
) -> Answer<StatusCode> {
    app.delete_account(&caller, &origin, number(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
