//! What the outcome of a subsystem's run measures, and what about it is worth telling.
//!
//! *Invariant:* a state is told when it begins and when it ends, never each time it is seen; what
//! is true when the agent starts begins then.

use std::collections::{BTreeMap, BTreeSet};

use argosy_domain::{
    limits::EVENT_MESSAGE_CHARS_MAX,
    subsystem::Subsystem,
    telemetry::Severity::{self, Error, Info, Warning},
    text::clip,
};
use argosy_wire::report::{
    ContainersReport, StorageLevel, StorageReport, SubsystemReport, SystemReport, UpdatesReport,
};

use crate::{scheduler::InventoryOutcome, spool::Measured};

/// An event before it has a time and an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    pub(super) kind: &'static str,
    pub(super) severity: Severity,
    pub(super) message: String,
}

impl News {
    pub(super) fn new(kind: &'static str, severity: Severity, message: &str) -> Self {
        Self { kind, severity, message: clip(message, EVENT_MESSAGE_CHARS_MAX) }
    }
}

/// What was seen last time.
#[derive(Debug, Default)]
pub(super) struct Seen {
    failing: BTreeSet<Subsystem>,
    resting: BTreeSet<Subsystem>,
    levels: BTreeMap<String, StorageLevel>,
    reboot: bool,
}

impl Seen {
    /// Values and news of a run.
    pub(super) fn look(&mut self, outcome: &InventoryOutcome) -> (Vec<Measured>, Vec<News>) {
        let mut news = Vec::new();
        self.breaker(outcome, &mut news);
        let report = match &outcome.report {
            Ok(report) => serde_json::from_slice::<SubsystemReport>(report).ok(),
            Err(_) => None,
        };
        let values = match report {
            None => Vec::new(),
            Some(SubsystemReport::System(report)) => {
                self.reboot(&report, &mut news);
                of_system(&report)
            }
            Some(SubsystemReport::Storage(report)) => {
                self.storage(&report, &mut news);
                of_storage(&report)
            }
            Some(SubsystemReport::Updates(report)) => of_updates(&report),
            Some(SubsystemReport::Containers(report)) => of_containers(&report),
        };
        (values, news)
    }

    fn breaker(&mut self, outcome: &InventoryOutcome, news: &mut Vec<News>) {
        let name = outcome.subsystem.as_str();
        match &outcome.report {
            Err(why) if self.failing.insert(outcome.subsystem) => {
                let message = format!("the subsystem {name} failed: {why}");
                news.push(News::new("subsystem.failed", Warning, &message));
            }
            Ok(_) if self.failing.remove(&outcome.subsystem) => {
                let message = format!("the subsystem {name} reports again");
                news.push(News::new("subsystem.recovered", Info, &message));
            }
            Err(_) | Ok(_) => {}
        }
        if outcome.breaker == "open" && self.resting.insert(outcome.subsystem) {
            let message =
                format!("the breaker of {name} opened: it rests before it is tried again");
            news.push(News::new("breaker.opened", Error, &message));
        }
        if outcome.breaker == "closed" && self.resting.remove(&outcome.subsystem) {
            let message = format!("the breaker of {name} closed");
            news.push(News::new("breaker.closed", Info, &message));
        }
    }

    fn reboot(&mut self, report: &SystemReport, news: &mut Vec<News>) {
        let wanted = report.reboot_required == Some(true);
        if wanted && !self.reboot {
            let packages = report.reboot_packages.join(", ");
            let because = if packages.is_empty() { String::new() } else { format!(": {packages}") };
            let message = format!("the host asks for a reboot{because}");
            news.push(News::new("host.reboot_required", Warning, &message));
        }
        self.reboot = wanted;
    }

    fn storage(&mut self, report: &StorageReport, news: &mut Vec<News>) {
        let mut levels = BTreeMap::new();
        for mount in &report.mounts {
            let before = self.levels.get(&mount.mount_point).copied().unwrap_or(StorageLevel::Ok);
            let message = format!("{} is {:.0} % full", mount.mount_point, mount.used_percent);
            if mount.level > before {
                let severity = if mount.level == StorageLevel::Critical { Error } else { Warning };
                news.push(News::new("storage.filling", severity, &message));
            } else if mount.level < before {
                news.push(News::new("storage.relieved", Info, &message));
            }
            levels.insert(mount.mount_point.clone(), mount.level);
        }
        let gone = |(mount, level): &(&String, &StorageLevel)| {
            **level > StorageLevel::Ok && !report.truncated && !levels.contains_key(*mount)
        };
        for (mount, _) in self.levels.iter().filter(gone) {
            let message = format!("{mount} is not mounted any more");
            news.push(News::new("storage.relieved", Info, &message));
        }
        self.levels = levels;
    }
}

fn value(metric: &str, value: f64) -> Measured {
    Measured { metric: metric.to_owned(), label: String::new(), value }
}

#[expect(clippy::cast_precision_loss, reason = "no host has 2^52 bytes; a chart needs no last bit")]
fn bytes(metric: &str, bytes: u64) -> Measured {
    value(metric, bytes as f64)
}

