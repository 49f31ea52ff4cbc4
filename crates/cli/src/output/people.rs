//! Users, organisations and settings for people.

use argosy_wire::rest::{
    organisations::{CreatedOrganisation, Organisation},
    settings::Settings,
    users::{User, UserWithPassword},
};

use super::{
    View, clean,
    table::{Facts, Sheet, plain},
    units::age_of,
};

fn standing(user: &User) -> &'static str {
    match (user.disabled, user.must_change_password) {
        (true, _) => "disabled",
        (false, true) => "owes a password",
        (false, false) => "active",
    }
}

/// `argosy user list`
pub fn users(view: &View, users: &[User]) -> String {
    if users.is_empty() {
        return "No users. Make one with `argosy user create NAME --role admin`.".into();
    }
    let mut sheet = Sheet::new(view, &["NAME", "ROLE", "STATE", "LAST LOGIN", "BY", "ID"]);
    for user in users {
        let login = user.last_login_at.as_ref();
        sheet.row([
            plain(&user.name),
            plain(&user.role),
            plain(standing(user)),
            plain(login.map_or("never".into(), |at| age_of(Some(at), view.now))),
            plain(&user.created_by),
            plain(&user.id),
        ]);
    }
    sheet.finish()
}

/// `argosy user show`
pub fn about(view: &View, user: &User) -> String {
    let heading = view.heading(&format!("User {}", clean(&user.name)));
    let login = user.last_login_at.as_ref();
    let facts = Facts::new(view)
        .fact("role", plain(&user.role))
        .fact("state", plain(standing(user)))
        .fact("last login", plain(login.map_or("never".into(), |at| age_of(Some(at), view.now))))
        .fact("made", plain(age_of(Some(&user.created_at), view.now)))
        .fact("by", plain(&user.created_by))
        .fact("id", plain(&user.id));
    format!("{heading}\n\n{}", facts.finish())
}

/// A user who was made or changed, and the password, the only time that it is shown.
pub fn user(view: &View, changed: &UserWithPassword) -> String {
    let user = &changed.about;
    let heading = view.heading(&format!("User {}", clean(&user.name)));
    let about = format!("{heading}: {}, {}.", clean(&user.role), standing(user));
    match &changed.password {
        None => about,
        Some(password) => format!(
            "{about} The password is shown only now, and must be replaced at the first \
             login:\n\n  {}",
            clean(password)
        ),
    }
}

fn state_of(organisation: &Organisation) -> &'static str {
    if organisation.disabled { "disabled" } else { "active" }
}

/// An organisation that was changed.
pub fn organisation(view: &View, changed: &Organisation) -> String {
    let heading = view.heading(&format!("Organisation {}", clean(&changed.id)));
    format!("{heading}, {}: {}.", clean(&changed.name), state_of(changed))
}

/// `argosy organisation list`
pub fn organisations(view: &View, organisations: &[Organisation]) -> String {
    let mut sheet = Sheet::new(view, &["ID", "NAME", "STATE", "CREATED"]);
    for organisation in organisations {
        sheet.row([
            plain(&organisation.id),
            plain(&organisation.name),
            plain(state_of(organisation)),
            plain(age_of(Some(&organisation.created_at), view.now)),
        ]);
    }
    sheet.finish()
}

/// `argosy organisation create`
pub fn created_organisation(view: &View, made: &CreatedOrganisation) -> String {
    let heading = view.heading(&format!("Organisation {}", clean(&made.about.id)));
    let account = made.account_id;
    format!("{heading}, with account {account}.\n\n{}", user(view, &made.admin))
}

/// `argosy settings show|set`
pub fn settings(view: &View, settings: &Settings) -> String {
    let mut sheet = Sheet::new(view, &["SETTING", "VALUE"]);
    let version = settings.minimum_agent_version.as_deref().unwrap_or("none");
    for (name, value) in [
        ("minimum_agent_version", version.to_owned()),
        ("allow_api_key_agents", settings.allow_api_key_agents.to_string()),
        ("user_session_idle_s", settings.user_session_idle_s.to_string()),
        ("user_session_max_s", settings.user_session_max_s.to_string()),
        ("login_failures_per_minute", settings.login_failures_per_minute.to_string()),
        ("requests_per_minute", settings.requests_per_minute.to_string()),
    ] {
        sheet.row([plain(name), plain(value)]);
    }
    sheet.finish()
}
