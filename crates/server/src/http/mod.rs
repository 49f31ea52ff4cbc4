//! The REST interface: handlers that extract, call a use case, and answer in wire shapes.
//!
//! *Invariant:* nothing is decided here and the store is not named here. Every route is in the
//! OpenAPI document, because the document and the routes are made by the same call.

mod accounts;
mod agents;
mod answer;
mod audit;
mod auth;
mod check_in;
mod commands;
mod convert;
mod discovery;
mod enrolment;
mod events;
mod extract;
mod fan_outs;
mod framing;
mod idempotency;
mod ingest;
mod inventory;
mod metrics;
mod organisations;
mod proxy;
mod security;
mod server_keys;
mod settings;
mod subsystems;
mod syncs;
mod system;
mod telemetry;
#[cfg(test)]
mod tests;
mod tokens;
mod trace;
mod updates;
mod user_sessions;
mod users;

use argosy_domain::limits::{BODY_BYTES_MAX, CHECK_IN_BODY_BYTES_MAX, INGEST_BODY_BYTES_MAX};
use argosy_wire::problem::{Code, Problem};
use axum::{Router, extract::DefaultBodyLimit, middleware, response::IntoResponse as _};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::{App, error::AppError};

use self::answer::Refusal;
pub(crate) use self::metrics::record as record_metrics;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Argosy",
        description = "Control plane for fleets of remote agents. Everything below \
            `/api/v1/agents` and `/api/v1/bootstrap-tokens` is also reachable below \
            `/api/v1/discovery/`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem)),
    modifiers(&Schemes)
)]
struct Description;

/// How callers authenticate, as the document names it.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_with(Default::default);
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("API key of a user, a service, or an agent without keys"));
        components.add_security_scheme("api_key", SecurityScheme::Http(bearer.build()));
        let proof = ApiKeyValue::with_description(
            "DPoP",
            "Proof (RFC 9449) that goes with `Authorization: DPoP <session token>` of an agent",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Header(proof)));
        let cookie = ApiKeyValue::with_description(
            "argosy_session",
            "Session of a user, from `POST /api/v1/auth/login`; `__Host-argosy_session` where the \
             public URL is https. Calls that change something also carry `X-CSRF-Token`, JSON with \
             its content type, and `Origin` or `Sec-Fetch-Site` as browsers set them. Wherever \
             `api_key` is accepted, the session of a user whose role has the scope is accepted too.",
        );
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// What is reachable below `/api/v1` and, the same, below `/api/v1/discovery`.
fn shared() -> OpenApiRouter<App> {
    let check_in = OpenApiRouter::new()
        .routes(routes!(check_in::check_in))
        .layer(DefaultBodyLimit::max(CHECK_IN_BODY_BYTES_MAX));
    OpenApiRouter::new()
        .merge(check_in)
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(enrolment::register))
        .routes(routes!(enrolment::begin))
        .routes(routes!(enrolment::complete))
        .routes(routes!(agents::heartbeat))
        .routes(routes!(agents::rotate_key))
        .routes(routes!(agents::list))
        .routes(routes!(agents::config_template))
        .routes(routes!(agents::show, agents::update, agents::delete))
        .routes(routes!(agents::approve))
        .routes(routes!(agents::reject))
        .routes(routes!(agents::revoke))
        .routes(routes!(agents::quarantine))
        .routes(routes!(agents::restore))
        .routes(routes!(agents::rebind))
        .routes(routes!(agents::replace))
        .routes(routes!(commands::create))
        .routes(routes!(subsystems::show))
        .routes(routes!(subsystems::update))
        .routes(routes!(subsystems::run))
        .routes(routes!(inventory::show_all))
        .routes(routes!(inventory::show))
        .routes(routes!(telemetry::telemetry))
        .routes(routes!(telemetry::agent_events))
}

