//! What the subsystems of an agent reported last, as pages show it.
//!
//! *Invariant:* a report is what a machine says of itself: it is shown as text, and what this
//! version cannot read is shown as it is.

use argosy_domain::time::Timestamp;
use argosy_wire::report::{
    ContainerHealth, ContainerReport, ContainersReport, PackageManager, StorageLevel,
    StorageReport, SubsystemReport, SystemReport, UpdatesReport,
};

use crate::{
    app::records::ReportRecord,
    console::{
        chart::level,
        show::{self, Badge, Fact, When, when},
    },
};

/// Pending packages that a page names.
const PACKAGES_MAX: usize = 50;
/// Containers that a page names.
const CONTAINERS_SHOWN: usize = 50;

/// A mounted file system.
pub(super) struct Mount {
    pub(super) point: String,
    pub(super) device: String,
    pub(super) sizes: String,
    pub(super) percent: String,
    pub(super) level: String,
    pub(super) badge: Badge,
}

/// A pending package.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) current: String,
    pub(super) available: String,
    pub(super) security: bool,
}

/// A container.
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) ports: String,
    pub(super) project: String,
    pub(super) status: String,
    pub(super) badge: Badge,
}

/// A process.
pub(super) struct Process {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) memory: String,
    pub(super) cpu: String,
}

/// The last report of one subsystem.
pub(super) struct Report {
    pub(super) subsystem: String,
    pub(super) captured: When,
    pub(super) took_ms: i64,
    pub(super) facts: Vec<Fact>,
    pub(super) notes: Vec<Badge>,
    pub(super) processes: Vec<Process>,
    pub(super) mounts: Vec<Mount>,
    pub(super) packages: Vec<Package>,
    pub(super) containers: Vec<Container>,
    pub(super) more: usize,
    /// As it came, where this version cannot read it.
    pub(super) raw: String,
}

fn system(shown: &mut Report, system: SystemReport) {
    let (memory, load) = (&system.memory, &system.load);
    let used = format!("{} of {}", show::bytes(memory.used_bytes), show::bytes(memory.total_bytes));
    shown.facts = vec![
        Fact::text("Operating system", format!("{} {}", system.os.name, system.os.version)),
        Fact::code("Kernel", system.kernel),
        Fact::text("Processors", format!("{} × {}", system.cpu.cores, system.cpu.model)),
        Fact::text("Busy", format!("{:.0} %", system.cpu.usage_percent)),
        Fact::text("Memory", used),
        Fact::text("Load", format!("{} {} {}", load.load_1m, load.load_5m, load.load_15m)),
        Fact::text("Processes", system.processes.count.to_string()),
        Fact::text("Up for", show::span(system.uptime_s)),
    ];
    if system.reboot_required == Some(true) {
        shown.notes.push(Badge::new("warn", "reboot required"));
    }
    let process = |process: argosy_wire::report::ProcessReport| Process {
        name: process.name,
        pid: process.pid,
        memory: show::bytes(process.memory_bytes),
        cpu: format!("{:.0} %", process.cpu_usage_percent),
    };
    shown.processes = system.processes.top_by_memory.into_iter().map(process).collect();
}

fn tone(level: StorageLevel) -> &'static str {
    match level {
        StorageLevel::Ok => "ok",
        StorageLevel::Warning => "warn",
        StorageLevel::High | StorageLevel::Critical => "bad",
    }
}

fn storage(shown: &mut Report, storage: StorageReport) {
    let mount = |mount: argosy_wire::report::MountReport| {
        let sizes =
            format!("{} of {}", show::bytes(mount.used_bytes), show::bytes(mount.total_bytes));
        let percent = format!("{:.0} %", mount.used_percent);
        let word = format!("{:?}", mount.level).to_lowercase();
        let summary = format!("{} is {percent} full", mount.mount_point);
        Mount {
            level: level(&summary, mount.used_percent, tone(mount.level)),
            badge: Badge::new(tone(mount.level), word),
            device: format!("{} {}", mount.device, mount.fs),
            point: mount.mount_point,
            sizes,
            percent,
        }
    };
    shown.mounts = storage.mounts.into_iter().map(mount).collect();
    let unreadable = storage.unreadable.into_iter();
    shown
        .notes
        .extend(unreadable.map(|m| Badge::new("warn", format!("{}: {}", m.mount_point, m.reason))));
}

