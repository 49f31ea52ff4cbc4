//! What the server wants of an agent: when its subsystems run.
//!
//! *Invariant:* a configuration has a generation that only rises; an agent never goes back to an
//! earlier one. What the host's owner decides (server, pins, policy) is not in it.

use std::{collections::BTreeMap, fmt, num::ParseIntError, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::subsystem::{InvalidSchedule, Schedule, Subsystem};

/// How often a configuration was changed; 0 is what an agent starts with.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub i64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Generation {
    type Err = ParseIntError;
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// What the server wants of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// When each subsystem runs; one that is missing keeps what it has.
    pub schedules: BTreeMap<Subsystem, Schedule>,
}

/// A document that is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfiguration {
    /// Not the JSON that is asked for.
    #[error("the configuration is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A schedule outside its bounds.
    #[error("the schedule of {subsystem} is out of bounds: {why}")]
    Schedule {
        /// Whose.
        subsystem: &'static str,
        /// Which bound.
        why: InvalidSchedule,
    },
}

#[derive(Serialize, Deserialize)]
struct Document {
    subsystems: BTreeMap<String, ScheduleDocument>,
}

#[derive(Serialize, Deserialize)]
struct ScheduleDocument {
    enabled: bool,
    auto_run: bool,
    interval_s: u64,
    timeout_s: u64,
}

impl Configuration {
    /// Reads the JSON document. Subsystems that this version does not have are passed over: a newer
    /// server may know more.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidConfiguration> {
        let document: Document = serde_json::from_slice(json)?;
        let mut schedules = BTreeMap::new();
        for (name, wanted) in document.subsystems {
            let Ok(subsystem) = Subsystem::parse(&name) else { continue };
            let schedule = Schedule {
                enabled: wanted.enabled,
                auto_run: wanted.auto_run,
                interval: Duration::from_secs(wanted.interval_s),
                timeout: Duration::from_secs(wanted.timeout_s),
            };
            let schedule = schedule.checked().map_err(|why| InvalidConfiguration::Schedule {
                subsystem: subsystem.as_str(),
                why,
            })?;
            schedules.insert(subsystem, schedule);
        }
        Ok(Self { schedules })
    }

    /// The JSON document. Equal configurations have equal bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let subsystems = self.schedules.iter().map(|(subsystem, schedule)| {
            let document = ScheduleDocument {
                enabled: schedule.enabled,
                auto_run: schedule.auto_run,
                interval_s: schedule.interval.as_secs(),
                timeout_s: schedule.timeout.as_secs(),
            };
            (subsystem.as_str().to_owned(), document)
        });
        // A map of numbers and truths always serialises.
        serde_json::to_vec(&Document { subsystems: subsystems.collect() }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_newer_server_knows_is_passed_over() {
        let json = br#"{"subsystems":{"tides":{"enabled":true,"auto_run":true,"interval_s":60,
            "timeout_s":1},"storage":{"enabled":false,"auto_run":true,"interval_s":120,
            "timeout_s":9}},"more":1}"#;
        let read = Configuration::parse(json).unwrap();
        let schedule = read.schedules[&Subsystem::Storage];
        assert_eq!((read.schedules.len(), schedule.enabled), (1, false));
        assert_eq!(schedule.interval, Duration::from_secs(120));
    }

    #[test]
    fn what_is_out_of_bounds_or_no_document_is_refused_whole() {
        let bad = br#"{"subsystems":{"system":{"enabled":true,"auto_run":true,"interval_s":59,
            "timeout_s":1}}}"#;
        let refused = Configuration::parse(bad).unwrap_err().to_string();
        assert_eq!(
            refused,
            "the schedule of system is out of bounds: interval must be 1 to 1440 minutes"
        );
        for bad in ["", "[]", "{}", r#"{"subsystems":{"system":{}}}"#] {
            assert!(Configuration::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_configuration_reads_back_as_it_was(
            wanted in proptest::collection::btree_map(
                proptest::sample::select(Subsystem::ALL.to_vec()),
                (any::<bool>(), any::<bool>(), 60u64..=86_400, 1u64..=60),
                0..4,
            )
        ) {
            let schedules = wanted.into_iter().map(|(subsystem, (enabled, auto_run, interval, timeout))| {
                let (interval, timeout) = (Duration::from_secs(interval), Duration::from_secs(timeout));
                (subsystem, Schedule { enabled, auto_run, interval, timeout })
            });
            let configuration = Configuration { schedules: schedules.collect() };
            prop_assert_eq!(Configuration::parse(&configuration.to_json()).unwrap(), configuration);
        }
    }
}
