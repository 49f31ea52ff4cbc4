//! Telemetry and events: what agents measured and what they tell of, taken in and looked up.
//!
//! *Invariant:* a batch and the memory that it was here are one transaction, so it counts once
//! however often it is sent; nothing an agent says is dated later than the server received it.

use std::{collections::BTreeMap, time::Duration};

use argosy_domain::{
    access::{Caller, Permission},
    id::{AgentId, BatchId, EventId, OrgId},
    limits::{
        BATCHES_REMEMBERED, EVENT_MESSAGE_CHARS_MAX, EVENTS_BATCH_MAX, EVENTS_KEPT,
        EVENTS_KEPT_MAX, NAME_CHARS_MAX, PURGE_ROWS_MAX, TELEMETRY_POINTS_MAX,
        TELEMETRY_SERIES_KEPT, TELEMETRY_SERIES_MAX, TELEMETRY_VALUE_MAX, TELEMETRY_VALUES_MAX,
    },
    telemetry::{MetricName, Resolution, Sample, Severity},
    time::{Timestamp, parse_span},
};
use argosy_store::{AgentEventFilter, AgentEventRow, BucketRow, SeriesRow, Tx};
use argosy_wire::problem::Code;

use super::{
    App,
    error::{AppError, AppResult},
    heartbeat::still_approved,
    paging::{AppPage, PageQuery},
};

/// Without `since` the history of a metric begins this long ago.
const SINCE_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Transactions of one sweep that forget telemetry.
const PURGE_ROUNDS_MAX: u32 = 100;
/// Longest kind of an event.
const KIND_CHARS_MAX: usize = 64;

/// Values that an agent measured together, as they arrived.
#[derive(Debug, Clone)]
pub struct TelemetryBatch {
    /// As the agent numbers it.
    pub id: BatchId,
    /// By the agent's clock.
    pub captured_at: Timestamp,
    /// Metric, label, value.
    pub values: Vec<(String, String, f64)>,
}

/// Events that an agent delivers together, as they arrived.
#[derive(Debug, Clone)]
pub struct EventBatch {
    /// As the agent numbers it.
    pub id: BatchId,
    /// What happened.
    pub events: Vec<IncomingEvent>,
}

/// One event as it arrived.
#[derive(Debug, Clone)]
pub struct IncomingEvent {
    /// As the agent numbers it.
    pub id: EventId,
    /// By the agent's clock.
    pub at: Timestamp,
    /// Such as `breaker.opened`.
    pub kind: String,
    /// The name of a [`Severity`].
    pub severity: String,
    /// What happened, in words.
    pub message: String,
}

/// What is asked about an agent's telemetry.
#[derive(Debug, Clone, Default)]
pub struct TelemetryQuery {
    /// One metric's history; without it the newest value of every series.
    pub metric: Option<String>,
    /// A time, or a span before now such as `24h`.
    pub since: Option<String>,
    /// `5m`, `1h` or `1d`; without it what fits `since`.
    pub step: Option<String>,
}

/// The answer to a [`TelemetryQuery`].
#[derive(Debug, Clone, PartialEq)]
pub enum TelemetryView {
    /// The newest value of every series.
    Latest(Vec<SeriesRow>),
    /// The history of one metric, by label.
    History {
        /// Which one.
        metric: MetricName,
        /// In what steps.
        resolution: Resolution,
        /// Oldest first.
        series: BTreeMap<String, Vec<BucketRow>>,
        /// Whether newer buckets were left out.
        truncated: bool,
    },
}

/// Which events are asked for.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this severity.
    pub severity: Option<String>,
    /// A time, or a span before now such as `24h`.
    pub since: Option<String>,
}

