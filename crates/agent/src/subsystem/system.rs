//! The `system` subsystem: processor, memory, load, uptime, processes, kernel, reboot-required.
//!
//! *Invariant:* of a process, only its name, id, memory and processor time are read; never its
//! arguments or its environment, which may hold secrets.

use argosy_domain::subsystem::Subsystem;
use argosy_wire::report::{
    CpuReport, LoadReport, MemoryReport, OsReport, ProcessReport, ProcessesReport, SubsystemReport,
    SystemReport,
};
use futures::future::BoxFuture;
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{
    CollectError, Collector, RebootSigns, exclusive::Exclusive, reboot::Reboot, reported, rounded,
};

/// Processes that a report lists; fewer than it could hold.
const TOP_PROCESSES: usize = 5;

/// Collects the `system` report.
#[derive(Debug, Clone, Default)]
pub struct SystemCollector {
    /// Where this host shows that it wants a reboot.
    pub reboot: RebootSigns,
    blocking: Exclusive,
}

impl Collector for SystemCollector {
    fn subsystem(&self) -> Subsystem {
        Subsystem::System
    }

    fn collect(&self) -> BoxFuture<'_, Result<SubsystemReport, CollectError>> {
        Box::pin(async move {
            let first = self.blocking.run(first_sample).await?;
            // Processor usage is what happened between two samples.
            tokio::time::sleep(MINIMUM_CPU_UPDATE_INTERVAL).await;
            let reboot = self.reboot.read().await;
            let report = self.blocking.run(|| second_sample(first, reboot)).await?;
            Ok(SubsystemReport::System(report))
        })
    }
}

fn processes() -> ProcessRefreshKind {
    ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks()
}

fn first_sample() -> Result<System, CollectError> {
    let mut host = System::new().map_err(untold("state"))?;
    host.refresh_cpu_usage();
    host.refresh_processes_specifics(ProcessesToUpdate::All, true, processes());
    Ok(host)
}

fn second_sample(mut host: System, reboot: Reboot) -> Result<SystemReport, CollectError> {
    host.refresh_memory();
    host.refresh_cpu_usage();
    host.refresh_processes_specifics(ProcessesToUpdate::All, true, processes());
    Ok(SystemReport {
        hostname: reported(&System::host_name().map_err(untold("name"))?),
        os: OsReport {
            name: reported(&System::name().map_err(untold("operating system"))?),
            // A rolling distribution has no version.
            version: reported(&System::os_version().unwrap_or_default()),
            arch: reported(&System::cpu_arch()),
        },
        kernel: reported(&System::kernel_version().map_err(untold("kernel"))?),
        uptime_s: System::uptime().map_err(untold("uptime"))?,
        cpu: cpu(&host),
        memory: MemoryReport {
            total_bytes: host.total_memory(),
            used_bytes: host.used_memory(),
            available_bytes: host.available_memory(),
            swap_total_bytes: host.total_swap(),
            swap_used_bytes: host.used_swap(),
        },
        load: load()?,
        processes: ProcessesReport {
            count: u32::try_from(host.processes().len()).unwrap_or(u32::MAX),
            top_by_memory: top_by_memory(&host),
        },
        reboot_required: reboot.required,
        reboot_packages: reboot.packages,
    })
}

fn untold(what: &'static str) -> impl FnOnce(sysinfo::Error) -> CollectError {
    move |source| CollectError::Untold { what, source }
}

fn cpu(host: &System) -> CpuReport {
    CpuReport {
        model: host.cpus().first().map(|cpu| reported(cpu.brand().trim())).unwrap_or_default(),
        cores: u32::try_from(host.cpus().len()).unwrap_or(u32::MAX),
        usage_percent: rounded(f64::from(host.global_cpu_usage()), 1).clamp(0.0, 100.0),
    }
}

fn load() -> Result<LoadReport, CollectError> {
    let load = System::load_average().map_err(untold("load"))?;
    Ok(LoadReport {
        load_1m: rounded(load.one, 2),
        load_5m: rounded(load.five, 2),
        load_15m: rounded(load.fifteen, 2),
    })
}

fn top_by_memory(host: &System) -> Vec<ProcessReport> {
    let mut processes: Vec<_> = host.processes().values().collect();
    processes.sort_by_key(|process| (std::cmp::Reverse(process.memory()), process.pid()));
    let report = |process: &&sysinfo::Process| ProcessReport {
        name: reported(&process.name().to_string_lossy()),
        pid: process.pid().as_u32(),
        memory_bytes: process.memory(),
        cpu_usage_percent: rounded(f64::from(process.cpu_usage()), 1),
    };
    processes.iter().take(TOP_PROCESSES).map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collected(collector: &SystemCollector) -> SystemReport {
        let report = collector.collect().await.unwrap();
        report.check().unwrap();
        let SubsystemReport::System(report) = report else { panic!("another report") };
        report
    }

    #[tokio::test]
    async fn this_host_is_told_as_it_is() {
        let report = collected(&SystemCollector::default()).await;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(report.kernel, kernel.trim());
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(report.hostname, hostname.trim());
        assert!(!report.os.name.is_empty() && !report.os.arch.is_empty(), "{:?}", report.os);
        assert!(report.uptime_s > 0);
        assert!(report.cpu.cores > 0 && (0.0..=100.0).contains(&report.cpu.usage_percent));
        let memory = &report.memory;
        assert!(memory.total_bytes > 64 << 20, "{memory:?}");
        assert_eq!(memory.used_bytes + memory.available_bytes, memory.total_bytes);
        assert!(memory.swap_used_bytes <= memory.swap_total_bytes);
        assert!(report.load.load_1m >= 0.0);
    }

    #[tokio::test]
    async fn processes_are_counted_without_threads_and_the_largest_come_first() {
        let report = collected(&SystemCollector::default()).await;
        let top = &report.processes.top_by_memory;
        assert!(!top.is_empty() && top.len() <= TOP_PROCESSES);
        assert!(report.processes.count as usize >= top.len());
        assert!(top.is_sorted_by(|a, b| a.memory_bytes >= b.memory_bytes), "{top:?}");
        assert!(top.iter().all(|process| process.pid > 0 && !process.name.is_empty()));
    }

    #[tokio::test]
    async fn a_busy_processor_shows() {
        let (idle_again, until) = std::sync::mpsc::channel::<()>();
        let busy = std::thread::spawn(move || {
            while until.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                std::hint::spin_loop();
            }
        });
        let report = collected(&SystemCollector::default()).await;
        drop(idle_again);
        busy.join().unwrap();
        assert!(report.cpu.usage_percent > 0.0, "{:?}", report.cpu);
    }

    #[tokio::test]
    async fn a_reboot_that_is_asked_for_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let flag = directory.path().join("flag");
        std::fs::write(&flag, "").unwrap();
        let signs = RebootSigns { flag, ..RebootSigns::default() };
        let collector = SystemCollector { reboot: signs, ..SystemCollector::default() };
        assert_eq!(collected(&collector).await.reboot_required, Some(true));
    }
}
