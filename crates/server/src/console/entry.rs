//! The ways in and out: signing in, the first administrator, a new password, signing out; and the
//! choice between light and dark.

use argosy_wire::rest::users::{ChangePassword, Login, Setup};
use askama::Template;
use axum::{
    extract::{FromRequestParts as _, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Redirect, Response},
};

use super::{
    answer::{Refused, Shown, go, page, page_as, status_of},
    fields::{Fields, link},
    frame::{Frame, THEME_COOKIE, Theme},
    visit::{Sent, Visit, form_of, origin, session, site},
};
use crate::app::{App, error::AppError, user_sessions::OpenedSession};

const SIGN_IN: &str = "/console/sign-in";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    frame: Frame,
    next: &'a str,
    name: &'a str,
    organisation: &'a str,
    problem: &'a str,
    over: bool,
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage<'a> {
    frame: Frame,
    code: &'a str,
    name: &'a str,
    problem: &'a str,
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage<'a> {
    frame: Frame,
    owing: bool,
    problem: &'a str,
}

#[derive(Template)]
#[template(path = "again.html")]
struct AgainPage<'a> {
    path: &'a str,
}

/// Where somebody goes after signing in: a page of this console, and nowhere else.
fn safe(next: &str) -> &str {
    let own = ["/console", "/docs"].into_iter().any(|own| {
        next.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
    });
    let plain = next.chars().all(|c| !c.is_control() && c != '\\');
    if own && plain && !next.starts_with(SIGN_IN) { next } else { "/console" }
}

/// The way in, with the way on.
pub(super) fn sign_in_link(next: &str, was_form: bool) -> String {
    let next = Some(next).filter(|next| !next.is_empty() && *next != "/console");
    link(SIGN_IN, [("next", next), ("over", was_form.then_some("1"))])
}

/// The same visit once more, from a page of this server.
pub(super) fn begin_again(path: &str) -> Response {
    Html(AgainPage { path: safe(path) }.render().unwrap_or_default()).into_response()
}

fn with_cookie(app: &App, value: &str, mut answer: Response) -> Shown {
    let cookie = HeaderValue::from_str(&app.session_cookie_text(value));
    answer.headers_mut().insert(header::SET_COOKIE, cookie.map_err(AppError::internal)?);
    Ok(answer)
}

fn let_in(app: &App, session: &OpenedSession, next: &str) -> Shown {
    let to = if session.caller.owes_password() { "/console/password" } else { safe(next) };
    with_cookie(app, &session.cookie, Redirect::to(to).into_response())
}

/// `/`: the console is what people come for.
pub(super) async fn root() -> Redirect {
    Redirect::to("/console")
}

/// Name and password.
pub(super) async fn sign_in_form(State(app): State<App>, request: Request) -> Shown {
    let (mut parts, _) = request.into_parts();
    let query = Fields::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let next = query.text("next").to_owned();
    if session(&parts.headers, &app).is_some()
        && Visit::from_request_parts(&mut parts, &app).await.is_ok()
    {
        return go(safe(&next));
    }
    let frame = Frame::outside("Sign in", Theme::of(&parts.headers));
    let over = query.has("over");
    page(&SignInPage { frame, next: &next, name: "", organisation: "", problem: "", over })
}

