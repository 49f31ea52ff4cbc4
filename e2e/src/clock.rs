//! A clock that tests move.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use argosy_domain::time::{Clock, Timestamp};

/// Stands still until it is moved.
#[derive(Debug, Clone)]
pub struct ManualClock {
    micros: Arc<AtomicI64>,
}

impl Default for ManualClock {
    fn default() -> Self {
        let start: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
        Self { micros: Arc::new(AtomicI64::new(start.as_micros())) }
    }
}

impl ManualClock {
    /// Moves back, as an administrator or a time server does. The time since boot goes on meanwhile in
    /// a real host; here nobody asks for it.
    pub fn set_back(&self, span: Duration) {
        let micros = i64::try_from(span.as_micros()).unwrap();
        self.micros.fetch_sub(micros, Ordering::SeqCst);
    }

    /// Moves forward.
    pub fn advance(&self, span: Duration) {
        let micros = i64::try_from(span.as_micros()).unwrap();
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst))
    }

    fn since_boot(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.micros.load(Ordering::SeqCst)).unwrap())
    }
}
