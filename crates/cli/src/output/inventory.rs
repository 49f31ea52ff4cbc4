//! What a machine reports, for people.

mod containers;

use std::time::Duration;

use argosy_domain::subsystem::Subsystem;
use argosy_wire::{
    report::{
        PackageManager, StorageLevel, StorageReport, SubsystemReport, SystemReport, UpdatesReport,
    },
    rest::{
        agents::Agent,
        inventory::{Inventory, InventoryReport},
    },
};
use serde_json::Value;

use super::{
    Tone, View, clean,
    table::{Facts, Sheet, Word, indent, plain},
    units::{age, age_of, bar, bytes, count, percent_of, span},
};

/// Packages shown where updates are one part of many.
const PACKAGES_SHOWN: usize = 15;
/// Processes shown where the system is one part of many.
const PROCESSES_SHOWN: usize = 5;

/// How much of a report to draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// As much as fits beside others.
    Part {
        /// The command that shows all.
        all: String,
    },
}

impl Extent {
    fn items(&self, in_part: usize) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Part { .. } => in_part,
        }
    }
}

/// `argosy inventory AGENT`
pub fn inventory(view: &View, agent: &Agent, inventory: &Inventory) -> String {
    let name = &agent.name;
    if inventory.items.is_empty() {
        let next = how_to_get(agent, Subsystem::System.as_str());
        return format!("{} has reported nothing yet: {next}", clean(name));
    }
    let place = |item: &InventoryReport| {
        Subsystem::ALL.iter().position(|s| s.as_str() == item.subsystem).unwrap_or(usize::MAX)
    };
    let mut items: Vec<&InventoryReport> = inventory.items.iter().collect();
    items.sort_by_key(|item| place(item));
    let part = |item: &&InventoryReport| {
        let all = format!("argosy inventory {} {}", clean(name), clean(&item.subsystem));
        section(view, name, item, &Extent::Part { all })
    };
    items.iter().map(part).collect::<Vec<_>>().join("\n\n")
}

/// How a report that is not there comes to be.
pub fn how_to_get(agent: &Agent, subsystem: &str) -> String {
    if agent.connected {
        let id = clean(&agent.agent_id);
        format!(
            "ask it with `argosy command send {id} subsystem.run --param subsystem={subsystem} --wait`"
        )
    } else {
        "it is not connected, and reports when it is".into()
    }
}

/// `argosy inventory AGENT SUBSYSTEM`: everything of one report.
pub fn report(view: &View, name: &str, item: &InventoryReport) -> String {
    section(view, name, item, &Extent::Whole)
}

fn section(view: &View, name: &str, item: &InventoryReport, extent: &Extent) -> String {
    let title = view.heading(&format!("{} of {}", clean(&item.subsystem), clean(name)));
    let when =
        format!("{}, took {} ms", age_of(Some(&item.captured_at), view.now), item.duration_ms);
    let body = match read(item) {
        Some(report) => draw(view, &report, extent),
        None => json(&item.report),
    };
    format!("{title}  {}\n\n{body}", view.paint(&when, Tone::Dim))
}

/// One report.
pub fn draw(view: &View, report: &SubsystemReport, extent: &Extent) -> String {
    match report {
        SubsystemReport::System(report) => system(view, report, extent),
        SubsystemReport::Storage(report) => storage(view, report),
        SubsystemReport::Updates(report) => updates(view, report, extent),
        SubsystemReport::Containers(report) => containers::draw(view, report, extent),
    }
}

/// A report of a shape that this version knows.
fn read(item: &InventoryReport) -> Option<SubsystemReport> {
    let mut report = item.report.clone();
    let fields = report.as_object_mut()?;
    fields.insert("subsystem".into(), Value::String(item.subsystem.clone()));
    serde_json::from_value(report).ok()
}

/// A document of a shape that this version does not know.
pub fn json(document: &Value) -> String {
    let json = serde_json::to_string_pretty(document).unwrap_or_default();
    indent(&json.lines().map(clean).collect::<Vec<_>>().join("\n"))
}

fn system(view: &View, report: &SystemReport, extent: &Extent) -> String {
    let memory = &report.memory;
    let used = percent_of(memory.used_bytes, memory.total_bytes);
    let memory_text = format!(
        "{} {} of {} used ({used:.0} %), {} available",
        bar(used),
        bytes(memory.used_bytes),
        bytes(memory.total_bytes),
        bytes(memory.available_bytes)
    );
    let swap = match memory.swap_total_bytes {
        0 => "none".to_owned(),
        total => format!("{} of {} used", bytes(memory.swap_used_bytes), bytes(total)),
    };
    let cpu = &report.cpu;
    let model = if cpu.model.is_empty() { String::new() } else { format!(", {}", cpu.model) };
    let cpu_text = format!(
        "{} {:.0} % busy of {}{model}",
        bar(cpu.usage_percent),
        cpu.usage_percent,
        count(cpu.cores.into(), "core", "cores")
    );
    let load = &report.load;
    let os = &report.os;
    let facts = Facts::new(view)
        .fact("host name", plain(&report.hostname))
        .fact("system", plain(format!("{} {} ({})", os.name, os.version, os.arch)))
        .fact("kernel", plain(&report.kernel))
        .fact("uptime", plain(span(Duration::from_secs(report.uptime_s))))
        .fact("reboot", reboot(report))
        .fact("cpu", plain(cpu_text))
        .fact(
            "load",
            plain(format!(
                "{:.2} {:.2} {:.2} (1, 5, 15 min)",
                load.load_1m, load.load_5m, load.load_15m
            )),
        )
        .fact("memory", (memory_text, if used >= 95.0 { Tone::Warn } else { Tone::Plain }))
        .fact("swap", plain(swap))
        .fact("processes", plain(report.processes.count.to_string()))
        .finish();
    let shown = extent.items(PROCESSES_SHOWN);
    let mut sheet =
        Sheet::new(view, &["LARGEST PROCESSES", "MEMORY", "CPU", "PID"]).right(&[1, 2, 3]);
    for process in report.processes.top_by_memory.iter().take(shown) {
        sheet.row([
            plain(&process.name),
            plain(bytes(process.memory_bytes)),
            plain(format!("{:.0} %", process.cpu_usage_percent)),
            plain(process.pid.to_string()),
        ]);
    }
    if report.processes.top_by_memory.is_empty() {
        return facts;
    }
    format!("{facts}\n\n{}", indent(&sheet.finish()))
}

