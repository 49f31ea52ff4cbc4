//! The courier: brings what waits in the spool to the server.
//!
//! *Invariant:* an entry leaves the spool only after the server has said that it is durable, and
//! carries the same batch id each time it is sent; so it counts once, whatever breaks in between.

use std::sync::Arc;

use argosy_domain::limits::UPLOAD_BATCHES_MAX;
use argosy_wire::rpc::gateway::{
    AGENT_GATEWAY_SERVICE_UPLOAD_EVENTS_SPEC as UPLOAD_EVENTS,
    AGENT_GATEWAY_SERVICE_UPLOAD_TELEMETRY_SPEC as UPLOAD_TELEMETRY, AgentEvent, Measurement,
    UploadEventsRequest, UploadTelemetryRequest,
};
use connectrpc::client::stream_iter;
use futures::FutureExt as _;

use crate::{
    backoff::Backoff,
    blocking::blocking,
    journal::JournalError,
    spool::{Entry, Kind, Load, Measured, Spool, Told},
    status::StatusBoard,
    transport::{CallError, Session},
    upload::Way,
};

/// Batches that go together in one call at most.
const TOGETHER_MAX: usize = UPLOAD_BATCHES_MAX as usize;

/// Brings entries to the server.
pub struct Courier {
    /// How the server is reached.
    pub way: Way,
    /// Where they wait.
    pub spool: Arc<Spool>,
    /// Shows what waits on the host itself.
    pub board: Arc<StatusBoard>,
}

/// Why a delivery stopped.
enum Stopped {
    Server(CallError),
    Disk(JournalError),
}

impl From<CallError> for Stopped {
    fn from(error: CallError) -> Self {
        Self::Server(error)
    }
}

impl From<JournalError> for Stopped {
    fn from(error: JournalError) -> Self {
        Self::Disk(error)
    }
}

impl Courier {
    /// Delivers what waits, until the journal's disk fails.
    pub async fn keep(&self) -> Result<(), JournalError> {
        let mut backoff = Backoff::new(Arc::clone(&self.way.deps.entropy));
        let mut together = TOGETHER_MAX;
        loop {
            self.spool.filled().await;
            let session = self.way.sessions.wait().await;
            let delivered = self.deliver(&session, &mut together).await;
            self.board.touch();
            let delay = match delivered {
                Ok(()) => {
                    backoff.reset();
                    continue;
                }
                Err(Stopped::Server(error)) => {
                    self.way.pause_after("telemetry and events", &error, &session, &mut backoff)
                }
                Err(Stopped::Disk(error)) if error.is_of_the_disk() => return Err(error),
                Err(Stopped::Disk(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the spool cannot be used");
                    backoff.next_delay()
                }
            };
            tokio::time::sleep(delay).await;
        }
    }

    /// Delivers until nothing waits: events first, because they matter more. As many batches go
    /// `together` as the way and the server have lately managed in one call: half as many after
    /// each call that failed, twice as many after each that did not.
    async fn deliver(&self, session: &Session, together: &mut usize) -> Result<(), Stopped> {
        let now = self.way.deps.clock.now();
        self.on_disk(move |spool| spool.tell_losses(now)).await?;
        for kind in [Kind::Events, Kind::Telemetry] {
            loop {
                let at_most = *together;
                let entries = self.on_disk(move |spool| spool.oldest(kind, at_most)).await?;
                if entries.is_empty() {
                    break;
                }
                let keys: Vec<u64> = entries.iter().map(|(key, _)| *key).collect();
                let entries = entries.into_iter().map(|(_, entry)| entry).collect();
                match self.send(session, kind, entries).await {
                    Ok(()) => {
                        self.on_disk(move |spool| spool.delivered(&keys)).await?;
                        *together = (*together * 2).min(TOGETHER_MAX);
                    }
                    // One of them is at fault: each goes alone, until it is found.
                    Err(error) if error.is_final() && keys.len() > 1 => *together = 1,
                    Err(error) if error.is_final() => {
                        tracing::error!(error = %error, "a batch was refused and is given up");
                        self.on_disk(move |spool| spool.give_up(&keys)).await?;
                    }
                    Err(error) => {
                        *together = (keys.len() / 2).max(1);
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends entries of one kind in one call; they are durable when this returns.
    async fn send(
        &self,
        session: &Session,
        kind: Kind,
        entries: Vec<Entry>,
    ) -> Result<(), CallError> {
        let (link, prover) = (&self.way.link, &self.way.prover);
        match kind {
            Kind::Telemetry => {
                let send = |options| {
                    let batches: Vec<_> = entries.iter().filter_map(telemetry).collect();
                    async move {
                        let batches = stream_iter(batches);
                        link.rpc().upload_telemetry_with_options(batches, options).await
                    }
                    .boxed()
                };
                prover.call(link, UPLOAD_TELEMETRY, session, send).await?;
            }
            Kind::Events => {
                let send = |options| {
                    let batches: Vec<_> = entries.iter().filter_map(events).collect();
                    async move {
                        let batches = stream_iter(batches);
                        link.rpc().upload_events_with_options(batches, options).await
                    }
                    .boxed()
                };
                prover.call(link, UPLOAD_EVENTS, session, send).await?;
            }
        }
        tracing::debug!(count = entries.len(), ?kind, "delivered");
        Ok(())
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Spool) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, Stopped> {
        Ok(blocking(&self.spool, work).await?)
    }
}

/// The contract's shape of a batch of values.
fn telemetry(entry: &Entry) -> Option<UploadTelemetryRequest> {
    let Load::Telemetry(values) = &entry.load else { return None };
    let measurement = |value: &Measured| Measurement {
        metric: value.metric.clone(),
        label: value.label.clone(),
        value: value.value,
        ..Default::default()
    };
    Some(UploadTelemetryRequest {
        batch_id: entry.batch.to_string(),
        captured_at: entry.captured_at.to_string(),
        measurements: values.iter().map(measurement).collect(),
        ..Default::default()
    })
}

/// The contract's shape of a batch of events.
fn events(entry: &Entry) -> Option<UploadEventsRequest> {
    let Load::Events(events) = &entry.load else { return None };
    let event = |told: &Told| AgentEvent {
        event_id: told.id.to_string(),
        at: told.at.to_string(),
        kind: told.kind.clone(),
        severity: told.severity.clone(),
        message: told.message.clone(),
        ..Default::default()
    };
    Some(UploadEventsRequest {
        batch_id: entry.batch.to_string(),
        captured_at: entry.captured_at.to_string(),
        events: events.iter().map(event).collect(),
        ..Default::default()
    })
}
