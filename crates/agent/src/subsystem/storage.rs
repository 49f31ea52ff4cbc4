//! The `storage` subsystem: which file systems this host has mounted, and how full they are.
//!
//! The kernel's own table (`proc_pid_mountinfo(5)`) says what is mounted; `statvfs(3)` says how
//! full it is. First a plan is made of what to ask, then it is asked.
//!
//! *Invariant:* every file system is counted once, however often it is bound elsewhere, and none
//! that holds no data of its own (kernel interfaces, images that are always full) is counted at all.

mod mountinfo;

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use argosy_domain::subsystem::Subsystem;
use argosy_wire::report::{
    MOUNTS_MAX, MountReport, StorageLevel, StorageReport, SubsystemReport, UnreadableMount,
};
use futures::future::BoxFuture;

use self::mountinfo::Mount;
use super::{CollectError, Collector, exclusive::Exclusive, reported, rounded};

/// Collects the `storage` report.
#[derive(Debug, Clone)]
pub struct StorageCollector {
    /// The kernel's table of mounts.
    pub mountinfo: PathBuf,
    blocking: Exclusive,
}

impl Default for StorageCollector {
    fn default() -> Self {
        Self { mountinfo: "/proc/self/mountinfo".into(), blocking: Exclusive::default() }
    }
}

impl Collector for StorageCollector {
    fn subsystem(&self) -> Subsystem {
        Subsystem::Storage
    }

    fn collect(&self) -> BoxFuture<'_, Result<SubsystemReport, CollectError>> {
        let path = self.mountinfo.clone();
        Box::pin(self.blocking.run(move || {
            let table =
                std::fs::read(&path).map_err(|source| CollectError::Unreadable { path, source })?;
            let asked = mountinfo::plan(mountinfo::parse(&table)?);
            Ok(SubsystemReport::Storage(report(asked, ask)))
        }))
    }
}

/// How full a file system is.
#[derive(Debug, Clone, Copy)]
struct Fill {
    total_bytes: u64,
    used_bytes: u64,
    free_bytes: u64,
}

/// Asks the operating system. `None`: what is mounted there holds no data, or is a single file.
fn ask(mount_point: &Path) -> io::Result<Option<Fill>> {
    if !std::fs::metadata(mount_point)?.is_dir() {
        return Ok(None);
    }
    let said = rustix::fs::statvfs(mount_point)?;
    let bytes = |blocks: u64| blocks.saturating_mul(said.f_frsize);
    Ok((said.f_blocks > 0).then(|| Fill {
        total_bytes: bytes(said.f_blocks),
        used_bytes: bytes(said.f_blocks.saturating_sub(said.f_bfree)),
        free_bytes: bytes(said.f_bavail),
    }))
}

/// Carries out the plan: of each file system's mount points, the first that answers counts.
fn report(plan: Vec<Vec<Mount>>, ask: impl Fn(&Path) -> io::Result<Option<Fill>>) -> StorageReport {
    let mut report = StorageReport { mounts: Vec::new(), unreadable: Vec::new(), truncated: false };
    for mount_points in plan {
        let mut reason = None;
        let answered = mount_points.iter().find_map(|mount| match ask(&mount.mount_point) {
            Ok(fill) => fill.map(|fill| filled(mount, fill)),
            Err(error) => {
                reason.get_or_insert((mount, error));
                None
            }
        });
        match (answered, reason) {
            (Some(mount), _) => report.mounts.push(mount),
            (None, Some((mount, error))) => report.unreadable.push(UnreadableMount {
                mount_point: shown(mount.mount_point.as_os_str().as_bytes()),
                reason: reported(&error.to_string()),
            }),
            (None, None) => {}
        }
    }
    bound(&mut report);
    report
}

/// Keeps the lists within their limits; where something must go, the emptiest go.
fn bound(report: &mut StorageReport) {
    report.truncated = report.mounts.len() > MOUNTS_MAX || report.unreadable.len() > MOUNTS_MAX;
    report.mounts.sort_by(|a, b| b.used_percent.total_cmp(&a.used_percent));
    report.mounts.truncate(MOUNTS_MAX);
    report.mounts.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
    report.unreadable.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
    report.unreadable.truncate(MOUNTS_MAX);
}

fn filled(mount: &Mount, fill: Fill) -> MountReport {
    // As df counts: blocks that are reserved for root are neither used nor free.
    let usable_bytes = fill.used_bytes.saturating_add(fill.free_bytes);
    let used_percent = match usable_bytes {
        0 => 100.0,
        _ => rounded(fill.used_bytes as f64 * 100.0 / usable_bytes as f64, 1),
    };
    MountReport {
        mount_point: shown(mount.mount_point.as_os_str().as_bytes()),
        device: shown(&mount.source),
        fs: shown(&mount.fs),
        total_bytes: fill.total_bytes,
        used_bytes: fill.used_bytes,
        free_bytes: fill.free_bytes,
        used_percent,
        level: StorageLevel::of(used_percent),
        read_only: mount.read_only,
    }
}

fn shown(bytes: &[u8]) -> String {
    reported(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests;
