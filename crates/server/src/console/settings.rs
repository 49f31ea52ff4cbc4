//! The settings of the installation, and the server's own keys.

use argosy_domain::{
    access::Permission,
    settings::{Setting, Settings},
};
use argosy_wire::rest::settings::UpdateSettings;
use askama::Template;
use axum::http::StatusCode;

use super::{
    answer::{Shown, go, page_as, status_of},
    fields::Fields,
    frame::Frame,
    show::{self, Badge},
    visit::{Sent, Visit},
};
use crate::app::{
    error::{AppError, AppResult},
    keyring::{KeyInfo, KeyStatus},
};

/// A setting in the form.
struct Row {
    key: &'static str,
    label: &'static str,
    hint: &'static str,
    value: String,
    /// Yes or no.
    switch: bool,
}

/// A key of the server.
struct KeyRow {
    usage: String,
    id: String,
    state: Badge,
    from: String,
    until: String,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage<'a> {
    frame: Frame,
    rows: Vec<Row>,
    keys: Vec<KeyRow>,
    pin: String,
    urls: Vec<String>,
    database: &'static str,
    may_update: bool,
    problem: &'a str,
}

fn words(setting: Setting) -> (&'static str, &'static str) {
    match setting {
        Setting::MinimumAgentVersion => (
            "Oldest version of agents",
            "Older agents may heartbeat and get nothing else until they are newer. Empty admits every version.",
        ),
        Setting::AllowApiKeyAgents => {
            ("Admit agents without keys", "They prove nothing but that they know a secret.")
        }
        Setting::UserSessionIdleS => {
            ("A session ends after this long without a call", "In seconds: 60 to 604800.")
        }
        Setting::UserSessionMaxS => {
            ("A session ends this long after signing in", "In seconds: 60 to 2592000.")
        }
        Setting::LoginFailuresPerMinute => (
            "Failed sign-ins of one name in a minute",
            "Further ones are refused before any password is looked at: 1 to 100000.",
        ),
        Setting::RequestsPerMinute => (
            "Calls of one user, key or agent in a minute",
            "Further ones are answered with 429: 60 to 10000000.",
        ),
    }
}

fn rows(settings: &Settings, typed: Option<&Fields>) -> Vec<Row> {
    let row = |setting: Setting| {
        let (label, hint) = words(setting);
        let key = setting.as_str();
        let value = typed.map_or_else(|| settings.text(setting), |form| form.text(key).to_owned());
        Row { key, label, hint, value, switch: setting == Setting::AllowApiKeyAgents }
    };
    Setting::ALL.into_iter().map(row).collect()
}

fn key_row(key: &KeyInfo) -> KeyRow {
    let tone = match key.status {
        KeyStatus::Active => "ok",
        KeyStatus::Next => "info",
        KeyStatus::Retiring | KeyStatus::Expired => "off",
    };
    KeyRow {
        usage: key.key_use.as_str().to_owned(),
        id: key.id.clone(),
        state: Badge::new(tone, key.status.as_str()),
        from: show::exact(key.not_before),
        until: key.not_after.map_or_else(|| "without end".to_owned(), show::exact),
    }
}

async fn settings_page(
    visit: &Visit,
    status: StatusCode,
    (typed, problem): (Option<&Fields>, &str),
) -> Shown {
    let settings = visit.app.show_settings(&visit.caller).await?;
    let keys = match visit.may(Permission::ServerRead) {
        true => visit.app.list_server_keys(&visit.caller)?,
        false => Vec::new(),
    };
    page_as(
        status,
        &SettingsPage {
            frame: visit.frame("Settings", "settings").await,
            rows: rows(&settings, typed),
            keys: keys.iter().map(key_row).collect(),
            pin: visit.app.keyring().thumbprint().to_string(),
            urls: visit.app.rules().public_urls.clone(),
            database: visit.app.database(),
            may_update: visit.may(Permission::SettingsUpdate),
            problem,
        },
    )
}

/// The settings in force.
pub(super) async fn show(visit: Visit) -> Shown {
    settings_page(&visit, StatusCode::OK, (None, "")).await
}

fn number(form: &Fields, setting: Setting) -> AppResult<Option<u32>> {
    let text = form.given(setting.as_str());
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|_| AppError::field(setting.as_str(), "must be a whole number"))
}

fn wanted(form: &Fields) -> AppResult<UpdateSettings> {
    let switch = Setting::AllowApiKeyAgents.as_str();
    let version = Setting::MinimumAgentVersion.as_str();
    Ok(UpdateSettings {
        minimum_agent_version: form.has(version).then(|| form.text(version).trim().to_owned()),
        allow_api_key_agents: form.given(switch).map(|text| text == "true"),
        user_session_idle_s: number(form, Setting::UserSessionIdleS)?,
        user_session_max_s: number(form, Setting::UserSessionMaxS)?,
        login_failures_per_minute: number(form, Setting::LoginFailuresPerMinute)?,
        requests_per_minute: number(form, Setting::RequestsPerMinute)?,
    })
}

/// Changes settings: all that are named, or none.
pub(super) async fn update(Sent { visit, form }: Sent) -> Shown {
    let saved = match wanted(&form) {
        Ok(request) => visit.app.update_settings(&visit.caller, &visit.origin, request).await,
        Err(error) => Err(error),
    };
    match saved {
        Ok(_) => go("/console/settings?done=saved"),
        Err(error) if error.code.http() == 422 => {
            settings_page(&visit, status_of(&error), (Some(&form), &error.detail)).await
        }
        Err(error) => Err(error.into()),
    }
}
