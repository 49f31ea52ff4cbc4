//! What an agent measured over the last day, as charts.

use argosy_domain::id::AgentId;

use crate::{
    app::{
        error::AppResult,
        records::BucketRecord,
        telemetry::{TelemetryQuery, TelemetryView},
    },
    console::{
        chart::{Point, line},
        show,
        visit::Visit,
    },
};

/// A chart with its heading and the newest value.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) now: String,
    pub(super) svg: String,
}

/// How a metric is drawn.
struct Drawn {
    metric: &'static str,
    title: &'static str,
    /// What the upper edge stands for; the highest value where there is none.
    top: Option<f64>,
    unit: fn(f64) -> String,
}

fn percent(value: f64) -> String {
    format!("{value:.0} %")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, not below 0")]
fn size(value: f64) -> String {
    show::bytes(value.max(0.0) as u64)
}

fn plain(value: f64) -> String {
    format!("{value:.2}")
}

const DRAWN: [Drawn; 4] = [
    Drawn { metric: "cpu_used_percent", title: "Processor", top: Some(100.0), unit: percent },
    Drawn { metric: "memory_used_bytes", title: "Memory in use", top: None, unit: size },
    Drawn { metric: "load_1m", title: "Load, one minute", top: None, unit: plain },
    Drawn { metric: "disk_used_percent", title: "Disk", top: Some(100.0), unit: percent },
];
/// Disks that are drawn; the inventory lists all.
const DISKS_MAX: usize = 4;

fn chart(
    drawn: &Drawn,
    label: &str,
    buckets: &[BucketRecord],
    total: Option<f64>,
) -> Option<Chart> {
    let point = |bucket: &BucketRecord| Point {
        at: bucket.at,
        low: bucket.summary.low,
        mean: bucket.summary.mean(),
        high: bucket.summary.high,
    };
    let points: Vec<Point> = buckets.iter().map(point).collect();
    let newest = points.last()?;
    let highest = points.iter().map(|point| point.high).fold(0.0, f64::max);
    let lowest = points.iter().map(|point| point.low).fold(f64::INFINITY, f64::min);
    let title = match label {
        "" => drawn.title.to_owned(),
        label => format!("{} {label}", drawn.title),
    };
    let unit = drawn.unit;
    let summary = format!(
        "{title} over the last day: now {}, lowest {}, highest {}",
        unit(newest.mean),
        unit(lowest),
        unit(highest)
    );
    let top = drawn.top.or(total).unwrap_or(highest * 1.1);
    let svg = line(&summary, &points, top, unit);
    let now = match total {
        Some(total) => format!("{} of {}", unit(newest.mean), unit(total)),
        None => unit(newest.mean),
    };
    Some(Chart { title, now, svg })
}

/// The charts for which there is something to draw.
pub(super) async fn all(visit: &Visit, id: &AgentId) -> AppResult<Vec<Chart>> {
    if !visit.may(argosy_domain::access::Permission::InventoryRead) {
        return Ok(Vec::new());
    }
    let newest = visit.app.show_telemetry(&visit.caller, id, &TelemetryQuery::default()).await?;
    let memory = match &newest {
        TelemetryView::Latest(series) => {
            series.iter().find(|series| series.metric == "memory_total_bytes").map(|s| s.value)
        }
        TelemetryView::History { .. } => None,
    };
    let mut charts = Vec::new();
    for drawn in &DRAWN {
        let metric = Some(drawn.metric.to_owned());
        let query = TelemetryQuery { metric, ..TelemetryQuery::default() };
        let history = visit.app.show_telemetry(&visit.caller, id, &query).await?;
        let TelemetryView::History { series, .. } = history else { continue };
        let total = memory.filter(|_| drawn.metric == "memory_used_bytes");
        let drawn_series = series.iter().take(DISKS_MAX);
        charts.extend(drawn_series.filter_map(|(label, b)| chart(drawn, label, b, total)));
    }
    Ok(charts)
}