fn samples(batch: TelemetryBatch, now: Timestamp) -> AppResult<Vec<Sample>> {
    if batch.values.len() > TELEMETRY_VALUES_MAX {
        let detail = format!("a batch holds at most {TELEMETRY_VALUES_MAX} values");
        return Err(AppError::because(Code::TooLarge, detail));
    }
    if batch.values.is_empty() {
        return Err(AppError::field("measurements", "is empty"));
    }
    let at = batch.captured_at.min(now);
    let sample = |(metric, label, value): (String, String, f64)| {
        let metric = MetricName::parse(&metric)
            .map_err(|error| AppError::field("measurements.metric", error))?;
        if label.chars().count() > NAME_CHARS_MAX {
            let problem = format!("is at most {NAME_CHARS_MAX} characters");
            return Err(AppError::field("measurements.label", problem));
        }
        if !value.is_finite() || value.abs() > TELEMETRY_VALUE_MAX {
            let problem = format!("must be between -{TELEMETRY_VALUE_MAX:e} and its opposite");
            return Err(AppError::field("measurements.value", problem));
        }
        Ok(Sample { metric, label, at, value })
    };
    batch.values.into_iter().map(sample).collect()
}

fn is_kind(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
    text.len() <= KIND_CHARS_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(allowed)
}

fn severity(field: &'static str, text: &str) -> AppResult<Severity> {
    let problem = || AppError::field(field, "must be info, warning or error");
    Severity::parse(text).ok_or_else(problem)
}

fn events(agent: &AgentId, batch: EventBatch, now: Timestamp) -> AppResult<Vec<AgentEventRow>> {
    if batch.events.len() > EVENTS_BATCH_MAX {
        let detail = format!("a batch holds at most {EVENTS_BATCH_MAX} events");
        return Err(AppError::because(Code::TooLarge, detail));
    }
    if batch.events.is_empty() {
        return Err(AppError::field("events", "is empty"));
    }
    let event = |event: IncomingEvent| {
        if !is_kind(&event.kind) {
            let problem = "must be 1 to 64 of a-z, 0-9, _ and dots, beginning with a letter";
            return Err(AppError::field("events.kind", problem));
        }
        if !(1..=EVENT_MESSAGE_CHARS_MAX).contains(&event.message.chars().count()) {
            let problem = format!("must be 1 to {EVENT_MESSAGE_CHARS_MAX} characters");
            return Err(AppError::field("events.message", problem));
        }
        Ok(AgentEventRow {
            severity: severity("events.severity", &event.severity)?,
            id: event.id,
            agent: agent.clone(),
            kind: event.kind,
            message: event.message,
            // An agent whose clock runs ahead must not stay on top of every list.
            at: event.at.min(now),
            received_at: now,
        })
    };
    batch.events.into_iter().map(event).collect()
}

/// What every batch begins with: its agent may still deliver, was seen, and has not delivered this
/// one.
async fn begin_batch(
    tx: &mut Tx,
    (org, agent): (&OrgId, &AgentId),
    id: &BatchId,
    now: Timestamp,
) -> AppResult<bool> {
    still_approved(tx, agent).await?;
    tx.presence().touch_many(&[(agent.clone(), now)]).await?;
    Ok(tx.uploads().remember(org, agent, id, now).await?)
}

impl App {
    /// Takes a batch of measured values. Answers once it is durable: whether it was new.
    pub async fn take_telemetry(&self, caller: &Caller, batch: TelemetryBatch) -> AppResult<bool> {
        let (org, agent) = self.approved_agent(caller)?;
        let (id, now) = (batch.id.clone(), self.now());
        let mut samples = samples(batch, now)?;
        samples.retain(|sample| now.since(sample.at) < Resolution::Day.kept());
        let mut tx = self.store().write("telemetry.put").await?;
        let new = begin_batch(&mut tx, (org, agent), &id, now).await?;
        if new && !samples.is_empty() {
            tx.telemetry().add(org, agent, &samples, TELEMETRY_SERIES_MAX, now).await?;
        }
        tx.commit().await?;
        Ok(new)
    }

    /// Takes a batch of events. Answers once it is durable: whether it was new.
    pub async fn take_events(&self, caller: &Caller, batch: EventBatch) -> AppResult<bool> {
        let (org, agent) = self.approved_agent(caller)?;
        let (id, now) = (batch.id.clone(), self.now());
        let events = events(agent, batch, now)?;
        let mut tx = self.store().write("events.put").await?;
        let new = begin_batch(&mut tx, (org, agent), &id, now).await?;
        if new {
            tx.agent_events().add(org, agent, &events, EVENTS_KEPT_MAX).await?;
        }
        tx.commit().await?;
        Ok(new)
    }

