//! The `updates` subsystem: which packages of the operating system have a newer version.
//!
//! The answer is what the host's own package lists say. They are never refreshed from here: that
//! is the host's business, and the report says how old they are.
//!
//! *Invariant:* nothing is installed, refreshed or locked; no privilege is needed.

mod apt;
mod dnf;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use argosy_domain::{subsystem::Subsystem, time::Timestamp};
use argosy_wire::report::{
    PACKAGES_MAX, PackageManager, PendingPackage, SubsystemReport, UpdatesReport,
};
use futures::future::BoxFuture;

pub use self::{apt::Apt, dnf::Dnf};
use super::{CollectError, Collector, reported};

/// Collects the `updates` report.
#[derive(Debug, Clone)]
pub enum UpdatesCollector {
    /// Finds out at each run who keeps the packages of the host under this root.
    Detect {
        /// The host's root directory.
        root: PathBuf,
    },
    /// Asks apt.
    Apt(Apt),
    /// Asks dnf.
    Dnf(Dnf),
}

impl Default for UpdatesCollector {
    fn default() -> Self {
        Self::Detect { root: "/".into() }
    }
}

impl Collector for UpdatesCollector {
    fn subsystem(&self) -> Subsystem {
        Subsystem::Updates
    }

    fn collect(&self) -> BoxFuture<'_, Result<SubsystemReport, CollectError>> {
        Box::pin(async move {
            let report = match self {
                Self::Detect { root } => match detect(root) {
                    PackageManager::Apt => Apt::default().collect().await?,
                    PackageManager::Dnf => Dnf::default().collect().await?,
                    PackageManager::None => report(PackageManager::None, Vec::new(), None),
                },
                Self::Apt(apt) => apt.collect().await?,
                Self::Dnf(dnf) => dnf.collect().await?,
            };
            Ok(SubsystemReport::Updates(report))
        })
    }
}

/// Who keeps the packages of the host under `root`: a program and what it keeps must both be
/// there, because a host may have the other family's tools installed.
pub fn detect(root: &Path) -> PackageManager {
    let has = |path: &str| root.join(path).exists();
    let dpkg = fs::metadata(root.join("var/lib/dpkg/status")).is_ok_and(|file| file.len() > 0);
    let rpm = has("var/lib/rpm") || has("usr/lib/sysimage/rpm") || has("etc/yum.repos.d");
    if dpkg && has("usr/bin/apt") {
        PackageManager::Apt
    } else if rpm && has("usr/bin/dnf") {
        PackageManager::Dnf
    } else {
        PackageManager::None
    }
}

/// The report on `pending`, within its limits; where something must go, what closes no security
/// hole goes first.
fn report(
    manager: PackageManager,
    mut pending: Vec<PendingPackage>,
    refreshed_at: Option<Timestamp>,
) -> UpdatesReport {
    let count = |packages: usize| u32::try_from(packages).unwrap_or(u32::MAX);
    pending.sort_by(|a, b| {
        (!a.security, &a.name, &a.architecture).cmp(&(!b.security, &b.name, &b.architecture))
    });
    UpdatesReport {
        manager,
        pending: count(pending.len()),
        security_pending: count(pending.iter().filter(|package| package.security).count()),
        truncated: pending.len() > PACKAGES_MAX,
        packages: pending.into_iter().take(PACKAGES_MAX).map(shown).collect(),
        refreshed_at,
    }
}

fn shown(package: PendingPackage) -> PendingPackage {
    PendingPackage {
        name: reported(&package.name),
        architecture: reported(&package.architecture),
        current: reported(&package.current),
        available: reported(&package.available),
        security: package.security,
        repository: reported(&package.repository),
    }
}

/// When the latest of `files` was written; `None` when there is none.
fn latest(files: impl IntoIterator<Item = PathBuf>) -> Result<Option<Timestamp>, CollectError> {
    let mut latest: Option<SystemTime> = None;
    for path in files {
        match fs::metadata(&path).and_then(|file| file.modified()) {
            Ok(at) => latest = latest.max(Some(at)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(CollectError::Unreadable { path, source }),
        }
    }
    let since_epoch = latest.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default());
    Ok(since_epoch.map(|span| Timestamp::from_seconds(0).plus(span)))
}

/// What is in a directory; nothing, where there is none.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, CollectError> {
    let unreadable = |source| CollectError::Unreadable { path: directory.to_owned(), source };
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    fs::read_dir(directory)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(unreadable))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        root
    }

    #[tokio::test]
    async fn the_manager_is_the_one_that_keeps_packages_here() {
        for (files, manager) in [
            (&["usr/bin/apt", "var/lib/dpkg/status"][..], PackageManager::Apt),
            (&["usr/bin/apt", "var/lib/dpkg/status", "usr/bin/dnf"], PackageManager::Apt),
            (&["usr/bin/dnf", "var/lib/rpm/rpmdb.sqlite"], PackageManager::Dnf),
            (&["usr/bin/dnf", "usr/lib/sysimage/rpm/rpmdb.sqlite"], PackageManager::Dnf),
            (&["usr/bin/dnf", "etc/yum.repos.d/a.repo", "usr/bin/apt"], PackageManager::Dnf),
            (&["usr/bin/apt"], PackageManager::None),
            (&["usr/bin/dnf"], PackageManager::None),
            (&["lib/apk/db/installed"], PackageManager::None),
        ] {
            assert_eq!(detect(host(files).path()), manager, "{files:?}");
        }
    }

    #[tokio::test]
    async fn a_host_without_a_known_manager_says_so_and_does_not_fail() {
        let root = host(&[]);
        let collector = UpdatesCollector::Detect { root: root.path().to_owned() };
        let SubsystemReport::Updates(report) = collector.collect().await.unwrap() else {
            panic!("another report")
        };
        assert_eq!(report.manager, PackageManager::None);
        assert_eq!((report.pending, report.refreshed_at), (0, None));
    }

    #[test]
    fn a_long_list_keeps_what_closes_security_holes_and_the_true_counts() {
        let package = |n: usize| PendingPackage {
            name: format!("p{n:05}"),
            architecture: "all".into(),
            current: "1".into(),
            available: "2".repeat(1_000),
            security: n > PACKAGES_MAX,
            repository: "r".into(),
        };
        let pending: Vec<_> = (0..PACKAGES_MAX + 5).map(package).collect();
        let report = report(PackageManager::Apt, pending, None);
        assert_eq!(report.pending as usize, PACKAGES_MAX + 5);
        assert_eq!(report.security_pending, 4);
        assert!(report.truncated);
        assert!(report.packages[..4].iter().all(|package| package.security));
        assert_eq!(report.packages[4].name, "p00000");
        SubsystemReport::Updates(report).check().unwrap();
    }
}
