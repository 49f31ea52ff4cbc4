//! Prometheus metrics.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use argosy_domain::security::SecurityKind;
use axum::{extract::State, http::header, response::IntoResponse};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::app::{
    App,
    keyring::{KeyInfo, KeyStatus},
    status::GROUP_BOUNDS,
};

/// Upper bounds of every histogram, in seconds: from a call that is answered from memory to a command that
/// waited for its agent over night.
const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3_600.0,
    86_400.0,
];

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The recorder of this process; none when another library installed its own.
fn recorder() -> Option<&'static PrometheusHandle> {
    let install = || PrometheusBuilder::new().set_buckets(&SECONDS).ok()?.install_recorder().ok();
    RECORDER.get_or_init(install).as_ref()
}

/// From now on what is counted is kept.
pub(crate) fn record() {
    // Without a recorder of our own, whoever embeds this server has one.
    let _recorder = recorder();
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
    static PROCESS: LazyLock<Collector> = LazyLock::new(Collector::default);
    PROCESS.collect();
    let mut text = recorder().map(PrometheusHandle::render).unwrap_or_default();
    // Writing to a String does not fail.
    let _ = write_own(&mut text, &app);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// One metric: its kind, and a line for each of its values.
fn metric(
    text: &mut String,
    (name, kind): (&str, &str),
    values: impl IntoIterator<Item = (String, u64)>,
) -> std::fmt::Result {
    writeln!(text, "# TYPE {name} {kind}")?;
    values.into_iter().try_for_each(|(labels, value)| writeln!(text, "{name}{labels} {value}"))
}

/// A metric that has no labels.
fn plain(text: &mut String, name: (&str, &str), value: u64) -> std::fmt::Result {
    metric(text, name, [(String::new(), value)])
}

/// The values of one label.
fn by<'a>(
    label: &'a str,
    counts: impl IntoIterator<Item = (&'a str, u64)> + 'a,
) -> impl Iterator<Item = (String, u64)> + 'a {
    counts.into_iter().map(move |(value, count)| (format!("{{{label}=\"{value}\"}}"), count))
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn write_own(text: &mut String, app: &App) -> std::fmt::Result {
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    metric(text, ("argosy_build_info", "gauge"), [(version, 1)])?;
    plain(text, ("argosy_streams_open", "gauge"), number(app.hub().len()))?;
    plain(text, ("argosy_feed_watchers", "gauge"), number(app.feed().len()))?;
    plain(text, ("argosy_blind", "gauge"), u64::from(!app.sight().is_clear()))?;
    plain(text, ("argosy_leads", "gauge"), u64::from(app.leads()))?;
    plain(text, ("argosy_authorities_known", "gauge"), number(app.authorities().len()))?;
    plain(text, ("argosy_token_hashes_total", "counter"), app.hasher().count())?;
    write_fleet(text, app)?;
    write_store(text, app)?;
    // Anybody may read this: what would tell one tenant of another's agents is left out.
    let events = app.security().counts().filter(|(kind, _)| *kind != SecurityKind::CrossTenant);
    let events = by("kind", events.map(|(kind, count)| (kind.as_str(), count)));
    metric(text, ("argosy_security_events_total", "counter"), events)?;
    let keys = app.certified_keys().unwrap_or_default();
    let end = |key: &KeyInfo| match (key.status, key.not_after) {
        (KeyStatus::Active, Some(end)) => {
            Some((key.key_use.as_str(), u64::try_from(end.as_seconds()).unwrap_or(0)))
        }
        (_, _) => None,
    };
    let ends = keys.iter().filter_map(end);
    metric(text, ("argosy_server_key_ends_seconds", "gauge"), by("use", ends))?;
    let shown = app
        .certificate()
        .map(|shown| (shown.source, u64::try_from(shown.ends_at.as_seconds()).unwrap_or(0)));
    metric(text, ("argosy_tls_certificate_ends_seconds", "gauge"), by("source", shown))
}

fn write_fleet(text: &mut String, app: &App) -> std::fmt::Result {
    let totals = app.totals().last();
    let pairs = |counts: &BTreeMap<&'static str, u64>| {
        counts.iter().map(|(name, count)| (*name, *count)).collect::<Vec<_>>()
    };
    metric(text, ("argosy_agents", "gauge"), by("status", pairs(&totals.agents)))?;
    metric(text, ("argosy_agents_approved", "gauge"), by("health", pairs(&totals.health)))?;
    plain(text, ("argosy_commands_open", "gauge"), totals.commands_open)
}

fn write_store(text: &mut String, app: &App) -> std::fmt::Result {
    let (counters, load) = (app.store_counters(), app.store_load());
    plain(text, ("argosy_store_commits_total", "counter"), counters.commits)?;
    let ops = counters.ops.iter();
    let statements = by("op", ops.clone().map(|(op, count)| (*op, count.statements)));
    metric(text, ("argosy_store_statements_total", "counter"), statements)?;
    let transactions = by("op", ops.map(|(op, count)| (*op, count.transactions)));
    metric(text, ("argosy_store_transactions_total", "counter"), transactions)?;
    plain(text, ("argosy_store_waiting", "gauge"), load.waiting)?;
    let used = load.connections.saturating_sub(load.idle);
    let connections = by("state", [("used", used), ("idle", load.idle)]);
    metric(text, ("argosy_store_connections", "gauge"), connections)?;

    let name = "argosy_store_group_transactions";
    let mut so_far = 0;
    let below = GROUP_BOUNDS.iter().zip(counters.groups).map(|(bound, count)| {
        so_far += count;
        (format!("_bucket{{le=\"{bound}\"}}"), so_far)
    });
    metric(text, (name, "histogram"), below)?;
    writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {}", counters.commits)?;
    writeln!(text, "{name}_sum {}", counters.committed_transactions)?;
    writeln!(text, "{name}_count {}", counters.commits)
}
