//! Measured values and events for people.

use argosy_wire::rest::telemetry::{AgentEvent, Telemetry, TelemetrySeries};

use super::{
    Tone, View, clean,
    table::{Sheet, plain},
    units::{age_of, bytes, moment},
};

/// `argosy telemetry`
pub fn telemetry(view: &View, agent: &str, told: &Telemetry) -> String {
    match &told.metric {
        None => latest(view, agent, told),
        Some(metric) => history(view, agent, metric, told),
    }
}

fn latest(view: &View, agent: &str, told: &Telemetry) -> String {
    if told.latest.is_empty() {
        return format!("{} has measured nothing yet.", clean(agent));
    }
    let mut sheet = Sheet::new(view, &["METRIC", "OF", "VALUE", "MEASURED"]).right(&[2]);
    for series in &told.latest {
        sheet.row([
            plain(&series.metric),
            plain(&series.label),
            plain(number(&series.metric, series.value)),
            plain(age_of(Some(&series.at), view.now)),
        ]);
    }
    sheet.finish()
}

fn history(view: &View, agent: &str, metric: &str, told: &Telemetry) -> String {
    if told.series.is_empty() {
        let (agent, metric) = (clean(agent), clean(metric));
        return format!(
            "{agent} has no {metric} in this time. `argosy telemetry {agent}` names what it measures."
        );
    }
    let mut text = String::new();
    for series in &told.series {
        let of =
            if series.label.is_empty() { String::new() } else { format!(" of {}", series.label) };
        text.push_str(&view.heading(&clean(&format!("{metric}{of}"))));
        text.push_str("\n\n");
        text.push_str(&points(view, metric, series));
        text.push_str("\n\n");
    }
    if told.truncated {
        text.push_str("There is more: ask for a later --since or a longer --step.");
    }
    text.trim_end().to_owned()
}

fn points(view: &View, metric: &str, series: &TelemetrySeries) -> String {
    let mut sheet =
        Sheet::new(view, &["FROM", "LOW", "MEAN", "HIGH", "VALUES"]).right(&[1, 2, 3, 4]);
    for point in &series.points {
        sheet.row([
            plain(moment(&point.at, view.now)),
            plain(number(metric, point.min)),
            plain(number(metric, point.avg)),
            plain(number(metric, point.max)),
            plain(point.count.to_string()),
        ]);
    }
    sheet.finish()
}

/// A value in the unit that its metric's name ends in.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "negative and huge values are no bytes and are printed as they are"
)]
fn number(metric: &str, value: f64) -> String {
    if metric.ends_with("_bytes") && (0.0..9e15).contains(&value) {
        return bytes(value as u64);
    }
    let short = format!("{value:.2}");
    let short = short.trim_end_matches('0').trim_end_matches('.').to_owned();
    if metric.ends_with("_percent") { format!("{short} %") } else { short }
}

/// `argosy agent events`
pub fn events(view: &View, events: &[AgentEvent]) -> String {
    if events.is_empty() {
        return "No events.".into();
    }
    let mut sheet = Sheet::new(view, &["WHEN", "SEVERITY", "KIND", "WHAT HAPPENED"]);
    for event in events {
        sheet.row([
            plain(age_of(Some(&event.at), view.now)),
            (event.severity.clone(), severity(&event.severity)),
            plain(&event.kind),
            plain(&event.message),
        ]);
    }
    sheet.finish()
}

fn severity(name: &str) -> Tone {
    match name {
        "error" => Tone::Bad,
        "warning" => Tone::Warn,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_the_unit_of_their_metric() {
        for (metric, value, shown) in [
            ("load_1m", 0.5, "0.5"),
            ("load_1m", 12.0, "12"),
            ("cpu_used_percent", 7.25, "7.25 %"),
            ("memory_used_bytes", 1_073_741_824.0, "1.0 GiB"),
            ("memory_used_bytes", -1.0, "-1"),
            ("processes", 100.0, "100"),
        ] {
            assert_eq!(number(metric, value), shown, "{metric}");
        }
    }
}
