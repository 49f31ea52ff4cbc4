//! One subsystem's runs: one at a time, contained, counted by its breaker.

use std::{
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use argosy_domain::{
    breaker::Breaker,
    limits::{ERROR_TEXT_CHARS_MAX, PAYLOAD_BYTES_MAX},
    policy::Refused,
    subsystem::Schedule,
    text::clip,
    time::{Clock, format_span},
};
use futures::FutureExt as _;
use tokio::sync::Notify;

use super::mailbox::InventoryOutcome;
use crate::{
    bounds::{Bounds, Exceeded},
    error::with_causes,
    subsystem::{CollectError, Collector},
};

/// Why a run has no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// This agent has no such collector, or its schedule says off.
    #[error("the subsystem is not enabled on this agent")]
    Disabled,
    /// The host's policy.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It took too long and was stopped.
    #[error("stopped after {}", format_span(*.0))]
    TimedOut(Duration),
    /// The agent held more memory than it may.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// The collector says why.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The collector's own code failed.
    #[error("the collector failed unexpectedly")]
    Panicked,
    /// The report breaks a limit of its form.
    #[error("the report is out of bounds: {0}")]
    OutOfBounds(String),
}

/// A subsystem and what is remembered between its runs.
pub(super) struct Station {
    collector: Box<dyn Collector>,
    schedule: Mutex<Schedule>,
    /// Told when the schedule changed.
    pub(super) changed: Notify,
    breaker: Mutex<Breaker>,
    /// Held by the run that is under way.
    turn: tokio::sync::Mutex<()>,
}

impl Station {
    pub(super) fn new(collector: Box<dyn Collector>, schedule: Schedule) -> Self {
        Self {
            collector,
            schedule: Mutex::new(schedule),
            changed: Notify::new(),
            breaker: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// When it runs, as it stands now.
    pub(super) fn schedule(&self) -> Schedule {
        *self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it runs by this schedule. A run that is under way goes on.
    pub(super) fn reschedule(&self, schedule: Schedule) {
        *self.schedule.lock().unwrap_or_else(PoisonError::into_inner) = schedule;
        self.changed.notify_one();
    }

    /// Whether the breaker lets a scheduled run through.
    pub(super) fn admits(&self, since_boot: Duration) -> bool {
        self.step(|breaker| breaker.admit(since_boot))
    }

    /// Runs now, after the run that is under way. What came of it is for the server, and the
    /// report or the reason for the caller.
    pub(super) async fn run(
        &self,
        clock: &dyn Clock,
        bounds: &Bounds,
    ) -> (InventoryOutcome, Result<Vec<u8>, RunError>) {
        let _turn = self.turn.lock().await;
        let (captured_at, began) = (clock.now(), clock.since_boot());
        let result = self.collect(bounds).await;
        let ended = clock.since_boot();
        let breaker = self.step(|breaker| {
            let next = match &result {
                Ok(_) => breaker.succeeded(),
                Err(_) => breaker.failed(ended),
            };
            let name = next.as_str();
            (next, name)
        });
        let outcome = InventoryOutcome {
            subsystem: self.collector.subsystem(),
            captured_at,
            took: ended.saturating_sub(began),
            report: result.as_ref().map(Clone::clone).map_err(told),
            breaker,
        };
        (outcome, result)
    }

    async fn collect(&self, bounds: &Bounds) -> Result<Vec<u8>, RunError> {
        let timeout = self.schedule().timeout;
        let collect = AssertUnwindSafe(async { self.collector.collect().await }).catch_unwind();
        let collected = tokio::select! {
            biased;
            exceeded = bounds.exceeded() => return Err(exceeded.into()),
            collected = tokio::time::timeout(timeout, collect) => collected,
        };
        let report = collected
            .map_err(|_elapsed| RunError::TimedOut(timeout))?
            .map_err(|_panic| RunError::Panicked)??;
        report.check().map_err(|error| RunError::OutOfBounds(error.to_string()))?;
        let json = serde_json::to_vec(&report)
            .map_err(|error| RunError::OutOfBounds(error.to_string()))?;
        if json.len() > PAYLOAD_BYTES_MAX {
            let error = format!("larger than {PAYLOAD_BYTES_MAX} bytes");
            return Err(RunError::OutOfBounds(error));
        }
        Ok(json)
    }

    fn step<T>(&self, step: impl FnOnce(Breaker) -> (Breaker, T)) -> T {
        // A breaker that a panic took away starts closed.
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, answer) = step(std::mem::take(&mut *breaker));
        *breaker = next;
        answer
    }
}

/// An error and its causes in one line, as the server learns it.
pub(super) fn told(error: &RunError) -> String {
    clip(&with_causes(error), ERROR_TEXT_CHARS_MAX)
}
