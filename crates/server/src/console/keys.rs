//! API keys: the list, a new one that is shown once, and their end.

use argosy_domain::{
    access::{Permission, Role},
    id::ApiKeyId,
};
use argosy_wire::rest::keys::CreateKey;
use askama::Template;
use axum::http::StatusCode;

use super::{
    answer::{Shown, go, page, page_as, status_of},
    confirm::{Confirm, confirm},
    fields::Fields,
    frame::Frame,
    show::{self, Badge, When, when},
    visit::{Id, Sent, Visit},
};
use crate::app::{
    error::{AppError, AppResult},
    paging::cursor_text,
    records::KeyRecord,
};

const LIST: &str = "/console/keys";
/// The choice that is no role.
const TICKED: &str = "ticked";

/// A key in a list.
struct Row {
    id: String,
    name: String,
    owner: String,
    scopes: String,
    state: Badge,
    standing: bool,
    used: When,
    ends: When,
    endless: bool,
    by: String,
}

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    rows: Vec<Row>,
    may_create: bool,
    may_revoke: bool,
    shown: String,
    next: String,
    first: String,
}

fn state(visit: &Visit, key: &KeyRecord) -> Badge {
    let over = key.expires_at.is_some_and(|end| end <= visit.app.now());
    match (key.revoked_at, over) {
        (Some(_), _) => Badge::new("bad", "revoked"),
        (None, true) => Badge::new("off", "expired"),
        (None, false) => Badge::new("ok", "active"),
    }
}

/// What a key may do, in short.
fn scopes(key: &KeyRecord) -> String {
    let role = Role::ALL.into_iter().find(|role| role.scopes() == key.scopes);
    role.map_or_else(
        || key.scopes.iter().collect::<Vec<_>>().join(" "),
        |role| format!("as {}", role.as_str()),
    )
}

fn row(visit: &Visit, key: &KeyRecord) -> Row {
    let (now, state) = (visit.app.now(), state(visit, key));
    Row {
        id: key.id.to_string(),
        name: key.name.clone(),
        owner: key.owner.clone(),
        scopes: scopes(key),
        standing: state.word == "active",
        state,
        used: when(key.last_used_at, now),
        ends: when(key.expires_at, now),
        endless: key.expires_at.is_none(),
        by: key.minted.as_ref().map(|minted| minted.created_by.clone()).unwrap_or_default(),
    }
}

/// The list.
pub(super) async fn list(visit: Visit) -> Shown {
    let listed = visit.app.list_keys(&visit.caller, &visit.paging()).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let (next, first) = visit.turns(LIST, cursor.as_deref());
    let rows: Vec<Row> = listed.items.iter().map(|key| row(&visit, key)).collect();
    page(&KeysPage {
        frame: visit.frame("API keys", "keys").await,
        may_create: visit.may(Permission::KeysCreate),
        may_revoke: visit.may(Permission::KeysRevoke),
        shown: show::several(rows.len() as u64, "key", "keys"),
        next,
        first,
        rows,
    })
}

/// A scope to tick.
struct Tick {
    scope: &'static str,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "key_new.html")]
struct NewKeyPage<'a> {
    frame: Frame,
    roles: Vec<(String, String)>,
    role: &'a str,
    ticks: Vec<Tick>,
    name: &'a str,
    service: &'a str,
    days: &'a str,
    problem: &'a str,
}

async fn form_page(visit: &Visit, status: StatusCode, typed: &Fields, problem: &str) -> Shown {
    visit.must(Permission::KeysCreate)?;
    let own = visit.caller.scopes();
    let offered = Permission::ALL.into_iter().filter(|permission| own.grant(*permission));
    let chosen = |scope| typed.all("scope").any(|ticked| ticked == scope);
    let ticks = offered.map(Permission::scope).map(|scope| Tick { scope, chosen: chosen(scope) });
    let roles = Role::ALL.into_iter().rev().filter(|role| own.cover(&role.scopes()));
    let roles =
        roles.map(|role| (role.as_str().to_owned(), format!("everything of {}", role.as_str())));
    let only = (TICKED.to_owned(), "only what is ticked below".to_owned());
    page_as(
        status,
        &NewKeyPage {
            frame: visit.frame("New API key", "keys").await,
            roles: roles.chain([only]).collect(),
            role: typed.given("role").unwrap_or(Role::Viewer.as_str()),
            ticks: ticks.collect(),
            name: typed.text("name"),
            service: typed.text("service"),
            days: typed.given("days").unwrap_or("90"),
            problem,
        },
    )
}

/// What the key shall be good for.
pub(super) async fn form(visit: Visit) -> Shown {
    form_page(&visit, StatusCode::OK, &Fields::default(), "").await
}

fn wanted(form: &Fields) -> AppResult<CreateKey> {
    let role = form.given("role").and_then(Role::parse);
    let scopes = match role {
        Some(role) => role.scopes().iter().map(str::to_owned).collect(),
        None => form.all("scope").map(str::to_owned).collect(),
    };
    let days = form.given("days").map(str::parse).transpose();
    Ok(CreateKey {
        name: form.text("name").trim().to_owned(),
        scopes,
        service: form.owned("service"),
        expires_in_days: days.map_err(|_| AppError::field("days", "must be a whole number"))?,
    })
}

#[derive(Template)]
#[template(path = "once.html")]
pub(super) struct OncePage {
    pub(super) frame: Frame,
    pub(super) headline: String,
    pub(super) warning: &'static str,
    pub(super) secret: String,
    pub(super) label: &'static str,
    pub(super) hint: String,
    pub(super) back: (&'static str, &'static str),
}

/// Makes a key. Its answer is the only one that ever shows it.
pub(super) async fn create(Sent { visit, form }: Sent) -> Shown {
    let minted = match wanted(&form) {
        Ok(request) => visit.app.create_key(&visit.caller, &visit.origin, request).await,
        Err(error) => Err(error),
    };
    match minted {
        Ok(minted) => page(&OncePage {
            frame: visit.frame("New API key", "keys").await,
            headline: format!("The key {}", minted.key.name),
            warning: "It is shown once, here, and nowhere again. Copy it to where it is used.",
            secret: minted.secret.reveal(),
            label: "API key",
            hint: "Programs show it as: Authorization: Bearer …".to_owned(),
            back: ("I have it: to the keys", LIST),
        }),
        Err(error)
            if [403, 422].contains(&error.code.http()) && visit.may(Permission::KeysCreate) =>
        {
            form_page(&visit, status_of(&error), &form, &error.detail).await
        }
        Err(error) => Err(error.into()),
    }
}

/// What follows from revoking a key.
pub(super) async fn revoke_form(visit: Visit, Id(id): Id<ApiKeyId>) -> Shown {
    let key = visit.app.show_key(&visit.caller, &id).await?;
    visit.must(Permission::KeysRevoke)?;
    let about = Confirm {
        here: "keys",
        list: ("API keys", LIST),
        verb: "Revoke",
        name: key.name,
        consequences: &[
            "Whatever shows it is refused from the next call on, on every server.",
            "Every key that was made with it dies too, and those made with these, whosever they are.",
        ],
        action: format!("{LIST}/{id}/revoke"),
    };
    confirm(&visit, about).await
}

/// Revokes a key.
pub(super) async fn revoke(Id(id): Id<ApiKeyId>, Sent { visit, .. }: Sent) -> Shown {
    visit.app.revoke_key(&visit.caller, &visit.origin, &id).await?;
    go(&format!("{LIST}?done=key-revoked"))
}
