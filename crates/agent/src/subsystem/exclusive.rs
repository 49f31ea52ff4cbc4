//! Blocking calls to the operating system, one at a time.
//!
//! *Invariant:* however often a collector is started and given up, it holds at most one thread. A
//! call that hangs (a dead network share) cannot be interrupted; it can only be kept from piling up.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::CollectError;

/// Lets one blocking call run at a time, also when the caller has long gone.
#[derive(Debug, Clone)]
pub(super) struct Exclusive(Arc<Semaphore>);

impl Default for Exclusive {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Exclusive {
    /// Runs `work` on a thread that may block, after whatever runs already. While that hangs, so
    /// does this; the caller's timeout ends the wait.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, CollectError> + Send + 'static,
    ) -> Result<T, CollectError> {
        let permit =
            Arc::clone(&self.0).acquire_owned().await.map_err(|_| CollectError::Stopped)?;
        tokio::task::spawn_blocking(move || {
            let _held_to_the_end = permit;
            work()
        })
        .await
        .map_err(|_| CollectError::Stopped)?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_is_not_joined_by_a_second_one() {
        let exclusive = Exclusive::default();
        let (release, hanging) = mpsc::channel::<()>();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let mut given_up = Box::pin(exclusive.run(move || {
            let _ = started.send(());
            let _ = hanging.recv();
            Ok(())
        }));
        assert!(futures::poll!(&mut given_up).is_pending());
        has_started.await.unwrap();
        drop(given_up);

        let mut second = Box::pin(exclusive.run(|| Ok("ran")));
        assert!(futures::poll!(&mut second).is_pending());
        drop(release);
        assert_eq!(second.await.unwrap(), "ran");
    }
}
