//! Users of the organisation: the list, a new one, and what can change about one.

use argosy_domain::{
    access::{Caller, Permission, Role},
    id::UserId,
    user::User,
};
use argosy_wire::rest::users::{CreateUser, UpdateUser};
use askama::Template;
use axum::http::StatusCode;

use super::{
    answer::{Shown, go, mendable, page, page_as},
    confirm::{Confirm, confirm},
    fields::Fields,
    frame::Frame,
    keys::OncePage,
    show::{self, Badge, When, when},
    visit::{Id, Sent, Visit},
};
use crate::app::paging::cursor_text;

const LIST: &str = "/console/users";

/// A user in a list.
struct Row {
    id: String,
    name: String,
    role: &'static str,
    state: Badge,
    seen: When,
    by: String,
}

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage {
    frame: Frame,
    rows: Vec<Row>,
    may_create: bool,
    shown: String,
    next: String,
    first: String,
}

fn state(user: &User) -> Badge {
    match (user.disabled_at, user.must_change_password) {
        (Some(_), _) => Badge::new("bad", "disabled"),
        (None, true) => Badge::new("warn", "owes a password"),
        (None, false) => Badge::new("ok", "active"),
    }
}

/// The list.
pub(super) async fn list(visit: Visit) -> Shown {
    let listed = visit.app.list_users(&visit.caller, &visit.paging()).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let (next, first) = visit.turns(LIST, cursor.as_deref());
    let row = |user: &User| Row {
        id: user.id.to_string(),
        name: user.name.as_str().to_owned(),
        role: user.role.as_str(),
        state: state(user),
        seen: when(user.last_login_at, visit.app.now()),
        by: user.created_by.clone(),
    };
    let rows: Vec<Row> = listed.items.iter().map(row).collect();
    page(&UsersPage {
        frame: visit.frame("Users", "users").await,
        may_create: visit.may(Permission::UsersCreate),
        shown: show::several(rows.len() as u64, "user", "users"),
        next,
        first,
        rows,
    })
}

fn roles() -> Vec<(String, String)> {
    let words = |role: Role| match role {
        Role::Viewer => "viewer: looks at everything but tokens and keys",
        Role::Operator => "operator: also approves, quarantines, commands",
        Role::Admin => "admin: everything",
    };
    let all = [Role::Viewer, Role::Operator, Role::Admin];
    all.map(|role| (role.as_str().to_owned(), words(role).to_owned())).to_vec()
}

#[derive(Template)]
#[template(path = "user_new.html")]
struct NewUserPage<'a> {
    frame: Frame,
    roles: Vec<(String, String)>,
    name: &'a str,
    role: &'a str,
    problem: &'a str,
}

async fn form_page(visit: &Visit, status: StatusCode, typed: &Fields, problem: &str) -> Shown {
    visit.must(Permission::UsersCreate)?;
    let frame = visit.frame("New user", "users").await;
    let (name, role) = (typed.text("name"), typed.text("role"));
    page_as(status, &NewUserPage { frame, roles: roles(), name, role, problem })
}

/// Name and role.
pub(super) async fn form(visit: Visit) -> Shown {
    form_page(&visit, StatusCode::OK, &Fields::default(), "").await
}

async fn password_page(visit: &Visit, user: &User, password: String) -> Shown {
    page(&OncePage {
        frame: visit.frame("Password", "users").await,
        headline: format!("The password of {}", user.name),
        warning: "It is shown once, here, and nowhere again. Bring it to the user by a channel that \
                  you trust; the first sign-in replaces it.",
        secret: password,
        label: "Password",
        hint: format!("{} signs in with it and then chooses another.", user.name),
        back: ("I have it: to the users", LIST),
    })
}

/// Makes a user with a password that is shown once.
pub(super) async fn create(Sent { visit, form }: Sent) -> Shown {
    let request = CreateUser {
        name: form.text("name").trim().to_owned(),
        role: form.text("role").to_owned(),
    };
    match visit.app.create_user(&visit.caller, &visit.origin, &request).await {
        Ok(made) => password_page(&visit, &made.user, made.password.unwrap_or_default()).await,
        Err(error) => {
            let (status, problem) = mendable(error)?;
            form_page(&visit, status, &form, &problem).await
        }
    }
}

#[derive(Template)]
#[template(path = "user.html")]
struct UserPage<'a> {
    frame: Frame,
    id: String,
    name: String,
    role: &'static str,
    roles: Vec<(String, String)>,
    state: Badge,
    disabled: bool,
    created: String,
    seen: When,
    own: bool,
    may_update: bool,
    may_delete: bool,
    problem: &'a str,
}

async fn user_page(visit: &Visit, id: &UserId, status: StatusCode, problem: &str) -> Shown {
    let user = visit.app.show_user(&visit.caller, id).await?;
    page_as(
        status,
        &UserPage {
            frame: visit.frame(&format!("User {}", user.name), "users").await,
            id: id.to_string(),
            role: user.role.as_str(),
            roles: roles(),
            state: state(&user),
            disabled: user.disabled_at.is_some(),
            created: format!("{} by {}", show::exact(user.created_at), user.created_by),
            seen: when(user.last_login_at, visit.app.now()),
            own: matches!(&visit.caller, Caller::User { user, .. } if user == id),
            may_update: visit.may(Permission::UsersUpdate),
            may_delete: visit.may(Permission::UsersDelete),
            name: user.name.as_str().to_owned(),
            problem,
        },
    )
}

/// One user.
pub(super) async fn show(visit: Visit, Id(id): Id<UserId>) -> Shown {
    user_page(&visit, &id, StatusCode::OK, "").await
}

/// Changes one thing about a user: `role`, `disabled` or `reset_password`.
pub(super) async fn update(Id(id): Id<UserId>, Sent { visit, form }: Sent) -> Shown {
    let request = UpdateUser {
        name: form.owned("name"),
        role: form.owned("role"),
        disabled: form.given("disabled").map(|text| text == "yes"),
        reset_password: form.has("reset_password").then_some(true),
    };
    match visit.app.update_user(&visit.caller, &visit.origin, &id, &request).await {
        Ok(made) => match made.password {
            Some(password) => password_page(&visit, &made.user, password).await,
            None => go(&format!("{LIST}/{id}?done=saved")),
        },
        Err(error) => {
            let (status, problem) = mendable(error)?;
            user_page(&visit, &id, status, &problem).await
        }
    }
}

/// What follows from deleting a user.
pub(super) async fn delete_form(visit: Visit, Id(id): Id<UserId>) -> Shown {
    let user = visit.app.show_user(&visit.caller, &id).await?;
    visit.must(Permission::UsersDelete)?;
    let about = Confirm {
        here: "users",
        list: ("Users", LIST),
        verb: "Delete",
        name: user.name.as_str().to_owned(),
        consequences: &[
            "Every session of the user ends now.",
            "Every API key of the user dies, and every key that was made with one.",
            "The audit log stays, with the user's name in it.",
        ],
        action: format!("{LIST}/{id}/delete"),
    };
    confirm(&visit, about).await
}

/// Deletes a user.
pub(super) async fn delete(Id(id): Id<UserId>, Sent { visit, .. }: Sent) -> Shown {
    visit.app.delete_user(&visit.caller, &visit.origin, &id).await?;
    go(&format!("{LIST}?done=user-deleted"))
}
