//! What an agent's subsystems report: the shapes of `system`, `storage`, `updates` and `containers`.
//!
//! JSON is `snake_case`, units are in the names, times are RFC 3339 in UTC. A report is written by
//! a machine that nobody fully trusts: who receives one calls [`SubsystemReport::check`] first.
//!
//! *Invariant:* this module holds shapes, limits and levels; it collects and decides nothing. No
//! report carries a process's arguments or environment, nor credentials from a repository's address.

mod containers;

use argosy_domain::{subsystem::Subsystem, time::Timestamp};
use serde::{Deserialize, Serialize};

pub use containers::{
    CONTAINERS_MAX, ContainerHealth, ContainerReport, ContainersReport, EngineReport, IMAGES_MAX,
    ImageReport, PORTS_MAX, PortReport, TAGS_MAX,
};

/// Characters of one text in a report (names, versions, paths).
pub const TEXT_CHARS_MAX: usize = 255;
/// Processes listed by memory.
pub const TOP_PROCESSES_MAX: usize = 10;
/// Packages listed as asking for a reboot.
pub const REBOOT_PACKAGES_MAX: usize = 64;
/// Mounts listed, readable or not.
pub const MOUNTS_MAX: usize = 256;
/// Pending packages listed.
pub const PACKAGES_MAX: usize = 2_000;

/// One subsystem's report. In JSON the field `subsystem` says which one it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "subsystem", rename_all = "snake_case")]
pub enum SubsystemReport {
    /// Processor, memory, load, processes, kernel.
    System(SystemReport),
    /// Mounted file systems.
    Storage(StorageReport),
    /// Pending packages of the operating system.
    Updates(UpdatesReport),
    /// What Docker or Podman runs.
    Containers(ContainersReport),
}

/// What the `system` subsystem reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemReport {
    /// The host's own name for itself.
    pub hostname: String,
    /// The operating system.
    pub os: OsReport,
    /// The running kernel's release, such as `6.1.0-37-amd64`.
    pub kernel: String,
    /// Seconds since the host was started.
    pub uptime_s: u64,
    /// The processors.
    pub cpu: CpuReport,
    /// Memory and swap.
    pub memory: MemoryReport,
    /// Load averages.
    pub load: LoadReport,
    /// Running processes.
    pub processes: ProcessesReport,
    /// Whether something on the host asks for a reboot; `null` where the host has no way to tell.
    pub reboot_required: Option<bool>,
    /// The packages that ask for the reboot, as far as the host names them.
    pub reboot_packages: Vec<String>,
}

/// An operating system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OsReport {
    /// Its name, such as `Debian GNU/Linux`.
    pub name: String,
    /// Its version, such as `12`; empty for a rolling distribution.
    pub version: String,
    /// The machine architecture, such as `x86_64` or `aarch64`.
    pub arch: String,
}

/// The processors of a host, taken together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CpuReport {
    /// The first processor's model; empty where the machine does not say.
    pub model: String,
    /// Logical processors.
    pub cores: u32,
    /// How busy all of them together were while the report was made, 0 to 100.
    pub usage_percent: f64,
}

/// Memory and swap of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MemoryReport {
    /// Installed memory.
    pub total_bytes: u64,
    /// Memory that is not available: total less available.
    pub used_bytes: u64,
    /// What a new program could have without swapping.
    pub available_bytes: u64,
    /// Configured swap; 0 without any.
    pub swap_total_bytes: u64,
    /// Swap in use.
    pub swap_used_bytes: u64,
}

/// Load averages: runnable and uninterruptible tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoadReport {
    /// Over one minute.
    pub load_1m: f64,
    /// Over five minutes.
    pub load_5m: f64,
    /// Over fifteen minutes.
    pub load_15m: f64,
}

/// The processes of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProcessesReport {
    /// Running processes; threads are not counted.
    pub count: u32,
    /// Those that hold most memory, the largest first.
    pub top_by_memory: Vec<ProcessReport>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProcessReport {
    /// Its name as the kernel knows it. Never its arguments: they may hold secrets.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Its resident memory.
    pub memory_bytes: u64,
    /// How busy it kept one processor; more than 100 for a process on several.
    pub cpu_usage_percent: f64,
}

/// What the `storage` subsystem reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StorageReport {
    /// File systems that keep data, each once, by mount point.
    pub mounts: Vec<MountReport>,
    /// File systems that could not be asked.
    pub unreadable: Vec<UnreadableMount>,
    /// The host has more mounts than a report lists; the fullest ones are here.
    pub truncated: bool,
}

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MountReport {
    /// Where it is mounted.
    pub mount_point: String,
    /// What is mounted: a device, or a remote share.
    pub device: String,
    /// The kind of file system, such as `ext4`.
    pub fs: String,
    /// Its size, blocks reserved for root included.
    pub total_bytes: u64,
    /// What is taken.
    pub used_bytes: u64,
    /// What an ordinary user may still take.
    pub free_bytes: u64,
    /// Taken, of what is taken or free (reserved blocks left out, as `df` does), 0 to 100.
    pub used_percent: f64,
    /// How worrying that is.
    pub level: StorageLevel,
    /// It is mounted read-only.
    pub read_only: bool,
}

