//! Scenario `enroll`: machines that join, with raw single-use tokens (an Argon2id each) and with
//! proofs of one token that has a seat for everybody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::Common;
use crate::{
    Outcome,
    connection::{Http1, good},
    fleet,
    host::must_fit,
    load::{Sample, number},
    measure::cost,
    report::Report,
    server::{Server, Setup},
};

/// Machines that join with raw tokens at the same time.
const RAW_AT_ONCE: usize = 8;

/// Argon2id hashes of the server.
const HASHES: &str = "argosy_token_hashes_total";

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Machines with a raw single-use token each.
    #[arg(long, default_value_t = 300)]
    raw: usize,
    /// Machines with proofs of one token.
    #[arg(long, default_value_t = 2_000)]
    agents: usize,
    #[command(flatten)]
    common: Common,
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let Arguments { raw, agents, common } = arguments;
    must_fit(*agents)?;
    let mut report = Report::begin("enroll", common).await?;
    let server = Server::start(common, Setup::default()).await?;
    let raw = with_raw_tokens(&server, *raw).await?;
    let over_argon2id = report.over(&raw["per_second"], |calibration| calibration.argon2id);
    report.put("ratios", json!({ "raw_over_argon2id": over_argon2id }));
    report.put("raw_tokens", raw);
    let before = server.snapshot().await?;
    let (_members, sample) = fleet::enrol(&server, *agents).await?;
    let after = server.snapshot().await?;
    let mut proofs = figures(&sample, &cost(&before, &after, number_of(*agents)));
    // The token itself was hashed once, when it was minted.
    let hashed = (after.counter(HASHES) - before.counter(HASHES) - 1.0).max(0.0);
    proofs["hashes_per_enrolment"] = (hashed / number(number_of(*agents).max(1))).into();
    report.put("proofs_of_one_token", proofs);
    report.end(common).await
}

fn number_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn figures(sample: &Sample, cost: &Value) -> Value {
    let mut figures = sample.to_json();
    figures["cost"] = cost.clone();
    figures["seconds"] = (number(sample.operations()) / sample.per_second().max(0.001)).into();
    figures
}

/// Each with a token of its own, which was minted before.
async fn with_raw_tokens(server: &Server, count: usize) -> Outcome<Value> {
    let mint = async |_| server.token(1, false).await;
    let tokens: Vec<String> =
        stream::iter(0..count).map(mint).buffer_unordered(RAW_AT_ONCE).try_collect().await?;
    let (tokens, next) = (Arc::new(tokens), Arc::new(AtomicUsize::new(0)));
    let before = server.snapshot().await?;
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..RAW_AT_ONCE {
        let http = Http1::connect(server.address()).await?;
        tasks.spawn(join(http, Arc::clone(&tokens), Arc::clone(&next)));
    }
    let mut sample = Sample::new()?;
    while let Some(took) = tasks.join_next().await {
        took??.into_iter().for_each(|took| sample.took(took));
    }
    sample.lasted(began.elapsed());
    let after = server.snapshot().await?;
    let mut figures = figures(&sample, &cost(&before, &after, number_of(count)));
    let hashed = after.counter(HASHES) - before.counter(HASHES);
    figures["hashes_per_enrolment"] = (hashed / number(number_of(count).max(1))).into();
    Ok(figures)
}

/// Uses tokens up; how long each took.
async fn join(
    mut http: Http1,
    tokens: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
) -> Outcome<Vec<Duration>> {
    let mut took = Vec::new();
    loop {
        let number = next.fetch_add(1, Relaxed);
        let Some(token) = tokens.get(number) else { return Ok(took) };
        let body = json!({ "name": format!("raw-{number:06}"), "bootstrap_token": token });
        let began = Instant::now();
        good(http.post("/api/v1/agents/register", None, body.to_string()).await?)?;
        took.push(began.elapsed());
    }
}
