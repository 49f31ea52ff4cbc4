//! Inventory: what the subsystems found goes to the server, and waits while there is none.
//!
//! *Invariant:* a report is forgotten only when the server has it durably or a later one of the
//! same subsystem has taken its place.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use argosy_domain::{
    limits::{ERROR_TEXT_CHARS_MAX, PAYLOAD_BYTES_MAX},
    subsystem::Subsystem,
    text::clip,
};
use argosy_wire::{
    problem::Code,
    rpc::gateway::{AGENT_GATEWAY_SERVICE_UPLOAD_INVENTORY_SPEC, UploadInventoryRequest},
};
use connectrpc::client::stream_iter;
use futures::FutureExt as _;

use crate::{
    backoff::Backoff,
    deps::Deps,
    scheduler::{InventoryOutcome, Mailbox},
    session::Sessions,
    status::StatusBoard,
    transport::{CallError, Link, Prover, Session},
};

/// Between two attempts while the server hands nothing out and takes nothing.
const QUARANTINE_PAUSE: Duration = Duration::from_secs(60);

/// How uploads reach the server. Clones share one.
#[derive(Clone)]
pub struct Way {
    /// The way to the server.
    pub link: Link,
    /// Makes proofs.
    pub prover: Arc<Prover>,
    /// Sessions to upload under.
    pub sessions: Arc<Sessions>,
    /// Time and randomness.
    pub deps: Deps,
}

impl Way {
    /// How long to wait after an upload that failed. `what` was not taken, and is kept.
    pub fn pause_after(
        &self,
        what: &'static str,
        error: &CallError,
        session: &Session,
        backoff: &mut Backoff,
    ) -> Duration {
        tracing::warn!(error = %error, what, "an upload was not taken; it is kept");
        match error.code() {
            Some(Code::InvalidSession | Code::InvalidProof | Code::Unauthenticated) => {
                self.sessions.refuse(session);
                backoff.next_delay()
            }
            Some(Code::Quarantined) => QUARANTINE_PAUSE,
            Some(_) | None => backoff.next_delay_after(error.retry_after()),
        }
    }
}

/// What uploads of inventory work with.
pub struct Uploader {
    /// How the server is reached.
    pub way: Way,
    /// Where outcomes wait.
    pub mailbox: Mailbox,
    /// Shows the outcomes on the host itself.
    pub board: Arc<StatusBoard>,
}

impl Uploader {
    /// Sends what waits, for ever.
    pub async fn keep(&self) {
        let mut backoff = Backoff::new(Arc::clone(&self.way.deps.entropy));
        loop {
            let (mut outcomes, session) = self.next().await;
            while let Some(outcome) = outcomes.pop() {
                match self.upload(&session, &outcome).await {
                    Ok(()) => backoff.reset(),
                    Err(error) if error.is_final() => {
                        let subsystem = outcome.subsystem.as_str();
                        tracing::error!(error = %error, subsystem, "a report was refused and is given up");
                    }
                    Err(error) => {
                        outcomes.push(outcome);
                        self.mailbox.put_back(std::mem::take(&mut outcomes));
                        let delay =
                            self.way.pause_after("inventory", &error, &session, &mut backoff);
                        tokio::time::sleep(delay).await;
                    }
                }
            }
        }
    }

    /// Waits for something to send and a session to send it under. What is replaced meanwhile is
    /// not sent.
    async fn next(&self) -> (Vec<InventoryOutcome>, Session) {
        let mut latest: BTreeMap<Subsystem, InventoryOutcome> = BTreeMap::new();
        loop {
            let taken = tokio::select! {
                taken = self.mailbox.take() => taken,
                session = self.way.sessions.wait(), if !latest.is_empty() => {
                    return (latest.into_values().collect(), session);
                }
            };
            self.board.outcomes(&taken);
            latest.extend(taken.into_iter().map(|outcome| (outcome.subsystem, outcome)));
        }
    }

    /// One report in one call; it is durable when this returns.
    async fn upload(&self, session: &Session, outcome: &InventoryOutcome) -> Result<(), CallError> {
        let rpc = AGENT_GATEWAY_SERVICE_UPLOAD_INVENTORY_SPEC;
        let link = &self.way.link;
        let send = |options| {
            let reports = stream_iter([report(outcome)]);
            async move { link.rpc().upload_inventory_with_options(reports, options).await }.boxed()
        };
        self.way.prover.call(link, rpc, session, send).await?;
        tracing::debug!(subsystem = outcome.subsystem.as_str(), "inventory uploaded");
        Ok(())
    }
}

/// The contract's shape of an outcome.
fn report(outcome: &InventoryOutcome) -> UploadInventoryRequest {
    let (report, error) = match &outcome.report {
        Ok(report) if report.len() <= PAYLOAD_BYTES_MAX => (report.clone(), String::new()),
        Ok(_) => (Vec::new(), format!("the report is larger than {PAYLOAD_BYTES_MAX} bytes")),
        Err(error) => (Vec::new(), clip(error, ERROR_TEXT_CHARS_MAX)),
    };
    UploadInventoryRequest {
        subsystem: outcome.subsystem.as_str().to_owned(),
        captured_at: outcome.captured_at.to_string(),
        duration_ms: u32::try_from(outcome.took.as_millis()).unwrap_or(u32::MAX),
        report,
        error,
        breaker: outcome.breaker.to_owned(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_domain::time::Timestamp;

    #[test]
    fn an_outcome_is_a_report_or_a_reason() {
        let outcome = |report| InventoryOutcome {
            subsystem: Subsystem::System,
            captured_at: Timestamp::from_seconds(1),
            took: Duration::from_millis(20),
            report,
            breaker: "closed",
        };
        let good = report(&outcome(Ok(b"{}".to_vec())));
        assert_eq!((good.report.as_slice(), good.error.as_str()), (&b"{}"[..], ""));
        assert_eq!((good.duration_ms, good.subsystem.as_str()), (20, "system"));
        let failed = report(&outcome(Err("no such tool".into())));
        assert_eq!((failed.report.len(), failed.error.as_str()), (0, "no such tool"));
        let huge = report(&outcome(Ok(vec![0; PAYLOAD_BYTES_MAX + 1])));
        assert!(huge.report.is_empty() && huge.error.contains("larger"), "{}", huge.error);
    }
}
