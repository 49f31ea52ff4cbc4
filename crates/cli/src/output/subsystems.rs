//! Subsystems of an agent for people.

use std::time::Duration;

use argosy_domain::time::format_span;
use argosy_wire::rest::subsystems::{Subsystem, Subsystems};

use super::{
    View, clean,
    table::{Sheet, maybe, plain, state},
    units::{age_of, moment},
};

fn runs(subsystem: &Subsystem) -> String {
    if !subsystem.enabled {
        return "off".to_owned();
    }
    let every = format_span(Duration::from_secs(subsystem.interval_s));
    if subsystem.auto_run { format!("every {every}") } else { "on command".to_owned() }
}

/// `argosy agent subsystems`
pub fn subsystems(view: &View, shown: &Subsystems) -> String {
    let headings = ["SUBSYSTEM", "RUNS", "TIMEOUT", "BREAKER", "LAST RUN", "LAST ERROR"];
    let mut sheet = Sheet::new(view, &headings);
    for subsystem in &shown.items {
        sheet.row([
            plain(&subsystem.name),
            plain(runs(subsystem)),
            plain(format_span(Duration::from_secs(subsystem.timeout_s))),
            state(&subsystem.breaker),
            plain(age_of(subsystem.last_run_at.as_deref(), view.now)),
            maybe(subsystem.last_error.as_deref()),
        ]);
    }
    let mut text = sheet.finish();
    if let Some(why) = &shown.refused {
        let why = clean(why);
        text.push_str(&format!("\n\nThe agent does not take this configuration: {why}"));
    } else if shown.applied_generation < shown.generation {
        text.push_str("\n\nThe agent has not said yet that it has these schedules.");
    }
    let history = shown.items.iter().flat_map(|subsystem| &subsystem.history);
    let lines: Vec<String> = history
        .map(|change| format!("{}  {}", moment(&change.at, view.now), clean(&change.message)))
        .collect();
    if !lines.is_empty() {
        text.push_str(&format!("\n\n{}\n{}", view.heading("Breakers"), lines.join("\n")));
    }
    text
}