/// A file system that did not say how full it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnreadableMount {
    /// Where it is mounted.
    pub mount_point: String,
    /// The operating system's reason.
    pub reason: String,
}

/// How full a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StorageLevel {
    /// Less than 80 %.
    Ok,
    /// 80 % and more.
    Warning,
    /// 90 % and more.
    High,
    /// 95 % and more.
    Critical,
}

impl StorageLevel {
    /// The level of a file system that is `used_percent` full.
    pub fn of(used_percent: f64) -> Self {
        if used_percent >= 95.0 {
            Self::Critical
        } else if used_percent >= 90.0 {
            Self::High
        } else if used_percent >= 80.0 {
            Self::Warning
        } else {
            Self::Ok
        }
    }
}

/// What the `updates` subsystem reports, as the host's own package lists have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdatesReport {
    /// Who keeps the host's packages.
    pub manager: PackageManager,
    /// Packages for which there is a newer version.
    pub pending: u32,
    /// Those of them that close a security hole.
    pub security_pending: u32,
    /// The pending packages, security first, then by name.
    pub packages: Vec<PendingPackage>,
    /// More are pending than are listed.
    pub truncated: bool,
    /// When the host last took fresh package lists from its repositories, as far as it tells (it
    /// may have looked later and found nothing new); `null` if it has none, and then nothing
    /// pending means nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub refreshed_at: Option<Timestamp>,
}

/// The package manager of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PackageManager {
    /// Debian, Ubuntu and their kin.
    Apt,
    /// Fedora, RHEL and their kin.
    Dnf,
    /// None that this agent knows.
    None,
}

/// A package for which there is a newer version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingPackage {
    /// Its name.
    pub name: String,
    /// The architecture that it is built for, in the package manager's words.
    pub architecture: String,
    /// The installed version.
    pub current: String,
    /// The version that would be installed.
    pub available: String,
    /// The step from one to the other closes a security hole.
    pub security: bool,
    /// Where the new version comes from.
    pub repository: String,
}

/// A report that breaks one of its limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is longer than {max}")]
pub struct ReportTooLong {
    /// The field of the report.
    pub field: &'static str,
    /// Its most characters or items.
    pub max: usize,
}

fn text(field: &'static str, text: &str) -> Result<(), ReportTooLong> {
    // Bytes first: no need to count the characters of what is short anyway.
    if text.len() <= TEXT_CHARS_MAX || text.chars().count() <= TEXT_CHARS_MAX {
        return Ok(());
    }
    Err(ReportTooLong { field, max: TEXT_CHARS_MAX })
}

fn items<T>(field: &'static str, items: &[T], max: usize) -> Result<(), ReportTooLong> {
    if items.len() <= max { Ok(()) } else { Err(ReportTooLong { field, max }) }
}

impl SubsystemReport {
    /// The subsystem whose report this is.
    pub fn subsystem(&self) -> Subsystem {
        match self {
            Self::System(_) => Subsystem::System,
            Self::Storage(_) => Subsystem::Storage,
            Self::Updates(_) => Subsystem::Updates,
            Self::Containers(_) => Subsystem::Containers,
        }
    }

    /// Whether every text and list is within its limit.
    pub fn check(&self) -> Result<(), ReportTooLong> {
        match self {
            Self::System(report) => report.check(),
            Self::Storage(report) => report.check(),
            Self::Updates(report) => report.check(),
            Self::Containers(report) => report.check(),
        }
    }
}

impl SystemReport {
    fn check(&self) -> Result<(), ReportTooLong> {
        text("hostname", &self.hostname)?;
        text("os.name", &self.os.name)?;
        text("os.version", &self.os.version)?;
        text("os.arch", &self.os.arch)?;
        text("kernel", &self.kernel)?;
        text("cpu.model", &self.cpu.model)?;
        let top = &self.processes.top_by_memory;
        items("processes.top_by_memory", top, TOP_PROCESSES_MAX)?;
        top.iter().try_for_each(|process| text("processes.top_by_memory.name", &process.name))?;
        items("reboot_packages", &self.reboot_packages, REBOOT_PACKAGES_MAX)?;
        self.reboot_packages.iter().try_for_each(|name| text("reboot_packages", name))
    }
}

impl StorageReport {
    fn check(&self) -> Result<(), ReportTooLong> {
        items("mounts", &self.mounts, MOUNTS_MAX)?;
        for mount in &self.mounts {
            text("mounts.mount_point", &mount.mount_point)?;
            text("mounts.device", &mount.device)?;
            text("mounts.fs", &mount.fs)?;
        }
        items("unreadable", &self.unreadable, MOUNTS_MAX)?;
        for mount in &self.unreadable {
            text("unreadable.mount_point", &mount.mount_point)?;
            text("unreadable.reason", &mount.reason)?;
        }
        Ok(())
    }
}

impl UpdatesReport {
    fn check(&self) -> Result<(), ReportTooLong> {
        items("packages", &self.packages, PACKAGES_MAX)?;
        for package in &self.packages {
            text("packages.name", &package.name)?;
            text("packages.architecture", &package.architecture)?;
            text("packages.current", &package.current)?;
            text("packages.available", &package.available)?;
            text("packages.repository", &package.repository)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
