//! The machine: its cores, its limit of open files, and how busy it is.

use std::{fs, io, sync::OnceLock, time::Duration};

use rustix::{
    process::{Resource, getrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::Outcome;

/// Descriptors that a program has beside those of its agents.
const OWN_FILES: u64 = 300;
/// Over how long it is looked whether the machine is busy.
const LOOK: Duration = Duration::from_secs(1);

/// The core of what is measured; none where it is not pinned.
static SERVER_CORE: OnceLock<usize> = OnceLock::new();

/// How many files a process may open; none: however many.
pub(crate) fn file_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Refuses what cannot be connected at once.
pub(crate) fn must_fit(agents: usize) -> Outcome<()> {
    let Some(limit) = file_limit() else { return Ok(()) };
    let wanted = u64::try_from(agents)? + OWN_FILES;
    if wanted > limit {
        let most = limit.saturating_sub(OWN_FILES);
        return Err(format!(
            "{agents} agents do not fit: a process may open {limit} files here, which is enough for \
             {most} agents (ulimit -Hn)"
        )
        .into());
    }
    Ok(())
}

/// The cores that this process was given at its start.
fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

/// Keeps this process on the second of its cores, where there are two, and leaves the first to what
/// is measured. Threads that exist already stay where they are.
pub(crate) fn pin_generator() -> io::Result<()> {
    if let [server, generator, ..] = cores()?[..] {
        SERVER_CORE.get_or_init(|| server);
        sched_setaffinity(None, &only(generator))?;
    }
    Ok(())
}

/// Whether what is measured and what measures have a core each.
pub(crate) fn is_pinned() -> bool {
    SERVER_CORE.get().is_some()
}

/// Does something on the core of what is measured: programs that are started there stay there.
pub(crate) fn on_server_core<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let Some(core) = SERVER_CORE.get() else { return Ok(work()) };
    let own = sched_getaffinity(None)?;
    sched_setaffinity(None, &only(*core))?;
    let done = work();
    sched_setaffinity(None, &own)?;
    Ok(done)
}

/// What the kernel has counted on all cores: time in use, and time altogether.
fn ticks() -> Outcome<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("/proc/stat is empty")?;
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    let all: u64 = fields.iter().take(8).sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Ok((all - idle, all))
}

/// The share of all cores that is in use just now, from 0 to 1.
pub(crate) async fn busy() -> Outcome<f64> {
    let (used, all) = ticks()?;
    tokio::time::sleep(LOOK).await;
    let (used_then, all_then) = ticks()?;
    let span = u32::try_from(all_then - all)?.max(1);
    Ok(f64::from(u32::try_from(used_then - used)?) / f64::from(span))
}
