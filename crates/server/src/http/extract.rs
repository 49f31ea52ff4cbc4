//! From a request to checked values: who calls, from where, with what.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use argosy_domain::access::Caller;
use argosy_wire::problem::Code;
use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequest, FromRequestParts, OriginalUri, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::answer::Refusal;
pub(super) use crate::app::json::parse_json;
use crate::app::{
    App, Origin, TraceId, check_in,
    error::{AppError, AppResult},
    paging::PageQuery,
    sessions::SessionCall,
    user_sessions::{CookieCall, Site},
};

fn origin(parts: &Parts) -> Origin {
    let source = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let trace_id = parts.extensions.get::<TraceId>().map(|id| id.0.clone());
    Origin { source, trace_id }
}

/// Where the request came from.
pub(super) struct From(pub(super) Origin);

impl FromRequestParts<App> for From {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        Ok(Self(origin(parts)))
    }
}

/// Whoever calls, where that was found out before the handler: a proof is good once.
#[derive(Clone)]
pub(super) struct Known(pub(super) Caller);

/// Whoever calls, authenticated.
pub(super) struct By(pub(super) Caller);

impl FromRequestParts<App> for By {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        if let Some(Known(caller)) = parts.extensions.get() {
            return Ok(Self(caller.clone()));
        }
        Ok(Self(authenticate(parts, app).await?))
    }
}

fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The one value of a header; none where there are several.
fn only_header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    value.to_str().ok()
}

/// The value of this server's cookie, if the call carries exactly one. Whoever shows `Authorization`
/// too has not been sent by a page of somebody else, and the cookie does not count.
pub(super) fn session_cookie<'h>(headers: &'h HeaderMap, app: &App) -> Option<&'h str> {
    if headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut values = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == app.session_cookie()).then_some(value)
    });
    let (value, None) = (values.next()?, values.next()) else { return None };
    Some(value)
}

/// Where a browser says that a call comes from. Several values say nothing good.
pub(super) fn site(headers: &HeaderMap) -> Site<'_> {
    let said = |name| {
        let several = headers.get_all(name).iter().count() > 1;
        if several { Some("several") } else { header_text(headers, name) }
    };
    Site { origin: said("origin"), fetch_site: said("sec-fetch-site") }
}

pub(super) async fn authenticate(parts: &Parts, app: &App) -> AppResult<Caller> {
    let unauthenticated = || AppError::new(Code::Unauthenticated);
    if let Some(cookie) = session_cookie(&parts.headers, app) {
        let call = CookieCall {
            cookie,
            writes: !parts.method.is_safe(),
            csrf: only_header_text(&parts.headers, "x-csrf-token"),
            site: site(&parts.headers),
        };
        return app.authenticate_cookie(&origin(parts), call).await;
    }
    let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return Err(unauthenticated()) };
    let (scheme, secret) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(unauthenticated)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return app.authenticate_key(&origin(parts), secret.trim()).await;
    }
    if !scheme.eq_ignore_ascii_case("dpop") {
        return Err(unauthenticated());
    }
    let path = parts
        .extensions
        .get::<OriginalUri>()
        .map_or_else(|| parts.uri.path(), |original| original.0.path());
    let call = SessionCall {
        token: secret.trim(),
        proof: only_header_text(&parts.headers, "dpop").unwrap_or_default(),
        method: parts.method.as_str(),
        path,
        machine_id: header_text(&parts.headers, "x-machine-id"),
        version: header_text(&parts.headers, "x-agent-version"),
        opens_stream: check_in::opens_channel(path),
    };
    Ok(app.prove_session(&origin(parts), call).await?.into())
}

/// The token of the session that a call shows; none where it shows something else.
pub(super) struct SessionToken(pub(super) Option<String>);

impl FromRequestParts<App> for SessionToken {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        let shown = only_header_text(&parts.headers, header::AUTHORIZATION.as_str());
        let token = shown.and_then(|text| text.split_once(' ')).and_then(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("dpop").then(|| token.trim().to_owned())
        });
        Ok(Self(token))
    }
}

/// Texts in the path. What is no text names nothing, so it is answered like what is unknown.
pub(super) struct Texts<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Texts<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let texts = Path::<T>::from_request_parts(parts, app).await;
        texts.map(|Path(texts)| Self(texts)).map_err(|_| Refusal(AppError::not_found("thing")))
    }
}

/// An identifier in the path. A text that is none is answered like one that is unknown.
pub(super) struct Id<T>(pub(super) T);

impl<T: FromStr> FromRequestParts<App> for Id<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let Texts(text) = Texts::<String>::from_request_parts(parts, app).await?;
        text.parse().map(Self).map_err(|_| Refusal(AppError::not_found("thing")))
    }
}

/// Query parameters.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|Query(params)| Self(params))
            .map_err(|error| Refusal(AppError::because(Code::Malformed, error.body_text())))
    }
}

/// `limit` and `cursor`, which every list has.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// Items at most: 1 to 500, 50 unless said otherwise.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// As given by the page before.
    cursor: Option<String>,
}

impl std::convert::From<Paging> for PageQuery {
    fn from(paging: Paging) -> Self {
        Self { limit: paging.limit, cursor: paging.cursor }
    }
}

/// A body must have arrived within this time.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body. No content type and curl's own default are read as JSON too.
pub(super) struct Json<T>(pub(super) T);

/// A JSON body that may be left out; `null` is the same as nothing.
pub(super) struct OptionalJson<T>(pub(super) T);

async fn body(request: Request, app: &App) -> AppResult<Bytes> {
    arrived_body(request, app, &[]).await
}

/// The body of a request, of one of these media types or JSON.
pub(super) async fn arrived_body(request: Request, app: &App, others: &[&str]) -> AppResult<Bytes> {
    let media_type = header_text(request.headers(), "content-type").unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // A page of somebody else can send a form with the user's cookie, but not JSON.
    let form = ["", "application/json", "application/x-www-form-urlencoded"];
    let strict = session_cookie(request.headers(), app).is_some();
    let readable = if strict { &form[1..2] } else { &form[..] };
    if !readable.contains(&essence.as_str()) && !others.contains(&essence.as_str()) {
        return Err(AppError::because(Code::UnsupportedMediaType, "send application/json"));
    }
    let arrived = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, app)).await;
    let late = |_| AppError::because(Code::Malformed, "the body did not arrive in time");
    arrived.map_err(late)?.map_err(|rejection| {
        let too_large = rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE;
        AppError::new(if too_large { Code::TooLarge } else { Code::Malformed })
    })
}

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let bytes = body(request, app).await?;
        Ok(Self(parse_json(&bytes)?))
    }
}

impl<T: DeserializeOwned + Default> FromRequest<App> for OptionalJson<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let bytes = body(request, app).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(T::default()));
        }
        Ok(Self(parse_json::<Option<T>>(&bytes)?.unwrap_or_default()))
    }
}

/// A JSON body that says so, for calls that begin a session.
pub(super) struct StrictJson<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for StrictJson<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let media_type = header_text(request.headers(), "content-type").unwrap_or_default();
        let says_so = media_type.to_ascii_lowercase().starts_with("application/json");
        let bytes = body(request, app).await?;
        if !says_so {
            let error = AppError::because(Code::UnsupportedMediaType, "send application/json");
            return Err(Refusal(error));
        }
        Ok(Self(parse_json(&bytes)?))
    }
}

/// The header `Idempotency-Key`.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        Ok(Self(header_text(&parts.headers, "idempotency-key").map(str::to_owned)))
    }
}