fn reboot(report: &SystemReport) -> Word {
    match report.reboot_required {
        None => plain("unknown: this host has no way to tell"),
        Some(false) => plain("not required"),
        Some(true) if report.reboot_packages.is_empty() => ("required".into(), Tone::Warn),
        Some(true) => (format!("required by {}", report.reboot_packages.join(", ")), Tone::Warn),
    }
}

fn storage(view: &View, report: &StorageReport) -> String {
    if report.mounts.is_empty() && report.unreadable.is_empty() {
        return "  No file systems that keep data.".into();
    }
    let headings = ["MOUNT", "USED", "", "SIZE", "FREE", "LEVEL", "FS", "DEVICE"];
    let mut sheet = Sheet::new(view, &headings).right(&[1, 3, 4]);
    for mount in &report.mounts {
        let (word, tone) = level(mount.level);
        let fs = if mount.read_only { format!("{}, ro", mount.fs) } else { mount.fs.clone() };
        sheet.row([
            plain(&mount.mount_point),
            (format!("{:.0} %", mount.used_percent), tone),
            plain(bar(mount.used_percent)),
            plain(bytes(mount.total_bytes)),
            plain(bytes(mount.free_bytes)),
            (word.to_owned(), tone),
            plain(fs),
            plain(&mount.device),
        ]);
    }
    let mut text = indent(&sheet.finish());
    for mount in &report.unreadable {
        let line = format!("{} could not be asked: {}", mount.mount_point, mount.reason);
        text.push_str(&format!("\n  {}", view.paint(&clean(&line), Tone::Warn)));
    }
    if report.truncated {
        text.push_str("\n  More are mounted; the fullest are shown.");
    }
    text
}

fn level(level: StorageLevel) -> (&'static str, Tone) {
    match level {
        StorageLevel::Ok => ("ok", Tone::Plain),
        StorageLevel::Warning => ("warning", Tone::Warn),
        StorageLevel::High => ("high", Tone::Bad),
        StorageLevel::Critical => ("critical", Tone::Bad),
    }
}

fn updates(view: &View, report: &UpdatesReport, extent: &Extent) -> String {
    let manager = match report.manager {
        PackageManager::Apt => "apt",
        PackageManager::Dnf => "dnf",
        PackageManager::None => return "  No package manager that this agent knows.".into(),
    };
    let Some(refreshed) = report.refreshed_at else {
        return format!("  Unknown: {manager} has never fetched its package lists on this host.");
    };
    let lists = format!("{manager}, lists of {}", age(refreshed, view.now));
    if report.pending == 0 {
        return format!("  Everything is up to date ({lists}).");
    }
    let security = match report.security_pending {
        0 => "none of them for security".to_owned(),
        n => view.paint(&format!("{n} for security"), Tone::Bad),
    };
    let pending = count(report.pending.into(), "package", "packages");
    let mut packages: Vec<_> = report.packages.iter().collect();
    packages.sort_by(|a, b| b.security.cmp(&a.security).then_with(|| a.name.cmp(&b.name)));
    let shown = packages.len().min(extent.items(PACKAGES_SHOWN));
    let mut sheet = Sheet::new(view, &["PACKAGE", "SECURITY", "INSTALLED", "AVAILABLE", "FROM"]);
    for package in packages.iter().take(shown) {
        let security = if package.security { ("yes".to_owned(), Tone::Bad) } else { plain("-") };
        sheet.row([
            plain(&package.name),
            security,
            plain(&package.current),
            plain(&package.available),
            plain(without_scheme(&package.repository)),
        ]);
    }
    let mut text = format!("  {pending} pending, {security} ({lists})");
    if shown > 0 {
        text.push_str(&format!("\n\n{}", indent(&sheet.finish())));
    }
    let left = (report.pending as usize).saturating_sub(shown);
    if left > 0 {
        let where_to = match extent {
            Extent::Whole => " beyond the report's limit".to_owned(),
            Extent::Part { all } => format!(": `{all}`"),
        };
        text.push_str(&format!("\n  … and {left} more{where_to}"));
    }
    text
}

fn without_scheme(repository: &str) -> &str {
    let rest = repository.strip_prefix("https://").or(repository.strip_prefix("http://"));
    rest.unwrap_or(repository)
}

#[cfg(test)]
mod tests;
