//! Prometheus metrics.

use std::{fmt::Write as _, sync::OnceLock, time::Duration};

use argosy_domain::security::SecurityKind;
use axum::{extract::State, http::header, response::IntoResponse};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::app::{App, keyring::KeyStatus};

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The recorder of this process; none when another library installed its own.
fn recorder() -> Option<&'static PrometheusHandle> {
    let install = || PrometheusBuilder::new().install_recorder().ok();
    RECORDER.get_or_init(install).as_ref()
}

/// Counts a request.
pub(super) fn count(route: &str, method: &str, status: u16, elapsed: Duration) {
    if recorder().is_none() {
        return;
    }
    let labels = [
        ("route", route.to_owned()),
        ("method", method.to_owned()),
        ("status", status.to_string()),
    ];
    metrics::counter!("argosy_http_requests_total", &labels).increment(1);
    metrics::histogram!("argosy_http_request_seconds", "route" => route.to_owned())
        .record(elapsed.as_secs_f64());
}

/// Metrics in Prometheus text format.
#[utoipa::path(
    get, path = "/metrics", tag = "system",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub(super) async fn show(State(app): State<App>) -> impl IntoResponse {
    let mut text = recorder().map(PrometheusHandle::render).unwrap_or_default();
    // Writing to a String does not fail.
    let _ = write_own(&mut text, &app);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn write_own(text: &mut String, app: &App) -> std::fmt::Result {
    let counters = app.store_counters();
    writeln!(text, "# TYPE argosy_streams_open gauge")?;
    writeln!(text, "argosy_streams_open {}", app.hub().len())?;
    writeln!(text, "# TYPE argosy_feed_watchers gauge")?;
    writeln!(text, "argosy_feed_watchers {}", app.feed().len())?;
    writeln!(text, "# TYPE argosy_blind gauge")?;
    writeln!(text, "argosy_blind {}", u8::from(!app.sight().is_clear()))?;
    writeln!(text, "# TYPE argosy_authorities_known gauge")?;
    writeln!(text, "argosy_authorities_known {}", app.authorities().len())?;
    writeln!(text, "# TYPE argosy_token_hashes_total counter")?;
    writeln!(text, "argosy_token_hashes_total {}", app.hasher().count())?;
    writeln!(text, "# TYPE argosy_store_commits_total counter")?;
    writeln!(text, "argosy_store_commits_total {}", counters.commits)?;
    writeln!(text, "# TYPE argosy_store_statements_total counter")?;
    for (op, count) in &counters.ops {
        writeln!(text, "argosy_store_statements_total{{op=\"{op}\"}} {}", count.statements)?;
    }
    writeln!(text, "# TYPE argosy_store_transactions_total counter")?;
    for (op, count) in &counters.ops {
        writeln!(text, "argosy_store_transactions_total{{op=\"{op}\"}} {}", count.transactions)?;
    }
    writeln!(text, "# TYPE argosy_security_events_total counter")?;
    // Anybody may read this: what would tell one tenant of another's agents is left out.
    let counts = app.security().counts();
    for (kind, count) in counts.filter(|(kind, _)| *kind != SecurityKind::CrossTenant) {
        writeln!(text, "argosy_security_events_total{{kind=\"{}\"}} {count}", kind.as_str())?;
    }
    writeln!(text, "# TYPE argosy_server_key_ends_seconds gauge")?;
    for key in app.certified_keys().unwrap_or_default() {
        if let (KeyStatus::Active, Some(end)) = (key.status, key.not_after) {
            let (key_use, end) = (key.key_use.as_str(), end.as_seconds());
            writeln!(text, "argosy_server_key_ends_seconds{{use=\"{key_use}\"}} {end}")?;
        }
    }
    Ok(())
}