/// Checks name and password.
pub(super) async fn sign_in(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Response> {
    let (parts, form) = form_of(request, &app).await?;
    let login = Login {
        name: form.text("name").trim().to_owned(),
        password: form.text("password").to_owned(),
        organisation: form.owned("organisation"),
    };
    let shown = session(&parts.headers, &app);
    let outcome = app.login(&origin(&parts), &login, site(&parts.headers), shown).await;
    let answer = match outcome {
        Ok(session) => let_in(&app, &session, form.text("next")),
        Err(error) => {
            let frame = Frame::outside("Sign in", Theme::of(&parts.headers));
            let (next, name) = (form.text("next"), login.name.as_str());
            let problem = &sentence(&error);
            let organisation = form.text("organisation");
            let again = SignInPage { frame, next, name, organisation, problem, over: false };
            page_as(status_of(&error), &again)
        }
    };
    answer.map_err(|refused| refused.into_response())
}

/// A refusal as a sentence for the person at the form.
fn sentence(error: &AppError) -> String {
    let mut text = error.detail.clone();
    if let Some(first) = text.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    let wait = error.retry_after_s.map(|s| format!(". Try again in {s} seconds"));
    format!("{}{}.", text.trim_end_matches('.'), wait.unwrap_or_default())
}

/// The first administrator, with a code of `argosyd user-link`.
pub(super) async fn setup_form(headers: HeaderMap) -> Shown {
    let frame = Frame::outside("First administrator", Theme::of(&headers));
    page(&SetupPage { frame, code: "", name: "", problem: "" })
}

/// Makes the first administrator.
pub(super) async fn setup(State(app): State<App>, request: Request) -> Result<Response, Response> {
    let (parts, form) = form_of(request, &app).await?;
    let wanted = Setup {
        code: form.text("code").trim().to_owned(),
        name: form.text("name").trim().to_owned(),
        password: form.text("password").to_owned(),
    };
    let outcome = match form.text("password") == form.text("again") {
        true => app.set_up(&origin(&parts), &wanted, site(&parts.headers)).await,
        false => Err(AppError::field("password", "is not the same twice")),
    };
    let answer = match outcome {
        Ok(session) => let_in(&app, &session, ""),
        Err(error) => {
            let frame = Frame::outside("First administrator", Theme::of(&parts.headers));
            let problem = &sentence(&error);
            let again = SetupPage { frame, code: &wanted.code, name: &wanted.name, problem };
            page_as(status_of(&error), &again)
        }
    };
    answer.map_err(|refused| refused.into_response())
}

async fn password_page(visit: &Visit, status: StatusCode, problem: &str) -> Shown {
    let frame = visit.frame("Your password", "sessions").await;
    let owing = visit.caller.owes_password();
    page_as(status, &PasswordPage { frame, owing, problem })
}

/// A new password for oneself.
pub(super) async fn password_form(visit: Visit) -> Shown {
    password_page(&visit, StatusCode::OK, "").await
}

/// Replaces the own password.
pub(super) async fn password(Sent { visit, form }: Sent) -> Shown {
    let wanted = ChangePassword {
        current_password: form.text("current").to_owned(),
        new_password: form.text("new").to_owned(),
    };
    let outcome = match form.text("new") == form.text("again") {
        true => visit.app.change_password(&visit.caller, &visit.origin, &wanted).await,
        false => Err(AppError::field("new_password", "is not the same twice")),
    };
    match outcome {
        Ok(session) => let_in(&visit.app, &session, "/console?done=password"),
        Err(error) => password_page(&visit, status_of(&error), &sentence(&error)).await,
    }
}

/// Ends the session.
pub(super) async fn sign_out(Sent { visit, .. }: Sent) -> Shown {
    visit.app.end_own_session(&visit.caller, &visit.origin, None).await?;
    with_cookie(&visit.app, "", Redirect::to(SIGN_IN).into_response())
}

/// Remembers light or dark in the browser.
pub(super) async fn theme(Sent { form, .. }: Sent) -> Shown {
    let theme = Theme::parse(form.text("theme")).as_str();
    let cookie = format!("{THEME_COOKIE}={theme}; Path=/; Max-Age=31536000; SameSite=Lax");
    let mut answer = Redirect::to(safe(form.text("next"))).into_response();
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| Refused(AppError::internal(error)));
    answer.headers_mut().insert(header::SET_COOKIE, cookie?);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere_after_signing_in() {
        for own in ["/console", "/console/agents?q=a", "/docs/", "/console?done=saved"] {
            assert_eq!(safe(own), own);
        }
        for foreign in [
            "https://evil.test/",
            "//evil.test",
            "/\\evil.test",
            "/consolevil",
            "/api/v1/agents",
            "/console/sign-in?next=/console",
            "/console\\..",
            "",
            "javascript:alert(1)",
        ] {
            assert_eq!(safe(foreign), "/console", "{foreign}");
        }
    }

    #[test]
    fn a_refusal_is_a_sentence() {
        let error =
            AppError::because(argosy_wire::problem::Code::Invalid, "name or password is wrong");
        assert_eq!(sentence(&error), "Name or password is wrong.");
        let error = AppError { retry_after_s: Some(9), ..error };
        assert_eq!(sentence(&error), "Name or password is wrong. Try again in 9 seconds.");
    }
}
