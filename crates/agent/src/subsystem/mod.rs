//! Subsystems: the collectors that look at this host and report what they see.
//!
//! A [`Collector`] makes one report when it is asked. It has no schedule, no timeout and no
//! breaker: whoever runs it has those, and stops a run by dropping its future. A new subsystem is
//! a variant of `domain::subsystem::Subsystem`, a shape in `wire::report` and a collector here;
//! the compiler then names every other place.
//!
//! *Invariant:* a collector only reads. It changes nothing on the host, takes no lock that a
//! package manager would wait for, needs no privilege, opens no connection but to the socket of a
//! container engine on this host, and starts only programs with fixed arguments (never a shell) and
//! bounded output.

pub mod containers;
mod error;
mod exclusive;
mod reboot;
pub mod storage;
pub mod system;
pub(crate) mod tool;
pub mod updates;

use argosy_domain::{subsystem::Subsystem, text::clip};
use argosy_wire::report::{SubsystemReport, TEXT_CHARS_MAX};
use futures::future::BoxFuture;

pub use error::CollectError;
pub use reboot::RebootSigns;

/// What looks at one side of the host.
pub trait Collector: Send + Sync {
    /// The subsystem that this collects for.
    fn subsystem(&self) -> Subsystem;

    /// Looks once. Dropping the future stops the programs that it started.
    fn collect(&self) -> BoxFuture<'_, Result<SubsystemReport, CollectError>>;
}

/// The collector of `subsystem` for the host that this process runs on.
pub fn collector(subsystem: Subsystem) -> Box<dyn Collector> {
    match subsystem {
        Subsystem::System => Box::new(system::SystemCollector::default()),
        Subsystem::Storage => Box::new(storage::StorageCollector::default()),
        Subsystem::Updates => Box::new(updates::UpdatesCollector::default()),
        Subsystem::Containers => Box::new(containers::ContainersCollector::default()),
    }
}

/// A text as long as a report may hold it.
fn reported(text: &str) -> String {
    clip(text, TEXT_CHARS_MAX)
}

/// A measured number with `decimals` decimals; what is no number is zero.
fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() { rounded } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subsystem_has_its_collector() {
        for subsystem in Subsystem::ALL {
            assert_eq!(collector(subsystem).subsystem(), subsystem);
        }
    }

    #[test]
    fn numbers_are_short_and_always_numbers() {
        assert_eq!(rounded(12.345, 1), 12.3);
        assert_eq!(rounded(0.155_9, 2), 0.16);
        assert_eq!(rounded(f64::NAN, 1), 0.0);
        assert_eq!(rounded(f64::INFINITY, 1), 0.0);
    }
}
