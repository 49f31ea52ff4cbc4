//! Whether this server sees what other servers on the same database change.
//!
//! *Invariant:* a server that has not looked for [`BLIND_AFTER`] hands out nothing and lets nobody
//! in. It asks to look once more before it refuses, so that a moment without a processor is a delay
//! and no refusal. A server that has its database for itself always sees.

use std::time::Duration;

use argosy_wire::problem::Code;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use super::error::{AppError, AppResult};

/// How often the sequence of changes is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A server that could not look for this long is blind.
pub const BLIND_AFTER: Duration = Duration::from_millis(750);
/// How long a call waits for a blind server to see again before it is refused.
pub const SIGHT_WITHIN: Duration = Duration::from_secs(1);

/// When this server looked last.
pub struct Sight {
    shared: bool,
    looked: watch::Sender<Option<Instant>>,
    ask: Notify,
}

impl Sight {
    /// Of a server that shares its database, or has it for itself.
    pub fn new(shared: bool) -> Self {
        Self { shared, looked: watch::Sender::new(None), ask: Notify::new() }
    }

    /// Whether what this server knows of authorities is fresh enough to act on.
    pub fn is_clear(&self) -> bool {
        !self.shared || is_fresh(*self.looked.borrow())
    }

    /// For how long this server has been blind; none while it sees, and before it has looked for the first
    /// time.
    pub fn blind_for(&self) -> Option<Duration> {
        let since = self.looked.borrow().filter(|at| self.shared && !is_fresh(Some(*at)))?;
        Some(since.elapsed())
    }

    /// Lets through whoever comes while the server sees, refuses with 503 otherwise.
    pub async fn clear(&self) -> AppResult<()> {
        if self.is_clear() {
            return Ok(());
        }
        let mut looked = self.looked.subscribe();
        self.ask.notify_one();
        match timeout(SIGHT_WITHIN, looked.wait_for(|at| is_fresh(*at))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                let detail = "this server cannot see what others on its database change";
                let error = AppError::because(Code::Unavailable, detail);
                Err(AppError { retry_after_s: Some(1), ..error })
            }
        }
    }

    /// A look that began at `began` has succeeded, and what it found is applied.
    pub fn looked(&self, began: Instant) {
        self.looked.send_replace(Some(began));
    }

    /// There may be something to see.
    pub fn look_now(&self) {
        self.ask.notify_one();
    }

    /// Returns when a look is asked for.
    pub async fn asked(&self) {
        self.ask.notified().await;
    }
}

fn is_fresh(looked: Option<Instant>) -> bool {
    looked.is_some_and(|at| at.elapsed() < BLIND_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_cannot_look_refuses_and_sees_again_when_asked() {
        let alone = Sight::new(false);
        assert!(alone.is_clear() && alone.clear().await.is_ok() && alone.blind_for().is_none());
        let sight = Sight::new(true);
        let refused = sight.clear().await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_s), (Code::Unavailable, Some(1)));
        let long_ago = Instant::now().checked_sub(BLIND_AFTER).unwrap();
        sight.looked(long_ago);
        assert!(!sight.is_clear() && sight.blind_for() >= Some(BLIND_AFTER));
        let looking = async {
            sight.asked().await;
            sight.looked(Instant::now());
        };
        let (seen, ()) = tokio::join!(sight.clear(), looking);
        assert!(seen.is_ok(), "a look that was asked for lets it through");
        assert_eq!(sight.blind_for(), None);
    }
}
