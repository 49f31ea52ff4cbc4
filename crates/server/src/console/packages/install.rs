//! Trying and installing what is approved.

use argosy_domain::access::Permission;
use argosy_wire::rest::updates::InstallUpdates;
use askama::Template;
use axum::http::StatusCode;

use super::{LIST, Whom};
use crate::{
    app::error::AppResult,
    console::{
        answer::{Shown, go, mendable, page_as},
        compose::{at_once, whole},
        fields::{Fields, link},
        frame::Frame,
        visit::{Sent, Visit},
    },
};

#[derive(Template)]
#[template(path = "package_install.html")]
struct InstallPage<'a> {
    frame: Frame,
    whom: Whom,
    packages: &'a str,
    /// It shall be done, and not tried.
    real: bool,
    untried: bool,
    concurrency: String,
    errors: &'a str,
    /// Makes a form that is sent twice one order.
    once: String,
    problem: String,
}

async fn install_page(visit: &Visit, status: StatusCode, fields: &Fields, problem: &str) -> Shown {
    visit.must(Permission::UpdatesInstall)?;
    let page = InstallPage {
        frame: visit.frame("Try or install packages", "packages").await,
        whom: Whom::of(visit, fields).await?,
        packages: fields.text("packages"),
        real: fields.text("mode") == "install",
        untried: fields.has("untried"),
        concurrency: at_once(fields),
        errors: fields.text("errors"),
        once: visit.app.trace_id(),
        problem: problem.to_owned(),
    };
    page_as(status, &page)
}

/// On which hosts, and whether it is only tried.
pub(in crate::console) async fn install_form(visit: Visit) -> Shown {
    install_page(&visit, StatusCode::OK, &visit.query, "").await
}

fn request(fields: &Fields) -> AppResult<InstallUpdates> {
    Ok(InstallUpdates {
        selector: Whom::selector(fields)?,
        packages: fields.text("packages").split_whitespace().map(str::to_owned).collect(),
        dry_run: fields.text("mode") != "install",
        without_dry_run: fields.has("untried"),
        expires_in: None,
        concurrency: whole(fields, "concurrency")?,
        max_errors: whole(fields, "errors")?,
        idempotency_key: fields.owned("once"),
    })
}

/// Starts it, and leads to its progress.
pub(in crate::console) async fn install(Sent { visit, form }: Sent) -> Shown {
    let begun = match request(&form) {
        Ok(request) => visit.app.install_updates(&visit.caller, &visit.origin, &request).await,
        Err(error) => Err(error),
    };
    match begun {
        Ok(progress) => go(&format!("/console/fan-outs/{}?done=started", progress.fan_out.id)),
        Err(error) => {
            let (status, problem) = mendable(error)?;
            install_page(&visit, status, &form, &problem).await
        }
    }
}

/// The address of the form for what a list shows.
pub(super) fn install_path(fields: &Fields) -> String {
    let pairs = [("agent", fields.given("agent")), ("packages", fields.given("package"))];
    link(&format!("{LIST}/install"), pairs)
}
