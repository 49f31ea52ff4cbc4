//! The installation's settings.

use argosy_domain::settings::Settings as InForce;
use argosy_wire::rest::settings::{Settings, UpdateSettings};
use axum::{Json as Answered, extract::State};

use super::{
    answer::{Answer, Problems},
    extract::{By, From, Json},
};
use crate::app::App;

fn shown(settings: &InForce) -> Settings {
    Settings {
        minimum_agent_version: settings.minimum_agent_version.as_ref().map(ToString::to_string),
        allow_api_key_agents: settings.allow_api_key_agents,
        user_session_idle_s: settings.user_session_idle_s.get(),
        user_session_max_s: settings.user_session_max_s.get(),
        login_failures_per_minute: settings.login_failures_per_minute.get(),
        requests_per_minute: settings.requests_per_minute.get(),
    }
}

/// The settings of the installation.
#[utoipa::path(
    get, path = "/settings", tag = "system", security(("api_key" = ["settings:read"])),
    operation_id = "show_settings",
    responses((status = 200, body = Settings), Problems)
)]
pub(super) async fn show(State(app): State<App>, By(caller): By) -> Answer<Answered<Settings>> {
    Ok(Answered(shown(&*app.show_settings(&caller).await?)))
}

/// Changes settings of the installation. They are in force when it is answered.
#[utoipa::path(
    patch, path = "/settings", tag = "system", request_body = UpdateSettings,
    operation_id = "update_settings", security(("api_key" = ["settings:update"])),
    responses((status = 200, body = Settings), Problems)
)]
pub(super) async fn update(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Json(request): Json<UpdateSettings>,
) -> Answer<Answered<Settings>> {
    Ok(Answered(shown(&*app.update_settings(&caller, &origin, request).await?)))
}
