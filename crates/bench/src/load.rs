//! Clients under load: as fast as they are answered (a closed loop), or at a given rate whatever the
//! answers take (an open one), where latency counts from the moment at which a call was due.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Outcome;

/// The longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 120_000_000;
/// How long a client rests after a failure.
const REST: Duration = Duration::from_millis(10);

/// Somebody who makes one call after the other.
pub(crate) trait Client: Send + 'static {
    /// One call; returns when it is answered.
    fn once(&mut self) -> impl Future<Output = Outcome<()>> + Send;
}

/// What came of calls.
#[derive(Debug)]
pub(crate) struct Sample {
    latencies: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
    span: Duration,
}

impl Sample {
    /// Nothing yet.
    pub(crate) fn new() -> Outcome<Self> {
        let latencies = Histogram::new_with_max(LATENCY_MAX_US, 3)?;
        Ok(Self { latencies, errors: 0, first_error: None, span: Duration::ZERO })
    }

    /// A call was answered after `latency`.
    pub(crate) fn took(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX_US);
        self.latencies.saturating_record(micros);
    }

    /// A call failed.
    pub(crate) fn failed(&mut self, error: &str) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_owned());
    }

    /// Takes in another one of the same time.
    pub(crate) fn add(&mut self, other: &Self) -> Outcome<()> {
        self.latencies.add(&other.latencies)?;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        self.span = self.span.max(other.span);
        Ok(())
    }

    /// It was this long.
    pub(crate) fn lasted(&mut self, span: Duration) {
        self.span = span;
    }

    /// Calls that were answered well.
    pub(crate) fn operations(&self) -> u64 {
        self.latencies.len()
    }

    /// What the first of those said.
    pub(crate) fn first_error(&self) -> Option<&str> {
        self.first_error.as_deref()
    }

    /// Good answers in a second.
    pub(crate) fn per_second(&self) -> f64 {
        number(self.operations()) / self.span.as_secs_f64().max(f64::EPSILON)
    }

    /// A latency in milliseconds.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        number(self.latencies.value_at_quantile(quantile)) / 1_000.0
    }

    /// For the report.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "operations": self.operations(),
            "per_second": self.per_second(),
            "p50_ms": self.quantile_ms(0.5),
            "p99_ms": self.quantile_ms(0.99),
            "p99_9_ms": self.quantile_ms(0.999),
            "max_ms": number(self.latencies.max()) / 1_000.0,
            "errors": self.errors,
            "first_error": self.first_error,
        })
    }
}

/// A count as a number that is calculated with; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

/// When a client makes its calls.
#[derive(Debug, Clone, Copy)]
enum Pace {
    Closed,
    Open { first: Duration, every: Duration },
}

async fn drive<C: Client>(
    mut client: C,
    began: Instant,
    span: Duration,
    pace: Pace,
) -> Outcome<(C, Sample)> {
    let mut sample = Sample::new()?;
    let mut calls = 0_u32;
    loop {
        let due = match pace {
            Pace::Closed => began.elapsed(),
            Pace::Open { first, every } => first + every * calls,
        };
        if due >= span {
            break;
        }
        if let Pace::Open { .. } = pace {
            tokio::time::sleep_until((began + due).into()).await;
        }
        match client.once().await {
            Ok(()) => sample.took(began.elapsed().saturating_sub(due)),
            Err(error) => {
                sample.failed(&error.to_string());
                tokio::time::sleep(REST).await;
            }
        }
        calls += 1;
    }
    Ok((client, sample))
}

async fn run<C: Client>(
    clients: Vec<C>,
    span: Duration,
    pace: impl Fn(u32) -> Pace,
) -> Outcome<(Vec<C>, Sample)> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, client) in (0_u32..).zip(clients) {
        tasks.spawn(drive(client, began, span, pace(number)));
    }
    let (mut clients, mut total) = (Vec::new(), Sample::new()?);
    while let Some(ended) = tasks.join_next().await {
        let (client, sample) = ended??;
        total.add(&sample)?;
        clients.push(client);
    }
    total.lasted(began.elapsed());
    Ok((clients, total))
}

/// Each client calls again as soon as it is answered.
pub(crate) async fn closed<C: Client>(
    clients: Vec<C>,
    span: Duration,
) -> Outcome<(Vec<C>, Sample)> {
    run(clients, span, |_| Pace::Closed).await
}

/// All clients together make `per_second` calls, evenly spread, however long answers take.
pub(crate) async fn open<C: Client>(
    clients: Vec<C>,
    span: Duration,
    per_second: f64,
) -> Outcome<(Vec<C>, Sample)> {
    let count = u32::try_from(clients.len())?.max(1);
    let gap = Duration::from_secs_f64(1.0 / per_second.max(0.001));
    run(clients, span, |number| Pace::Open { first: gap * number, every: gap * count }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Slow(Duration);

    impl Client for Slow {
        async fn once(&mut self) -> Outcome<()> {
            tokio::time::sleep(self.0).await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_open_loop_counts_from_the_moment_at_which_a_call_was_due() {
        let clients = vec![Slow(Duration::from_millis(40))];
        let span = Duration::from_millis(200);
        let (_, sample) = open(clients, span, 50.0).await.unwrap();
        assert_eq!(sample.operations(), 10);
        // The tenth was due after 180 ms and had to wait for nine others.
        assert!(sample.quantile_ms(1.0) >= 400.0 - 180.0, "{sample:?}");
    }
}
