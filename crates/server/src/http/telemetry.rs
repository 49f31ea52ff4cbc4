//! Telemetry and events of an agent.

use argosy_domain::id::AgentId;
use argosy_wire::rest::{
    Page,
    telemetry::{AgentEvent, Telemetry, TelemetryLatest, TelemetryPoint, TelemetrySeries},
};
use axum::{Json as Answered, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, Id, Paging, Params},
};
use crate::app::{
    App,
    records::{AgentEventRecord, BucketRecord, SeriesRecord},
    telemetry::{EventQuery, TelemetryQuery, TelemetryView},
};

/// What is asked about an agent's telemetry.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The history of this metric; without it the newest value of every series.
    metric: Option<String>,
    /// Where the history begins: a time, or a span before now such as `7d`. 24 hours ago unless
    /// said otherwise.
    since: Option<String>,
    /// `5m` (kept for two days), `1h` (sixty days) or `1d` (two years); without it the finest that
    /// reaches back to `since`.
    step: Option<String>,
}

/// What an agent measured: the history of a metric, or the newest value of every series.
#[utoipa::path(
    get, path = "/agents/{id}/telemetry", tag = "inventory",
    params(("id" = String, Path), Wanted),
    security(("api_key" = ["inventory:read"])),
    responses((status = 200, body = Telemetry), Problems)
)]
pub(super) async fn telemetry(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<AgentId>,
    Params(wanted): Params<Wanted>,
) -> Answer<Answered<Telemetry>> {
    let query = TelemetryQuery { metric: wanted.metric, since: wanted.since, step: wanted.step };
    let view = app.show_telemetry(&caller, &id, &query).await?;
    Ok(Answered(answer(&id, view)))
}

fn answer(agent: &AgentId, view: TelemetryView) -> Telemetry {
    let empty = Telemetry {
        agent_id: agent.to_string(),
        metric: None,
        step_s: None,
        truncated: false,
        series: Vec::new(),
        latest: Vec::new(),
    };
    match view {
        TelemetryView::Latest(series) => {
            Telemetry { latest: series.into_iter().map(latest).collect(), ..empty }
        }
        TelemetryView::History { metric, resolution, series, truncated } => {
            let history = |(label, buckets): (String, Vec<BucketRecord>)| TelemetrySeries {
                label,
                points: buckets.iter().map(point).collect(),
            };
            Telemetry {
                metric: Some(metric.to_string()),
                step_s: Some(resolution.seconds()),
                truncated,
                series: series.into_iter().map(history).collect(),
                ..empty
            }
        }
    }
}

fn latest(series: SeriesRecord) -> TelemetryLatest {
    let at = series.at.to_string();
    TelemetryLatest { metric: series.metric, label: series.label, value: series.value, at }
}

fn point(bucket: &BucketRecord) -> TelemetryPoint {
    let summary = bucket.summary;
    TelemetryPoint {
        at: bucket.at.to_string(),
        count: summary.count,
        min: summary.low,
        avg: summary.mean(),
        max: summary.high,
    }
}

/// Which events of an agent to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedEvents {
    /// Such as `breaker.opened`.
    kind: Option<String>,
    /// `info`, `warning` or `error`.
    severity: Option<String>,
    /// A time, or a span before now such as `7d`.
    since: Option<String>,
}

/// What an agent tells of, newest first.
#[utoipa::path(
    get, path = "/agents/{id}/events", tag = "inventory",
    params(("id" = String, Path), WantedEvents, Paging),
    security(("api_key" = ["inventory:read"])),
    responses((status = 200, body = Page<AgentEvent>), Problems)
)]
pub(super) async fn agent_events(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<AgentId>,
    Params(wanted): Params<WantedEvents>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<AgentEvent>>> {
    let query = EventQuery { kind: wanted.kind, severity: wanted.severity, since: wanted.since };
    let page = app.list_agent_events(&caller, &id, &query, &paging.into()).await?;
    Ok(Answered(convert::page(page, event)))
}

fn event(event: AgentEventRecord) -> AgentEvent {
    AgentEvent {
        id: event.id.to_string(),
        agent_id: event.agent.to_string(),
        kind: event.kind,
        severity: event.severity.as_str().to_owned(),
        message: event.message,
        at: event.at.to_string(),
        received_at: event.received_at.to_string(),
    }
}
