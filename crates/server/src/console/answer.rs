//! Pages and refusals on their way out, and the headers that every one of them carries.

use std::sync::{Arc, OnceLock};

use argosy_wire::problem::Code;
use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};

use super::{
    frame::{Frame, Theme},
    visit::{Seen, Visit},
};
use crate::app::{App, TraceId, error::AppError};

/// Nothing but this server's own files, no script or style in a page, no frames.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";

/// What handlers answer.
pub(super) type Shown = Result<Response, Refused>;

/// A refusal, which becomes a page once it is known for whom.
#[derive(Debug)]
pub(super) struct Refused(pub(super) AppError);

impl From<AppError> for Refused {
    fn from(error: AppError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http());
        let mut response = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        response.extensions_mut().insert(Arc::new(self.0));
        response
    }
}

/// A page.
pub(super) fn page(template: &impl Template) -> Shown {
    page_as(StatusCode::OK, template)
}

/// A page with a status of its own.
pub(super) fn page_as(status: StatusCode, template: &impl Template) -> Shown {
    let html = template.render().map_err(AppError::internal)?;
    Ok((status, Html(html)).into_response())
}

/// The status of a form that is shown again for what was wrong with it.
pub(super) fn status_of(error: &AppError) -> StatusCode {
    StatusCode::from_u16(error.code.http()).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY)
}

/// The status of a form that is shown again, and what was wrong with it or stands in its way. What no other
/// entry mends is refused.
pub(super) fn mendable(error: AppError) -> Result<(StatusCode, String), Refused> {
    match error.code.http() {
        409 | 422 => Ok((status_of(&error), error.detail)),
        _ => Err(error.into()),
    }
}

/// To another page, after something was done.
pub(super) fn go(to: &str) -> Shown {
    Ok(Redirect::to(to).into_response())
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedPage<'a> {
    frame: Frame,
    status: u16,
    headline: &'a str,
    detail: &'a str,
    advice: String,
    trace_id: &'a str,
}

/// What a person can do about a refusal.
fn advice(error: &AppError, visit: Option<&Visit>) -> String {
    let role = visit.and_then(|visit| visit.role()).map_or("", |role| role.as_str());
    match error.code.http() {
        403 if error.code == Code::CsrfRefused => "The form was drawn for another session or came \
            from elsewhere. Go back, load the page again, and send it once more. Nothing was \
            changed."
            .to_owned(),
        403 if !role.is_empty() => format!(
            "You are signed in as {role}. An administrator can do this, or give you a role that can."
        ),
        404 => "It may have been deleted, or the address may be mistyped.".to_owned(),
        409 => "Somebody may have been faster. Look at it again and decide anew.".to_owned(),
        429 => "Wait a minute and try again.".to_owned(),
        503 => "The server is busy or cannot reach its database. Try again in a moment.".to_owned(),
        500 => {
            "This is a fault of the server. Its log knows more, under the number below.".to_owned()
        }
        _ => "Nothing was changed.".to_owned(),
    }
}

fn headline(error: &AppError) -> &'static str {
    match error.code.http() {
        403 => "You may not do this",
        404 => "There is nothing here",
        409 => "Not possible any more",
        _ => error.code.title(),
    }
}

async fn refusal(
    error: &AppError,
    visit: Option<&Visit>,
    (theme, trace_id): (Theme, &str),
) -> Response {
    let frame = match visit {
        Some(visit) => visit.frame(headline(error), "").await,
        None => Frame::outside(headline(error), theme),
    };
    let shown = RefusedPage {
        frame,
        status: error.code.http(),
        headline: headline(error),
        detail: &error.detail,
        advice: advice(error, visit),
        trace_id,
    };
    let status = StatusCode::from_u16(error.code.http());
    let html = shown.render().unwrap_or_default();
    (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Html(html)).into_response()
}

/// Makes pages of refusals, and adds what every answer carries.
pub(super) async fn dress(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let seen: Seen = Arc::new(OnceLock::new());
    request.extensions_mut().insert(Arc::clone(&seen));
    let theme = Theme::of(request.headers());
    let trace_id = request.extensions().get::<TraceId>().map(|id| id.0.clone()).unwrap_or_default();
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<Arc<AppError>>() {
        let retry_after_s = error.retry_after_s;
        response = refusal(&error, seen.get(), (theme, &trace_id)).await;
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
    let headers = response.headers_mut();
    let mut say = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    say(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::X_FRAME_OPTIONS, "DENY");
    say(header::REFERRER_POLICY, "same-origin");
    say(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    say(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    say(header::CACHE_CONTROL, "no-store");
    if app.cookies_are_secure() {
        say(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}