fn of_system(report: &SystemReport) -> Vec<Measured> {
    vec![
        value("cpu_used_percent", report.cpu.usage_percent),
        value("load_1m", report.load.load_1m),
        value("load_5m", report.load.load_5m),
        value("load_15m", report.load.load_15m),
        bytes("memory_total_bytes", report.memory.total_bytes),
        bytes("memory_used_bytes", report.memory.used_bytes),
        bytes("swap_used_bytes", report.memory.swap_used_bytes),
        value("processes", f64::from(report.processes.count)),
        bytes("uptime_seconds", report.uptime_s),
    ]
}

fn of_storage(report: &StorageReport) -> Vec<Measured> {
    let of_mount = |mount: &argosy_wire::report::MountReport| {
        let label = &mount.mount_point;
        [
            bytes("disk_total_bytes", mount.total_bytes),
            bytes("disk_used_bytes", mount.used_bytes),
            value("disk_used_percent", mount.used_percent),
        ]
        .map(|measured| Measured { label: label.clone(), ..measured })
    };
    report.mounts.iter().flat_map(of_mount).collect()
}

fn of_containers(report: &ContainersReport) -> Vec<Measured> {
    if report.engine.is_none() {
        return Vec::new();
    }
    vec![
        value("containers_running", f64::from(report.running)),
        value("containers_total", f64::from(report.total)),
        value("containers_unhealthy", f64::from(report.unhealthy)),
    ]
}

fn of_updates(report: &UpdatesReport) -> Vec<Measured> {
    vec![
        value("updates_pending", f64::from(report.pending)),
        value("updates_security_pending", f64::from(report.security_pending)),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use argosy_domain::{telemetry::MetricName, time::Timestamp};
    use argosy_wire::report::{MountReport, PackageManager};

    use super::*;

    fn outcome(report: Result<&SubsystemReport, &str>, breaker: &'static str) -> InventoryOutcome {
        InventoryOutcome {
            subsystem: report.map_or(Subsystem::System, SubsystemReport::subsystem),
            captured_at: Timestamp::from_seconds(1),
            took: Duration::ZERO,
            report: report.map(|r| serde_json::to_vec(r).unwrap()).map_err(str::to_owned),
            breaker,
        }
    }

    fn storage(used_percent: f64) -> SubsystemReport {
        let mount = MountReport {
            mount_point: "/srv".into(),
            device: "/dev/sda1".into(),
            fs: "ext4".into(),
            total_bytes: 100,
            used_bytes: 50,
            free_bytes: 50,
            used_percent,
            level: StorageLevel::of(used_percent),
            read_only: false,
        };
        let mounts = vec![mount];
        SubsystemReport::Storage(StorageReport { mounts, unreadable: vec![], truncated: false })
    }

    fn kinds(news: &[News]) -> Vec<&str> {
        news.iter().map(|news| news.kind).collect()
    }

    #[test]
    fn a_failure_is_told_once_and_its_end_too() {
        let mut seen = Seen::default();
        let updates = SubsystemReport::Updates(UpdatesReport {
            manager: PackageManager::Apt,
            pending: 7,
            security_pending: 2,
            packages: vec![],
            truncated: false,
            refreshed_at: None,
        });
        let failed = |breaker| InventoryOutcome {
            subsystem: Subsystem::Updates,
            ..outcome(Err("no such tool"), breaker)
        };
        assert_eq!(kinds(&seen.look(&failed("closed")).1), ["subsystem.failed"]);
        assert_eq!(kinds(&seen.look(&failed("closed")).1), [""; 0]);
        assert_eq!(kinds(&seen.look(&failed("open")).1), ["breaker.opened"]);
        assert_eq!(kinds(&seen.look(&failed("open")).1), [""; 0]);
        let (values, news) = seen.look(&outcome(Ok(&updates), "half_open"));
        assert_eq!(kinds(&news), ["subsystem.recovered"]);
        assert_eq!(values, [value("updates_pending", 7.0), value("updates_security_pending", 2.0)]);
        assert_eq!(kinds(&seen.look(&outcome(Ok(&updates), "closed")).1), ["breaker.closed"]);
    }

    #[test]
    fn a_disk_is_told_when_it_crosses_a_level() {
        let mut seen = Seen::default();
        let mut told = |percent| {
            let (values, news) = seen.look(&outcome(Ok(&storage(percent)), "closed"));
            assert!(values.iter().all(|value| MetricName::parse(&value.metric).is_ok()));
            assert!(values.iter().all(|value| value.label == "/srv"));
            news
        };
        assert_eq!(kinds(&told(50.0)), [""; 0]);
        assert_eq!(kinds(&told(85.0)), ["storage.filling"]);
        assert_eq!(kinds(&told(86.0)), [""; 0]);
        let critical = told(96.0);
        assert_eq!(critical[0].severity, Error);
        assert_eq!(critical[0].message, "/srv is 96 % full");
        assert_eq!(kinds(&told(10.0)), ["storage.relieved"]);
        told(90.0);
        let none = StorageReport { mounts: vec![], unreadable: vec![], truncated: false };
        let gone = seen.look(&outcome(Ok(&SubsystemReport::Storage(none)), "closed")).1;
        assert_eq!(gone[0].message, "/srv is not mounted any more");
    }
}
