//! What a container engine runs, for people.

use argosy_wire::report::{ContainerHealth, ContainerReport, ContainersReport, PortReport};

use super::Extent;
use crate::output::{
    Tone, View,
    table::{Sheet, Word, indent, plain},
    units::{bytes, count},
};

/// Containers shown where they are one part of many.
const CONTAINERS_SHOWN: usize = 15;
/// Images shown there.
const IMAGES_SHOWN: usize = 5;

/// The report of `containers`.
pub(super) fn draw(view: &View, report: &ContainersReport, extent: &Extent) -> String {
    let Some(engine) = &report.engine else {
        return "  No container engine was found on this host.".into();
    };
    let unhealthy = match report.unhealthy {
        0 => String::new(),
        n => format!(", {}", view.paint(&format!("{n} unhealthy"), Tone::Bad)),
    };
    let images = count(report.images_total.into(), "image", "images");
    let (name, version) = (super::clean(&engine.name), super::clean(&engine.version));
    let mut text = format!(
        "  {} of {} running{unhealthy}, {images} ({name} {version})",
        report.running,
        count(report.total.into(), "container", "containers"),
    );
    let shown = report.containers.len().min(extent.items(CONTAINERS_SHOWN));
    let mut sheet =
        Sheet::new(view, &["CONTAINER", "STATE", "STATUS", "IMAGE", "PORTS", "PROJECT"]);
    for one in &report.containers[..shown] {
        sheet.row([
            plain(&one.name),
            state(one),
            plain(&one.status),
            plain(&one.image),
            plain(one.ports.iter().filter_map(port).collect::<Vec<_>>().join(" ")),
            plain(one.compose_project.as_deref().unwrap_or("-")),
        ]);
    }
    if shown > 0 {
        text.push_str(&format!("\n\n{}", indent(&sheet.finish())));
    }
    left(&mut text, report.total as usize, shown, "containers", extent);
    let shown = report.images.len().min(extent.items(IMAGES_SHOWN));
    let mut sheet = Sheet::new(view, &["LARGEST IMAGES", "SIZE", "ID"]).right(&[1]);
    for image in &report.images[..shown] {
        let named = image.tags.first().map_or("no name", String::as_str);
        sheet.row([plain(named), plain(bytes(image.size_bytes)), plain(&image.id)]);
    }
    if shown > 0 {
        text.push_str(&format!("\n\n{}", indent(&sheet.finish())));
    }
    left(&mut text, report.images_total as usize, shown, "images", extent);
    text
}

fn state(one: &ContainerReport) -> Word {
    match one.health {
        Some(ContainerHealth::Unhealthy) => ("unhealthy".into(), Tone::Bad),
        Some(ContainerHealth::Starting) => ("starting".into(), Tone::Warn),
        Some(ContainerHealth::Healthy) | None => plain(&one.state),
    }
}

/// A port that is published.
fn port(port: &PortReport) -> Option<String> {
    Some(format!("{}:{}/{}", port.public?, port.private, port.protocol))
}

fn left(text: &mut String, total: usize, shown: usize, what: &str, extent: &Extent) {
    let left = total.saturating_sub(shown);
    if left > 0 {
        let where_to = match extent {
            Extent::Whole => " beyond the report's limit".to_owned(),
            Extent::Part { all } => format!(": `{all}`"),
        };
        text.push_str(&format!("\n  … and {left} more {what}{where_to}"));
    }
}
