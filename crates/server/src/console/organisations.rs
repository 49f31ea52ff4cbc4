//! Organisations, for administrators of the installation: the list, a new one, and what can change
//! about one.

use argosy_domain::{access::Permission, id::OrgId};
use argosy_wire::rest::organisations::{CreateOrganisation, UpdateOrganisation};
use askama::Template;
use axum::http::StatusCode;

use super::{
    answer::{Shown, go, mendable, page, page_as},
    fields::Fields,
    frame::Frame,
    keys::OncePage,
    show::{self, Badge, When, when},
    visit::{Id, Sent, Visit},
};
use crate::app::{
    organisations::MadeOrganisation,
    paging::{PageQuery, cursor_text},
    records::OrganisationRecord,
};

const LIST: &str = "/console/organisations";

/// An organisation in a list.
struct Row {
    id: String,
    name: String,
    state: Badge,
    made: When,
}

#[derive(Template)]
#[template(path = "organisations.html")]
struct OrganisationsPage {
    frame: Frame,
    rows: Vec<Row>,
    may_create: bool,
    shown: String,
    next: String,
    first: String,
}

fn state(organisation: &OrganisationRecord) -> Badge {
    match organisation.disabled_at {
        Some(_) => Badge::new("bad", "disabled"),
        None => Badge::new("ok", "active"),
    }
}

/// The list.
pub(super) async fn list(visit: Visit) -> Shown {
    let listed = visit.app.list_organisations(&visit.caller, &visit.paging()).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let (next, first) = visit.turns(LIST, cursor.as_deref());
    let row = |organisation: &OrganisationRecord| Row {
        id: organisation.id.to_string(),
        name: organisation.name.clone(),
        state: state(organisation),
        made: when(organisation.created_at, visit.app.now()),
    };
    let rows: Vec<Row> = listed.items.iter().map(row).collect();
    page(&OrganisationsPage {
        frame: visit.frame("Organisations", "organisations").await,
        may_create: visit.may(Permission::OrganisationsCreate),
        shown: show::several(rows.len() as u64, "organisation", "organisations"),
        next,
        first,
        rows,
    })
}

#[derive(Template)]
#[template(path = "organisation_new.html")]
struct NewPage<'a> {
    frame: Frame,
    id: &'a str,
    name: &'a str,
    admin: &'a str,
    problem: &'a str,
}

async fn new_page(visit: &Visit, status: StatusCode, typed: &Fields, problem: &str) -> Shown {
    visit.must(Permission::OrganisationsCreate)?;
    let frame = visit.frame("New organisation", "organisations").await;
    let (id, name, admin) = (typed.text("id"), typed.text("name"), typed.text("admin"));
    page_as(status, &NewPage { frame, id, name, admin, problem })
}

/// Id, name and first administrator.
pub(super) async fn form(visit: Visit) -> Shown {
    let first = PageQuery { limit: Some(1), cursor: None };
    visit.app.list_organisations(&visit.caller, &first).await?;
    new_page(&visit, StatusCode::OK, &Fields::default(), "").await
}

async fn password_page(visit: &Visit, made: MadeOrganisation) -> Shown {
    let (id, admin) = (&made.organisation.id, &made.admin.user.name);
    page(&OncePage {
        frame: visit.frame("Password", "organisations").await,
        headline: format!("The password of {admin}, administrator of {id}"),
        warning: "It is shown once, here, and nowhere again. Bring it to the administrator by a \
                  channel that you trust; the first sign-in replaces it.",
        secret: made.admin.password.unwrap_or_default(),
        label: "Password",
        hint: format!(
            "{admin} signs in with it, names the organisation {id}, and then chooses another. You \
             have no other way into it."
        ),
        back: ("I have it: to the organisations", LIST),
    })
}

/// Makes an organisation, and shows the password of its first administrator once.
pub(super) async fn create(Sent { visit, form }: Sent) -> Shown {
    let text = |name: &str| form.text(name).trim().to_owned();
    let request = CreateOrganisation { id: text("id"), name: text("name"), admin: text("admin") };
    match visit.app.create_organisation(&visit.caller, &visit.origin, &request).await {
        Ok(made) => password_page(&visit, made).await,
        Err(error) => {
            let (status, problem) = mendable(error)?;
            new_page(&visit, status, &form, &problem).await
        }
    }
}

#[derive(Template)]
#[template(path = "organisation.html")]
struct OrganisationPage<'a> {
    frame: Frame,
    id: OrgId,
    name: String,
    state: Badge,
    made: String,
    disabled: bool,
    /// It administers the installation.
    first: bool,
    may_update: bool,
    problem: &'a str,
}

async fn organisation_page(visit: &Visit, id: &OrgId, status: StatusCode, problem: &str) -> Shown {
    let organisation = visit.app.show_organisation(&visit.caller, id).await?;
    let title = format!("Organisation {}", organisation.name);
    let page = OrganisationPage {
        frame: visit.frame(&title, "organisations").await,
        id: id.clone(),
        state: state(&organisation),
        made: show::exact(organisation.created_at),
        disabled: organisation.disabled_at.is_some(),
        first: *id == OrgId::default_org(),
        may_update: visit.may(Permission::OrganisationsUpdate),
        name: organisation.name,
        problem,
    };
    page_as(status, &page)
}

/// One organisation.
pub(super) async fn show(visit: Visit, Id(id): Id<OrgId>) -> Shown {
    organisation_page(&visit, &id, StatusCode::OK, "").await
}

/// Changes one thing about an organisation: `name`, or `disabled`.
pub(super) async fn update(Id(id): Id<OrgId>, Sent { visit, form }: Sent) -> Shown {
    let request = UpdateOrganisation {
        name: form.owned("name"),
        disabled: form.given("disabled").map(|text| text == "yes"),
    };
    match visit.app.update_organisation(&visit.caller, &visit.origin, &id, &request).await {
        Ok(_) => go(&format!("{LIST}/{id}?done=saved")),
        Err(error) => {
            let (status, problem) = mendable(error)?;
            organisation_page(&visit, &id, status, &problem).await
        }
    }
}
