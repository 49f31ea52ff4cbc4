//! The tasks of a running agent, kept apart: one that panics is logged and started again, and none
//! takes another with it.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use argosy_domain::{entropy::Entropy, telemetry::Severity};
use futures::FutureExt as _;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{backoff::Backoff, error::AgentError, recorder::Recorder};

/// How long tasks may take to leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What becomes of a task that panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterPanic {
    /// It is started again.
    Restart,
    /// The agent ends: what the task keeps in memory cannot be trusted.
    End,
}

/// The tasks.
pub struct Crew {
    tasks: JoinSet<Result<(), AgentError>>,
    stop: CancellationToken,
    entropy: Arc<dyn Entropy>,
    recorder: Recorder,
}

impl Crew {
    /// No tasks yet; they are told to leave by `stop`.
    /// What goes wrong with them is told to `recorder`.
    pub fn new(stop: CancellationToken, entropy: Arc<dyn Entropy>, recorder: Recorder) -> Self {
        Self { tasks: JoinSet::new(), stop, entropy, recorder }
    }

    /// Starts a task. `make` begins its work, again after a panic. Work that does not leave by
    /// itself when the crew is told to stop is dropped a moment later.
    pub fn start<F, W>(&mut self, name: &'static str, after_panic: AfterPanic, make: F)
    where
        F: Fn() -> W + Send + 'static,
        W: Future<Output = Result<(), AgentError>> + Send,
    {
        let mut backoff = Backoff::new(Arc::clone(&self.entropy));
        let recorder = self.recorder.clone();
        self.tasks.spawn(async move {
            loop {
                match AssertUnwindSafe(make()).catch_unwind().await {
                    Ok(ended) => return ended,
                    Err(_) if after_panic == AfterPanic::End => {
                        return Err(AgentError::Crashed(name));
                    }
                    Err(_) => {
                        let delay = backoff.next_delay();
                        let message = format!("the task {name} panicked and is started again");
                        recorder.event("task.panicked", Severity::Error, &message);
                        tracing::error!(
                            task = name,
                            retry_in_ms = delay.as_millis(),
                            "a task panicked"
                        );
                        tokio::time::sleep(delay).await;
                    }
                }
            }
        });
    }

    /// Starts a task that works with `part` for ever: until it fails, until the crew is told to stop,
    /// and again after a panic.
    pub fn keep<P, W>(
        &mut self,
        name: &'static str,
        part: P,
        work: impl Fn(Arc<P>) -> W + Send + 'static,
    ) where
        P: Send + Sync + 'static,
        W: Future<Output = Result<(), AgentError>> + Send,
    {
        let (part, stop) = (Arc::new(part), self.stop.clone());
        self.start(name, AfterPanic::Restart, move || {
            let (work, stop) = (work(Arc::clone(&part)), stop.clone());
            async move { stop.run_until_cancelled(work).await.unwrap_or(Ok(())) }
        });
    }

    /// Waits until a task fails, or until the crew is told to stop. Then all leave.
    pub async fn wait(mut self) -> Result<(), AgentError> {
        let outcome = loop {
            tokio::select! {
                () = self.stop.cancelled() => break Ok(()),
                ended = self.tasks.join_next() => match ended {
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(error))) => break Err(error),
                    // Panics are caught inside; this one was cancelled with the runtime.
                    Some(Err(_)) => {}
                    None => break Ok(()),
                },
            }
        };
        self.stop.cancel();
        let leaving = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(LEAVE_TIMEOUT, leaving).await.is_err() {
            tracing::debug!("some tasks did not leave by themselves");
        }
        self.tasks.shutdown().await;
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_config::host::OsEntropy;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again_and_disturbs_nobody() {
        let stop = CancellationToken::new();
        let mut crew = Crew::new(stop.clone(), Arc::new(OsEntropy), Recorder::new().0);
        let starts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&starts);
        crew.start("unlucky", AfterPanic::Restart, move || {
            let (counted, stop) = (Arc::clone(&counted), stop.clone());
            async move {
                assert!(counted.fetch_add(1, Ordering::SeqCst) >= 2, "unlucky");
                stop.cancel();
                Ok(())
            }
        });
        assert!(crew.wait().await.is_ok());
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_ends_all() {
        let stop = CancellationToken::new();
        let mut crew = Crew::new(stop.clone(), Arc::new(OsEntropy), Recorder::new().0);
        crew.start("patient", AfterPanic::Restart, std::future::pending);
        crew.start("broken", AfterPanic::End, || async { panic!("broken") });
        let error = crew.wait().await.unwrap_err();
        assert!(matches!(error, AgentError::Crashed("broken")), "{error}");
        assert!(stop.is_cancelled());
    }
}
