//! Enrolment tokens.

use argosy_domain::id::TokenId;
use argosy_wire::rest::{
    Page,
    tokens::{CreateToken, CreatedToken, Token, TokenCommands},
};
use axum::{Json as Answered, extract::State, http::StatusCode};

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, From, Id, Json, Paging, Params},
};
use crate::app::{App, tokens::MintedToken};

/// The command that enrols a machine; the token stands in the environment, never in a URL.
fn binary_command(app: &App, token: &str) -> String {
    let url = app.rules().public_urls.first().map_or("http://localhost:8080", String::as_str);
    format!("ARGOSY_BOOTSTRAP_TOKEN='{token}' argosy-agent enroll --server {url}")
}

/// Mints an enrolment token. The only answer that ever shows it.
#[utoipa::path(
    post, path = "/bootstrap-tokens", tag = "tokens", request_body = CreateToken,
    security(("api_key" = ["tokens:create"])),
    responses((status = 201, body = CreatedToken), Problems)
)]
pub(super) async fn create(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Json(request): Json<CreateToken>,
) -> Answer<(StatusCode, Answered<CreatedToken>)> {
    let MintedToken { token, secret } = app.create_token(&caller, &origin, request).await?;
    let text = secret.reveal();
    let commands = TokenCommands { binary: binary_command(&app, &text) };
    let about = convert::token(&token, app.now());
    Ok((StatusCode::CREATED, Answered(CreatedToken { token: text, about, commands })))
}

/// Lists enrolment tokens, newest first.
#[utoipa::path(
    get, path = "/bootstrap-tokens", tag = "tokens", params(Paging),
    security(("api_key" = ["tokens:read"])),
    responses((status = 200, body = Page<Token>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<Token>>> {
    let page = app.list_tokens(&caller, &paging.into()).await?;
    let now = app.now();
    Ok(Answered(convert::page(page, |token| convert::token(&token, now))))
}

/// Revokes an enrolment token and cancels what still waits for approval under it.
#[utoipa::path(
    delete, path = "/bootstrap-tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "Public part of the token")),
    security(("api_key" = ["tokens:revoke"])),
    responses((status = 200, body = Token), Problems)
)]
pub(super) async fn revoke(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<TokenId>,
) -> Answer<Answered<Token>> {
    let token = app.revoke_token(&caller, &origin, &id).await?;
    Ok(Answered(convert::token(&token, app.now())))
}