    /// An agent's measured values.
    pub async fn show_telemetry(
        &self,
        caller: &Caller,
        id: &AgentId,
        query: &TelemetryQuery,
    ) -> AppResult<TelemetryView> {
        let org = Self::own_org(caller, Permission::InventoryRead)?;
        let now = self.now();
        let since = self.since(query.since.as_deref())?.unwrap_or(now.minus(SINCE_DEFAULT));
        let resolution = match &query.step {
            None => Resolution::reaching(now.since(since)),
            Some(text) => step(text)?,
        };
        let metric = query.metric.as_deref().map(MetricName::parse).transpose();
        let metric = metric.map_err(|error| AppError::field("metric", error))?;
        let mut reader = self.store().read("telemetry.show").await?;
        if reader.agents().get(org, id).await?.is_none() {
            return Err(AppError::not_found("agent"));
        }
        let Some(metric) = metric else {
            return Ok(TelemetryView::Latest(reader.telemetry().series(org, id).await?));
        };
        let span = (resolution.bucket(since), now);
        let limit = u32::try_from(TELEMETRY_POINTS_MAX + 1).unwrap_or(u32::MAX);
        let mut buckets =
            reader.telemetry().buckets(org, id, &metric, resolution, span, limit).await?;
        let truncated = buckets.len() > TELEMETRY_POINTS_MAX;
        buckets.truncate(TELEMETRY_POINTS_MAX);
        let mut series: BTreeMap<String, Vec<BucketRow>> = BTreeMap::new();
        for bucket in buckets {
            series.entry(bucket.label.clone()).or_default().push(bucket);
        }
        Ok(TelemetryView::History { metric, resolution, series, truncated })
    }

    /// An agent's events, newest first.
    pub async fn list_agent_events(
        &self,
        caller: &Caller,
        id: &AgentId,
        query: &EventQuery,
        paging: &PageQuery,
    ) -> AppResult<AppPage<AgentEventRow>> {
        let org = Self::own_org(caller, Permission::InventoryRead)?;
        let filter = AgentEventFilter {
            agent: Some(id.clone()),
            kind: query.kind.clone(),
            severity: query.severity.as_deref().map(|s| severity("severity", s)).transpose()?,
            since: self.since(query.since.as_deref())?,
        };
        let page = paging.request()?;
        let mut reader = self.store().read("events.list").await?;
        if reader.agents().get(org, id).await?.is_none() {
            return Err(AppError::not_found("agent"));
        }
        Ok(reader.agent_events().list(org, &filter, &page).await?)
    }

    /// Forgets telemetry, events and batches that are too old. Returns how many rows.
    pub async fn purge_reports(&self) -> AppResult<u64> {
        let (now, mut gone) = (self.now(), 0);
        // Others write in between.
        for _ in 0..PURGE_ROUNDS_MAX {
            let mut tx = self.store().write("purge.telemetry").await?;
            let buckets = tx.telemetry().purge(now, PURGE_ROWS_MAX).await?;
            tx.commit().await?;
            gone += buckets;
            if buckets < PURGE_ROWS_MAX.into() {
                break;
            }
        }
        let mut tx = self.store().write("purge.reports").await?;
        gone += tx.telemetry().forget_series(now.minus(TELEMETRY_SERIES_KEPT)).await?;
        gone += tx.agent_events().purge(now.minus(EVENTS_KEPT)).await?;
        gone += tx.uploads().purge(now.minus(BATCHES_REMEMBERED)).await?;
        tx.commit().await?;
        Ok(gone)
    }

    fn since(&self, text: Option<&str>) -> AppResult<Option<Timestamp>> {
        let Some(text) = text else { return Ok(None) };
        let span = parse_span(text).map(|span| self.now().minus(span));
        let problem = "must be a time such as 2026-01-31T08:00:00Z, or a span such as 24h";
        span.or_else(|_| text.parse()).map(Some).map_err(|_| AppError::field("since", problem))
    }
}

fn step(text: &str) -> AppResult<Resolution> {
    let seconds = parse_span(text).ok().and_then(|span| u32::try_from(span.as_secs()).ok());
    let resolution = seconds.and_then(Resolution::of_seconds);
    resolution.ok_or_else(|| AppError::field("step", "must be 5m, 1h or 1d"))
}
