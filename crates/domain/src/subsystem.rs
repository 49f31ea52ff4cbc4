//! Subsystems: the scheduled collectors of an agent, their names and their schedule.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{SUBSYSTEM_INTERVAL_MAX, SUBSYSTEM_INTERVAL_MIN};

/// A collector that this version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subsystem {
    /// Processor, memory, load, uptime, processes, kernel, reboot-required.
    System,
    /// Mounts and their fill.
    Storage,
    /// Pending packages of the operating system.
    Updates,
    /// What Docker or Podman runs.
    Containers,
}

/// A name that is no subsystem of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such subsystem; there are system, storage, updates and containers")]
pub struct UnknownSubsystem;

impl Subsystem {
    /// Every subsystem, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::System, Self::Storage, Self::Updates, Self::Containers];

    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Storage => "storage",
            Self::Updates => "updates",
            Self::Containers => "containers",
        }
    }

    /// The subsystem of that name.
    pub fn parse(text: &str) -> Result<Self, UnknownSubsystem> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or(UnknownSubsystem)
    }

    /// The schedule that every agent starts with.
    pub fn default_schedule(self) -> Schedule {
        let (interval_min, timeout_s) = match self {
            Self::System | Self::Storage => (5, 60),
            Self::Updates => (60, 300),
            Self::Containers => (15, 60),
        };
        Schedule {
            enabled: true,
            auto_run: true,
            interval: Duration::from_secs(interval_min * 60),
            timeout: Duration::from_secs(timeout_s),
        }
    }
}

/// When a subsystem runs by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Off: neither scheduled nor on command.
    pub enabled: bool,
    /// Runs by itself; off leaves it to commands.
    pub auto_run: bool,
    /// From one start to the next; 1 to 1,440 minutes.
    pub interval: Duration,
    /// A run that takes longer is stopped and counts as failed.
    pub timeout: Duration,
}

/// A schedule outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// The interval.
    #[error("interval must be 1 to 1440 minutes")]
    Interval,
    /// The timeout.
    #[error("timeout must be at least 1 s and no longer than the interval")]
    Timeout,
}

impl Schedule {
    /// Checks the bounds.
    pub fn checked(self) -> Result<Self, InvalidSchedule> {
        if !(SUBSYSTEM_INTERVAL_MIN..=SUBSYSTEM_INTERVAL_MAX).contains(&self.interval) {
            return Err(InvalidSchedule::Interval);
        }
        if self.timeout < Duration::from_secs(1) || self.timeout > self.interval {
            return Err(InvalidSchedule::Timeout);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_own_bounds() {
        for subsystem in Subsystem::ALL {
            let schedule = subsystem.default_schedule();
            assert_eq!(schedule.checked(), Ok(schedule));
            assert_eq!(Subsystem::parse(subsystem.as_str()), Ok(subsystem));
        }
    }

    #[test]
    fn schedules_outside_their_bounds_are_refused() {
        let schedule = Subsystem::System.default_schedule();
        let with = |interval, timeout| Schedule {
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(timeout),
            ..schedule
        };
        assert_eq!(with(59, 1).checked(), Err(InvalidSchedule::Interval));
        assert_eq!(with(86_401, 1).checked(), Err(InvalidSchedule::Interval));
        assert_eq!(with(60, 0).checked(), Err(InvalidSchedule::Timeout));
        assert_eq!(with(60, 61).checked(), Err(InvalidSchedule::Timeout));
    }
}
