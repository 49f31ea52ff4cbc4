//! The circuit breaker of a subsystem: after repeated failures it rests, tries once, and returns.
//!
//! Closed → open after [`FAILURES_TO_OPEN`] failures within [`FAILURE_WINDOW`]; open → half-open
//! after [`OPEN_FOR`], or at once when a run that somebody asked for succeeds; half-open → closed after
//! [`SUCCESSES_TO_CLOSE`] successes, → open at the first failure. Times are spans since boot, so a clock
//! that jumps changes nothing.

use std::time::Duration;

/// Failures that open a closed breaker.
pub const FAILURES_TO_OPEN: usize = 3;
/// The window in which they are counted.
pub const FAILURE_WINDOW: Duration = Duration::from_secs(10 * 60);
/// How long an open breaker rests.
pub const OPEN_FOR: Duration = Duration::from_secs(30 * 60);
/// Successes that close a half-open breaker.
pub const SUCCESSES_TO_CLOSE: u32 = 2;

/// A breaker and what it remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breaker {
    /// Runs are allowed.
    Closed {
        /// When the failures of the window happened.
        failures: Vec<Duration>,
    },
    /// Runs are refused until `until`.
    Open {
        /// When a trial run is allowed.
        until: Duration,
    },
    /// Trial runs are allowed.
    HalfOpen {
        /// Trial runs that succeeded in a row.
        successes: u32,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: Vec::new() }
    }
}

impl Breaker {
    /// The public name of the state.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }

    /// Whether a scheduled run may start at `now`; an open breaker whose rest is over becomes
    /// half-open.
    pub fn admit(self, now: Duration) -> (Self, bool) {
        match self {
            Self::Open { until } if now >= until => (Self::HalfOpen { successes: 0 }, true),
            Self::Open { until } => (Self::Open { until }, false),
            Self::Closed { .. } | Self::HalfOpen { .. } => (self, true),
        }
    }

    /// After a run that succeeded. While it rests only a run that somebody asked for can: it counts as
    /// a trial.
    pub fn succeeded(self) -> Self {
        match self {
            Self::Open { .. } => Self::HalfOpen { successes: 1 },
            Self::HalfOpen { successes } if successes + 1 < SUCCESSES_TO_CLOSE => {
                Self::HalfOpen { successes: successes + 1 }
            }
            Self::HalfOpen { .. } => Self::default(),
            Self::Closed { .. } => self,
        }
    }

    /// After a run that failed at `now`.
    pub fn failed(self, now: Duration) -> Self {
        match self {
            Self::Closed { mut failures } => {
                failures.retain(|at| now.saturating_sub(*at) < FAILURE_WINDOW);
                failures.push(now);
                if failures.len() >= FAILURES_TO_OPEN {
                    Self::Open { until: now + OPEN_FOR }
                } else {
                    Self::Closed { failures }
                }
            }
            Self::HalfOpen { .. } => Self::Open { until: now + OPEN_FOR },
            Self::Open { until } => Self::Open { until },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(60);

    #[test]
    fn three_failures_in_ten_minutes_open_it_and_two_successes_close_it() {
        let breaker = Breaker::default().failed(MIN).failed(2 * MIN).failed(3 * MIN);
        assert_eq!(breaker, Breaker::Open { until: 33 * MIN });
        let (breaker, admitted) = breaker.admit(32 * MIN);
        assert!(!admitted);
        let (breaker, admitted) = breaker.admit(33 * MIN);
        assert!(admitted);
        assert_eq!(breaker.as_str(), "half_open");
        assert_eq!(breaker.succeeded().succeeded(), Breaker::default());
    }

    #[test]
    fn a_run_that_was_asked_for_ends_the_rest() {
        let open = Breaker::Open { until: 33 * MIN };
        assert_eq!(open.clone().failed(MIN), open);
        let tried = open.succeeded();
        assert_eq!(tried, Breaker::HalfOpen { successes: 1 });
        assert_eq!(tried.succeeded(), Breaker::default());
    }

    #[test]
    fn failures_far_apart_are_forgotten() {
        let breaker = Breaker::default().failed(MIN).failed(2 * MIN).failed(13 * MIN);
        assert_eq!(breaker.as_str(), "closed");
    }

    #[test]
    fn a_failed_trial_opens_it_again() {
        let breaker = Breaker::HalfOpen { successes: 1 }.failed(50 * MIN);
        assert_eq!(breaker, Breaker::Open { until: 80 * MIN });
    }
}
