//! The latest outcome of each subsystem, until somebody can send it.
//!
//! *Invariant:* one outcome for each subsystem at most, the latest: what waits is bounded however
//! long the server is away.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use argosy_domain::{subsystem::Subsystem, time::Timestamp};
use tokio::sync::Notify;

/// What came of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryOutcome {
    /// Whose run it was.
    pub subsystem: Subsystem,
    /// When it began, by the host's clock.
    pub captured_at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The report as JSON, or why there is none (at most 4,096 characters).
    pub report: Result<Vec<u8>, String>,
    /// State of the breaker after the run: `closed`, `open` or `half_open`.
    pub breaker: &'static str,
}

/// Where outcomes wait. Clones share one.
#[derive(Debug, Clone, Default)]
pub struct Mailbox {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    slots: Mutex<BTreeMap<Subsystem, InventoryOutcome>>,
    filled: Notify,
}

impl Mailbox {
    /// Takes everything that waits, and waits until there is something. Dropping the future loses
    /// nothing.
    pub async fn take(&self) -> Vec<InventoryOutcome> {
        loop {
            let filled = self.shared.filled.notified();
            let outcomes = std::mem::take(&mut *self.slots());
            if !outcomes.is_empty() {
                return outcomes.into_values().collect();
            }
            filled.await;
        }
    }

    /// Gives back what could not be sent, except where something later waits already.
    pub fn put_back(&self, outcomes: Vec<InventoryOutcome>) {
        let mut slots = self.slots();
        for outcome in outcomes {
            slots.entry(outcome.subsystem).or_insert(outcome);
        }
        drop(slots);
        self.shared.filled.notify_one();
    }

    /// Replaces what waits of this subsystem.
    pub(super) fn post(&self, outcome: InventoryOutcome) {
        self.slots().insert(outcome.subsystem, outcome);
        self.shared.filled.notify_one();
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<Subsystem, InventoryOutcome>> {
        // Every change is one insertion or one exchange: nothing can be half done.
        self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(subsystem: Subsystem, at: i64) -> InventoryOutcome {
        InventoryOutcome {
            subsystem,
            captured_at: Timestamp::from_seconds(at),
            took: Duration::ZERO,
            report: Ok(b"{}".to_vec()),
            breaker: "closed",
        }
    }

    #[tokio::test]
    async fn the_latest_of_each_subsystem_waits() {
        let mailbox = Mailbox::default();
        mailbox.post(outcome(Subsystem::System, 1));
        mailbox.post(outcome(Subsystem::Storage, 2));
        mailbox.post(outcome(Subsystem::System, 3));
        let taken = mailbox.take().await;
        assert_eq!(taken, [outcome(Subsystem::System, 3), outcome(Subsystem::Storage, 2)]);

        mailbox.post(outcome(Subsystem::System, 4));
        mailbox.put_back(taken);
        let taken = mailbox.take().await;
        assert_eq!(taken, [outcome(Subsystem::System, 4), outcome(Subsystem::Storage, 2)]);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let mailbox = Mailbox::default();
        let mut taking = Box::pin(mailbox.take());
        assert!(futures::poll!(&mut taking).is_pending());
        mailbox.post(outcome(Subsystem::Updates, 1));
        assert_eq!(taking.await.len(), 1);
    }
}
