//! A trace id for each request: in the log, in the answer, in problems and audit entries.

use std::{net::SocketAddr, panic::AssertUnwindSafe, time::Instant};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures::FutureExt as _;
use opentelemetry::trace::{Status, TraceContextExt as _};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::answer::Refusal;
use crate::app::{App, TraceId, error::AppError};

tokio::task_local! {
    static CURRENT: String;
}

const HEADER: HeaderName = HeaderName::from_static("x-trace-id");

/// The trace id of the request that is being served; empty outside of one.
pub(super) fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Carries the trace id of the request along into a task of its own.
pub(super) fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(current(), work)
}

/// The method as log and metrics name it: whatever a client makes up is one name.
fn known_method(method: &Method) -> &'static str {
    [
        (Method::GET, "GET"),
        (Method::HEAD, "HEAD"),
        (Method::POST, "POST"),
        (Method::PUT, "PUT"),
        (Method::PATCH, "PATCH"),
        (Method::DELETE, "DELETE"),
        (Method::OPTIONS, "OPTIONS"),
    ]
    .into_iter()
    .find(|(known, _)| known == method)
    .map_or("other", |(_, name)| name)
}

/// Gives each request its trace id, logs its outcome, counts it, and turns a panic into a problem.
/// Neither bodies nor header values are ever logged.
pub(super) async fn around(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = app.trace_id();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = known_method(request.method());
    request.extensions_mut().insert(TraceId(id.clone()));
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied()
    {
        let proxies = &app.rules().trusted_proxies;
        let client = super::proxy::client(peer.ip(), request.headers(), proxies);
        let client = SocketAddr::new(client, peer.port());
        request.extensions_mut().insert(ConnectInfo(client));
    }
    let span = tracing::info_span!("request", trace_id = %id, %method, %route);
    // For a collector, in its words; where there is none these do nothing.
    span.context().span().update_name(format!("{method} {route}"));
    span.set_attribute("http.request.method", method);
    span.set_attribute("http.route", route.clone());
    let started = Instant::now();
    let served = AssertUnwindSafe(CURRENT.scope(id.clone(), next.run(request)));
    let outcome = served.catch_unwind().instrument(span.clone()).await;
    let mut response = outcome.unwrap_or_else(|_| {
        let failed = || Refusal(AppError::internal("a handler panicked")).into_response();
        CURRENT.sync_scope(id.clone(), failed)
    });
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    span.set_attribute("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.set_status(Status::error(""));
    }
    span.in_scope(|| {
        tracing::debug!(status, elapsed_ms = elapsed.as_millis(), "served");
    });
    super::metrics::count(&route, method, status, elapsed);
    response
}
