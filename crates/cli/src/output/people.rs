//! Settings for people.

use argosy_wire::rest::settings::Settings;

use super::{
    View,
    table::{Sheet, plain},
};

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
    ] {
        sheet.row([plain(name), plain(value)]);
    }
    sheet.finish()
}
