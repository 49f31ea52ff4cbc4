//! What the agent allows itself: how much memory it may hold while subsystems look around.
//!
//! *Invariant:* at the limit the runs that are under way end, and say so to the server; heartbeats,
//! commands and everything else go on.

use std::time::Duration;

use tokio::time::sleep;

/// How often is looked while a subsystem runs.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const MIB: u64 = 1024 * 1024;

/// What the process may hold.
pub struct Bounds {
    memory_bytes_max: Option<u64>,
    resident: Box<dyn Fn() -> Option<u64> + Send + Sync>,
}

/// More is held than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped, because the agent holds {held_mib} MiB of memory and may hold {max_mib} MiB")]
pub struct Exceeded {
    /// What it holds.
    pub held_mib: u64,
    /// What it may hold.
    pub max_mib: u64,
}

impl Bounds {
    /// Of this process; without a limit where `memory_mib_max` is 0.
    pub fn of_process(memory_mib_max: u32) -> Self {
        Self::measured_by(memory_mib_max, || resident_in(&std::fs::read("/proc/self/status").ok()?))
    }

    /// Measured in another way.
    pub fn measured_by(
        memory_mib_max: u32,
        resident: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        let memory_bytes_max = (memory_mib_max > 0).then(|| u64::from(memory_mib_max) * MIB);
        Self { memory_bytes_max, resident: Box::new(resident) }
    }

    /// Returns once more is held than allowed; at once where it is already.
    pub async fn exceeded(&self) -> Exceeded {
        let Some(max) = self.memory_bytes_max else { return std::future::pending().await };
        loop {
            if let Some(held) = (self.resident)().filter(|held| *held > max) {
                return Exceeded { held_mib: held / MIB, max_mib: max / MIB };
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Resident memory in bytes, as `/proc/self/status` has it in KiB (proc_pid_status(5)).
fn resident_in(status: &[u8]) -> Option<u64> {
    let status = std::str::from_utf8(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_above_the_limit_is_too_much() {
        let exceeded = Bounds::measured_by(10, || Some(11 * MIB)).exceeded().await;
        assert_eq!(exceeded, Exceeded { held_mib: 11, max_mib: 10 });
        let within = [
            Bounds::measured_by(10, || Some(10 * MIB)),
            Bounds::measured_by(0, || Some(u64::MAX)),
            Bounds::measured_by(10, || None),
            Bounds::of_process(1024 * 1024),
        ];
        for bounds in within {
            let hour = Duration::from_secs(3_600);
            assert!(tokio::time::timeout(hour, bounds.exceeded()).await.is_err());
        }
    }

    #[test]
    fn the_kernel_says_what_is_held() {
        let status = b"Name:\targosy-agent\nVmRSS:\t   12345 kB\nRssAnon:\t1 kB\n";
        assert_eq!(resident_in(status), Some(12_345 * 1024));
        assert_eq!(resident_in(b"Name:\tx\n"), None);
        let own = std::fs::read("/proc/self/status").unwrap();
        assert!(resident_in(&own).unwrap() > MIB);
    }
}
