//! Uploads: what agents deliver in streams of messages, each durable before the next is read.

use std::time::Duration;

use argosy_domain::{
    access::Caller,
    limits::{PAYLOAD_BYTES_MAX, UPLOAD_BATCHES_MAX},
};
use argosy_wire::{
    problem::Code,
    rest::discovery::Ingest,
    rpc::gateway::{
        AgentEvent, UploadEventsRequest, UploadInventoryRequest, UploadInventoryResponse,
        UploadTelemetryRequest,
    },
};
use connectrpc::ConnectError;
use futures::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::{convert, status};
use crate::app::{
    App,
    discovery::Delivery,
    error::{AppError, AppResult},
    json::parse_json,
    telemetry::{EventBatch, IncomingEvent, TelemetryBatch},
};

/// How long one upload may take.
const UPLOAD_WITHIN: Duration = Duration::from_secs(120);
/// How long an upload may pause between two messages.
const UPLOAD_PAUSE_MAX: Duration = Duration::from_secs(30);

/// An upload that is being read, and what came of it so far.
pub(super) struct Upload<S> {
    messages: S,
    ends_at: Instant,
    /// Messages that were new.
    pub(super) accepted: u32,
    /// Messages that were known.
    pub(super) duplicates: u32,
}

impl<S, M> Upload<S>
where
    S: Stream<Item = Result<M, ConnectError>> + Unpin,
{
    /// Begins to read.
    pub(super) fn new(messages: S) -> Self {
        let ends_at = Instant::now() + UPLOAD_WITHIN;
        Self { messages, ends_at, accepted: 0, duplicates: 0 }
    }

    /// The next message, until the upload ends.
    pub(super) async fn next(&mut self) -> AppResult<Option<M>> {
        let pause_ends_at = self.ends_at.min(Instant::now() + UPLOAD_PAUSE_MAX);
        let next = timeout_at(pause_ends_at, self.messages.next()).await;
        let Some(message) = next.map_err(|_| AppError::because(Code::Malformed, "too slow"))?
        else {
            return Ok(None);
        };
        if self.accepted + self.duplicates == UPLOAD_BATCHES_MAX {
            let detail = format!("at most {UPLOAD_BATCHES_MAX} messages in one upload");
            return Err(AppError::because(Code::TooLarge, detail));
        }
        message.map(Some).map_err(|error| status::unreadable(&error))
    }

    /// A message is durable; it was new, or known already.
    pub(super) fn count(&mut self, new: bool) {
        if new {
            self.accepted += 1;
        } else {
            self.duplicates += 1;
        }
    }
}

/// The subsystem whose reports are chunks of a sync job.
const DISCOVERY: &str = "discovery";

/// Whether a message is a chunk of a sync job, and no report.
pub(super) fn is_chunk(message: &UploadInventoryRequest) -> bool {
    message.subsystem == DISCOVERY
}

/// The chunks of an upload, and what came of them.
#[derive(Default)]
pub(super) struct Chunks {
    /// The job that one of them began and none ended yet.
    open: Option<String>,
    told: UploadInventoryResponse,
}

impl Chunks {
    /// Takes one in. Answers once it is durable.
    pub(super) async fn take(
        &mut self,
        app: &App,
        caller: &Caller,
        message: &UploadInventoryRequest,
    ) -> AppResult<()> {
        if message.report.len() > PAYLOAD_BYTES_MAX {
            return Err(AppError::because(Code::TooLarge, "a chunk is at most 1 MiB"));
        }
        if !message.error.is_empty() {
            let why = "must be empty: what failed stands in the report, as failures";
            return Err(AppError::field("error", why));
        }
        let mut delivery = Delivery::of_run(parse_json::<Ingest>(&message.report)?)?;
        if delivery.job.is_none() && delivery.chunk.is_some() {
            delivery.job.clone_from(&self.open);
        }
        let last = delivery.last;
        let outcome = app.ingest(caller, delivery).await?;
        self.told.sync_job_id = outcome.job.to_string();
        self.open = (!last).then(|| outcome.job.to_string());
        self.told.resources_found += outcome.counts.found();
        self.told.resources_created += outcome.counts.created;
        self.told.resources_updated += outcome.counts.updated;
        self.told.resources_deleted += outcome.stale;
        Ok(())
    }

    /// What is answered at the end.
    pub(super) fn answer(self, accepted_count: u32) -> UploadInventoryResponse {
        UploadInventoryResponse { accepted_count, ..self.told }
    }
}

/// A batch of measured values.
pub(super) fn telemetry(batch: UploadTelemetryRequest) -> AppResult<TelemetryBatch> {
    let values = batch.measurements.into_iter().map(|m| (m.metric, m.label, m.value));
    Ok(TelemetryBatch {
        id: convert::id("batch_id", &batch.batch_id)?,
        captured_at: convert::time("captured_at", &batch.captured_at)?,
        values: values.collect(),
    })
}

/// A batch of events.
pub(super) fn events(batch: UploadEventsRequest) -> AppResult<EventBatch> {
    convert::time("captured_at", &batch.captured_at)?;
    let event = |event: AgentEvent| {
        Ok(IncomingEvent {
            id: convert::id("events.event_id", &event.event_id)?,
            at: convert::time("events.at", &event.at)?,
            kind: event.kind,
            severity: event.severity,
            message: event.message,
        })
    };
    let events = batch.events.into_iter().map(event).collect::<AppResult<_>>()?;
    Ok(EventBatch { id: convert::id("batch_id", &batch.batch_id)?, events })
}
