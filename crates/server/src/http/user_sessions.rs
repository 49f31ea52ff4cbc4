//! Logging in and out, passwords, and sessions of users.

use argosy_domain::id::UserSessionId;
use argosy_wire::rest::users::{ChangePassword, LoggedIn, Login, Setup, UserSession, UserSessions};
use axum::{
    Json as Answered,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
};

use super::{
    answer::{Answer, Problems, Refusal},
    auth::about,
    convert::text,
    extract::{By, From, Id, Json, StrictJson, session_cookie, site},
};
use crate::app::{App, error::AppError, user_sessions::OpenedSession};

type WithCookie<T> = ([(HeaderName, HeaderValue); 2], T);

fn with_cookie<T>(app: &App, value: &str, answer: T) -> Answer<WithCookie<T>> {
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let cookie = HeaderValue::from_str(&app.session_cookie_text(value));
    let cookie = cookie.map_err(|error| Refusal(AppError::internal(error)))?;
    Ok(([(header::SET_COOKIE, cookie), no_store], answer))
}

fn opened(app: &App, session: &OpenedSession) -> Answer<WithCookie<Answered<LoggedIn>>> {
    let me = about(&session.caller, &session.cookie);
    let answer = Answered(LoggedIn { me, expires_at: text(session.expires_at) });
    with_cookie(app, &session.cookie, answer)
}

/// Begins a session with name and password. The cookie is the session; what the call carried as one
/// before ends.
#[utoipa::path(
    post, path = "/auth/login", tag = "access", request_body = Login,
    responses((status = 200, body = LoggedIn), Problems)
)]
pub(super) async fn login(
    State(app): State<App>,
    From(origin): From,
    headers: HeaderMap,
    StrictJson(request): StrictJson<Login>,
) -> Answer<WithCookie<Answered<LoggedIn>>> {
    let shown = session_cookie(&headers, &app);
    let session = app.login(&origin, &request, site(&headers), shown).await?;
    opened(&app, &session)
}

/// Makes the first administrator with a code of `argosyd user-link`, and begins a session.
#[utoipa::path(
    post, path = "/auth/setup", tag = "access", request_body = Setup,
    responses((status = 200, body = LoggedIn), Problems)
)]
pub(super) async fn setup(
    State(app): State<App>,
    From(origin): From,
    headers: HeaderMap,
    StrictJson(request): StrictJson<Setup>,
) -> Answer<WithCookie<Answered<LoggedIn>>> {
    let session = app.set_up(&origin, &request, site(&headers)).await?;
    opened(&app, &session)
}

/// Ends the user's session that asks.
#[utoipa::path(
    post, path = "/auth/logout", tag = "access", security(("api_key" = []), ("session" = [])),
    responses((status = 204), Problems)
)]
pub(super) async fn logout(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
) -> Answer<WithCookie<StatusCode>> {
    app.end_own_session(&caller, &origin, None).await?;
    with_cookie(&app, "", StatusCode::NO_CONTENT)
}

/// Replaces the user's own password. Every session of the user ends and a new one begins.
#[utoipa::path(
    post, path = "/auth/password", tag = "access", request_body = ChangePassword,
    operation_id = "change_password", security(("api_key" = []), ("session" = [])),
    responses((status = 200, body = LoggedIn), Problems)
)]
pub(super) async fn change_password(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Json(request): Json<ChangePassword>,
) -> Answer<WithCookie<Answered<LoggedIn>>> {
    let session = app.change_password(&caller, &origin, &request).await?;
    opened(&app, &session)
}

/// Lists the user's own open sessions, newest first.
#[utoipa::path(
    get, path = "/auth/sessions", tag = "access", operation_id = "list_sessions",
    security(("api_key" = []), ("session" = [])),
    responses((status = 200, body = UserSessions), Problems)
)]
pub(super) async fn list(State(app): State<App>, By(caller): By) -> Answer<Answered<UserSessions>> {
    let own = app.own_sessions(&caller).await?;
    let items = own.into_iter().map(|own| UserSession {
        id: own.session.id.to_string(),
        created_at: text(own.session.created_at),
        last_seen_at: text(own.seen_at),
        expires_at: text(own.session.expires_at),
        source: own.session.source,
        current: own.current,
    });
    Ok(Answered(UserSessions { items: items.collect() }))
}

/// Ends one of the user's own sessions.
#[utoipa::path(
    delete, path = "/auth/sessions/{id}", tag = "access", operation_id = "end_session",
    params(("id" = String, Path)), security(("api_key" = []), ("session" = [])),
    responses((status = 204), Problems)
)]
pub(super) async fn end(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Id(id): Id<UserSessionId>,
) -> Answer<StatusCode> {
    app.end_own_session(&caller, &origin, Some(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
