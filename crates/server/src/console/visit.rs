//! Who looks at a page: from a request with a cookie to a caller, or to the way in.
//!
//! *Invariant:* a form changes nothing unless it carries the token of the session under which it
//! was drawn, and comes from an origin of this server: the same rule as for calls of scripts.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use argosy_domain::access::{Caller, Permission};
use argosy_wire::problem::Code;
use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequest, FromRequestParts, OriginalUri, Path, Request},
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Redirect, Response},
};

use super::{
    answer::Refused,
    entry,
    fields::{Fields, link},
    frame::Theme,
};
use crate::app::{
    App, Origin, TraceId,
    error::{AppError, AppResult},
    paging::PageQuery,
    user_sessions::{CookieCall, Site, csrf_token},
};

/// A body must have arrived within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Where users go who owe a password, and what else they may do.
const OPEN_TO_OWING: [&str; 3] = ["/console/password", "/console/sign-out", "/console/theme"];

/// Somebody who is signed in, with what the request says.
#[derive(Clone)]
pub(super) struct Visit {
    pub(super) app: App,
    pub(super) origin: Origin,
    pub(super) caller: Caller,
    /// Goes into every form.
    pub(super) csrf: String,
    pub(super) theme: Theme,
    /// With its query.
    pub(super) path: String,
    pub(super) query: Fields,
}

/// Where the visitor of a request is left for whoever dresses its answer.
pub(super) type Seen = Arc<OnceLock<Visit>>;

/// Where a request came from.
pub(super) fn origin(parts: &Parts) -> Origin {
    let source = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let trace_id = parts.extensions.get::<TraceId>().map(|id| id.0.clone());
    Origin { source, trace_id }
}

/// A cookie's value, if the request carries exactly one of that name.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut values = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == wanted).then_some(value)
    });
    let (value, None) = (values.next()?, values.next()) else { return None };
    Some(value)
}

/// The session that the request shows. Programs show `Authorization`, and pages are not for them.
pub(super) fn session<'h>(headers: &'h HeaderMap, app: &App) -> Option<&'h str> {
    if headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    cookie(headers, app.session_cookie())
}

/// Where the browser says that the request comes from. Several values say nothing good.
pub(super) fn site(headers: &HeaderMap) -> Site<'_> {
    let said = |name: HeaderName| {
        let several = headers.get_all(&name).iter().count() > 1;
        let one = headers.get(&name).and_then(|value| value.to_str().ok());
        if several { Some("several") } else { one }
    };
    Site { origin: said(header::ORIGIN), fetch_site: said(FETCH_SITE) }
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Path and query as the browser has them.
fn path_of(parts: &Parts) -> String {
    let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
    uri.path_and_query().map_or_else(|| uri.path().to_owned(), |path| path.as_str().to_owned())
}

/// Lets the user in, or says where to go instead.
async fn visit(parts: &Parts, app: &App, form: Option<&Fields>) -> Result<Visit, Response> {
    let path = path_of(parts);
    let Some(cookie) = session(&parts.headers, app) else {
        return Err(way_in(parts, form.is_some(), &path));
    };
    let call = CookieCall {
        cookie,
        writes: form.is_some(),
        csrf: form.map(|form| form.text("csrf")),
        site: site(&parts.headers),
    };
    let caller = match app.authenticate_cookie(&origin(parts), call).await {
        Ok(caller) => caller,
        Err(error) if error.code == Code::Unauthenticated => {
            return Err(way_in(parts, form.is_some(), &path));
        }
        Err(error) => return Err(Refused(error).into_response()),
    };
    if caller.owes_password() && !OPEN_TO_OWING.contains(&parts.uri.path()) {
        return Err(Redirect::to("/console/password").into_response());
    }
    let visit = Visit {
        app: app.clone(),
        origin: origin(parts),
        caller,
        csrf: csrf_token(cookie).unwrap_or_default(),
        theme: Theme::of(&parts.headers),
        query: Fields::parse(parts.uri.query().unwrap_or_default().as_bytes()),
        path,
    };
    if let Some(seen) = parts.extensions.get::<Seen>() {
        seen.get_or_init(|| visit.clone());
    }
    Ok(visit)
}

/// To the page where people sign in. A link on another site's page does not carry the cookie
/// (`SameSite=Strict`): such a visit begins once more from here, with it.
fn way_in(parts: &Parts, was_form: bool, path: &str) -> Response {
    let fetch_site = site(&parts.headers).fetch_site;
    if !was_form && fetch_site.is_some_and(|site| site != "same-origin" && site != "none") {
        return entry::begin_again(path);
    }
    let next = if was_form { "" } else { path };
    Redirect::to(&entry::sign_in_link(next, was_form)).into_response()
}

impl FromRequestParts<App> for Visit {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        visit(parts, app, None).await
    }
}

impl Visit {
    /// Whether the user's role grants something: for what a page offers, never for what it does.
    pub(super) fn may(&self, permission: Permission) -> bool {
        self.caller.scopes().grant(permission)
    }

    /// The part of a list that the address asks for.
    pub(super) fn paging(&self) -> PageQuery {
        PageQuery { limit: None, cursor: self.query.owned("cursor") }
    }

    /// The ways onward, given the cursor of what follows, and back to the beginning of a list without
    /// filters; empty where there is none.
    pub(super) fn turns(&self, list: &str, next: Option<&str>) -> (String, String) {
        let onward = next.map(|at| link(list, [("cursor", Some(at))]));
        let back = self.query.has("cursor").then(|| list.to_owned());
        (onward.unwrap_or_default(), back.unwrap_or_default())
    }

    /// Refuses a page that would have nothing to show.
    pub(super) fn must(&self, permission: Permission) -> AppResult<()> {
        if self.may(permission) {
            return Ok(());
        }
        let why = format!("this needs the scope {}", permission.scope());
        Err(AppError::because(Code::Forbidden, why))
    }
}

/// A form of somebody who is signed in.
pub(super) struct Sent {
    pub(super) visit: Visit,
    pub(super) form: Fields,
}

/// Reads a form, whoever sent it.
pub(super) async fn form_of(request: Request, app: &App) -> Result<(Parts, Fields), Response> {
    let (parts, body) = request.into_parts();
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let error = AppError::because(Code::UnsupportedMediaType, "this is not a form");
        return Err(Refused(error).into_response());
    }
    let mut bare = Request::new(body);
    *bare.extensions_mut() = parts.extensions.clone();
    let read = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(bare, app)).await;
    let refused = |code, why| Refused(AppError::because(code, why)).into_response();
    match read {
        Ok(Ok(bytes)) => Ok((parts, Fields::parse(&bytes))),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(refused(Code::TooLarge, "the form is too large"))
        }
        Ok(Err(_)) => Err(refused(Code::Malformed, "the form could not be read")),
        Err(_) => Err(refused(Code::Malformed, "the form did not arrive in time")),
    }
}

impl FromRequest<App> for Sent {
    type Rejection = Response;
    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (parts, form) = form_of(request, app).await?;
        let visit = visit(&parts, app, Some(&form)).await?;
        Ok(Self { visit, form })
    }
}

/// An identifier in the path. A text that is none is answered like one that is unknown.
pub(super) struct Id<T>(pub(super) T);

impl<T: std::str::FromStr> FromRequestParts<App> for Id<T> {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let text = Path::<String>::from_request_parts(parts, app).await.ok();
        let id = text.and_then(|Path(text)| text.parse().ok());
        id.map(Self).ok_or_else(|| Refused(AppError::not_found("thing")).into_response())
    }
}