fn updates(shown: &mut Report, updates: UpdatesReport) {
    let manager = match updates.manager {
        PackageManager::Apt => "apt",
        PackageManager::Dnf => "dnf",
        PackageManager::None => "none was found",
    };
    shown.facts = vec![
        Fact::text("Package manager", manager),
        Fact::text("Pending", updates.pending.to_string()),
        Fact::text("Of these for security", updates.security_pending.to_string()),
    ];
    if updates.security_pending > 0 {
        shown.notes.push(Badge::new("warn", "security updates pending"));
    }
    let mut packages = updates.packages;
    packages.sort_by(|a, b| (!a.security, &a.name).cmp(&(!b.security, &b.name)));
    let listed = packages.len().max(usize::try_from(updates.pending).unwrap_or(usize::MAX));
    shown.more = listed.saturating_sub(packages.len().min(PACKAGES_MAX));
    let package = |package: argosy_wire::report::PendingPackage| Package {
        name: package.name,
        current: package.current,
        available: package.available,
        security: package.security,
    };
    shown.packages = packages.into_iter().take(PACKAGES_MAX).map(package).collect();
}

fn containers(shown: &mut Report, report: ContainersReport) {
    let Some(engine) = report.engine else {
        shown.facts = vec![Fact::text("Container engine", "none was found")];
        return;
    };
    shown.facts = vec![
        Fact::text("Container engine", format!("{} {}", engine.name, engine.version)),
        Fact::text("Running", format!("{} of {}", report.running, report.total)),
        Fact::text("Images", report.images_total.to_string()),
        Fact::code("Socket", engine.socket),
    ];
    if report.unhealthy > 0 {
        shown.notes.push(Badge::new("bad", format!("{} unhealthy", report.unhealthy)));
    }
    let total = usize::try_from(report.total).unwrap_or(usize::MAX);
    shown.more = total.saturating_sub(report.containers.len().min(CONTAINERS_SHOWN));
    let listed = report.containers.into_iter().take(CONTAINERS_SHOWN);
    shown.containers = listed.map(container).collect();
}

fn container(one: ContainerReport) -> Container {
    let published = one
        .ports
        .iter()
        .filter_map(|port| Some(format!("{} → {}/{}", port.public?, port.private, port.protocol)));
    let (tone, word) = match one.health {
        Some(ContainerHealth::Unhealthy) => ("bad", "unhealthy"),
        Some(ContainerHealth::Starting) => ("warn", "starting"),
        Some(ContainerHealth::Healthy) => ("ok", "healthy"),
        None if one.state == "running" => ("ok", "running"),
        None => ("off", one.state.as_str()),
    };
    Container {
        badge: Badge::new(tone, word),
        ports: published.collect::<Vec<_>>().join(", "),
        project: one.compose_project.unwrap_or_default(),
        name: one.name,
        image: one.image,
        status: one.status,
    }
}

/// A report as a page shows it.
pub(super) fn report(row: &ReportRecord, now: Timestamp) -> Report {
    let mut shown = Report {
        subsystem: row.subsystem.as_str().to_owned(),
        captured: when(row.captured_at, now),
        took_ms: row.duration_ms,
        facts: Vec::new(),
        notes: Vec::new(),
        processes: Vec::new(),
        mounts: Vec::new(),
        packages: Vec::new(),
        containers: Vec::new(),
        more: 0,
        raw: String::new(),
    };
    match serde_json::from_slice(&row.report) {
        Ok(SubsystemReport::System(report)) => system(&mut shown, report),
        Ok(SubsystemReport::Storage(report)) => storage(&mut shown, report),
        Ok(SubsystemReport::Updates(report)) => updates(&mut shown, report),
        Ok(SubsystemReport::Containers(report)) => containers(&mut shown, report),
        Err(_) => shown.raw = String::from_utf8_lossy(&row.report).into_owned(),
    }
    shown
}