fn api() -> OpenApiRouter<App> {
    let ingest = OpenApiRouter::new()
        .routes(routes!(ingest::ingest))
        .routes(routes!(ingest::ingest_org))
        .layer(DefaultBodyLimit::max(INGEST_BODY_BYTES_MAX));
    OpenApiRouter::new()
        .merge(shared())
        .routes(routes!(auth::me))
        .routes(routes!(user_sessions::login))
        .routes(routes!(user_sessions::logout))
        .routes(routes!(user_sessions::setup))
        .routes(routes!(user_sessions::change_password))
        .routes(routes!(user_sessions::list))
        .routes(routes!(user_sessions::end))
        .routes(routes!(fan_outs::list))
        .routes(routes!(fan_outs::show))
        .routes(routes!(fan_outs::cancel))
        .routes(routes!(fan_outs::commands))
        .routes(routes!(users::create, users::list))
        .routes(routes!(organisations::create, organisations::list))
        .routes(routes!(organisations::update))
        .routes(routes!(users::update, users::delete))
        .routes(routes!(auth::create_key, auth::list_keys))
        .routes(routes!(auth::revoke_key))
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::show, accounts::update, accounts::delete))
        .routes(routes!(system::audit))
        .routes(routes!(audit::export))
        .routes(routes!(events::stream))
        .routes(routes!(security::events))
        .routes(routes!(system::status))
        .routes(routes!(server_keys::signing))
        .routes(routes!(server_keys::rotate))
        .routes(routes!(settings::show, settings::update))
        .routes(routes!(system::api_health))
        .routes(routes!(commands::list, fan_outs::create))
        .routes(routes!(commands::show))
        .routes(routes!(commands::cancel))
        .routes(routes!(commands::receipt))
        .routes(routes!(updates::list))
        .routes(routes!(updates::pending))
        .routes(routes!(updates::approve))
        .routes(routes!(updates::approvals))
        .routes(routes!(updates::revoke))
        .routes(routes!(updates::install))
        .routes(routes!(discovery::resources))
        .routes(routes!(discovery::resource))
        .routes(routes!(discovery::tree))
        .routes(routes!(discovery::export))
        .routes(routes!(discovery::insight))
        .routes(routes!(syncs::start, syncs::list))
        .routes(routes!(syncs::show))
        .merge(ingest)
}

/// Every route with its description, and those that take an idempotency key.
fn described() -> (Router<App>, Document, idempotency::Routes) {
    let (router, mut document) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(system::health))
        .routes(routes!(system::ready))
        .routes(routes!(server_keys::well_known))
        .routes(routes!(metrics::show))
        .nest("/api/v1", api())
        .split_for_parts();
    let routes = idempotency::describe(&mut document);
    (router, document, routes)
}

/// The OpenAPI document.
pub fn document() -> Document {
    described().1
}

/// The REST interface. `merged` is served beside it, under the same fallbacks and tracing.
pub fn router(app: &App, merged: Router) -> Router {
    let (routes, document, keyed) = described();
    let (mirror, _) = shared().split_for_parts();
    let json = serde_json::to_string(&document).unwrap_or_default();
    let page = utoipa_swagger_ui::SwaggerUi::new("/api/docs")
        .config(utoipa_swagger_ui::Config::new(["/api/v1/openapi.json"]).use_base_layout());
    routes
        .nest("/api/v1/discovery", mirror)
        .route_layer(middleware::from_fn_with_state((app.clone(), keyed), idempotency::once))
        .route(
            "/api/v1/openapi.json",
            axum::routing::get(move || async move {
                ([(axum::http::header::CONTENT_TYPE, "application/json")], json)
            }),
        )
        .merge(Router::from(page))
        .merge(merged.with_state(()))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(framing::plain))
        .layer(middleware::from_fn_with_state(app.clone(), trace::around))
        .with_state(app.clone())
}

async fn no_such_route() -> axum::response::Response {
    Refusal(AppError::because(Code::NotFound, "no such route")).into_response()
}

async fn no_such_method() -> axum::response::Response {
    Refusal(AppError::new(Code::MethodNotAllowed)).into_response()
}
