//! Scenario `ingest`: discovered resources over REST in one run of many chunks, first as new ones and then
//! once more as they are, while other agents beat; and pages of a list of very many.

mod pages;

use std::time::{Duration, Instant};

use argosy_domain::id::OrgId;
use argosy_store::{Options, PageRequest, ResourceFilter, Store};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    Common,
    heartbeat::{Beating, beating},
};
use crate::{
    Outcome,
    connection::{Http1, good},
    host::must_fit,
    load::{self, Sample, number},
    measure::cost,
    report::{Report, spread},
    server::{Server, Setup},
};

const INGEST: &str = "/api/v1/discovery/ingest";
/// How often it is looked whether a run is over.
const SLICE: Duration = Duration::from_millis(250);
/// How often it is looked at the server's memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What other agents' heartbeats may take meanwhile, 99 of 100.
const HEARTBEAT_P99_MS: f64 = 50.0;
/// Resources in a page that is looked through.
const PAGE: u32 = 500;

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Resources in one run.
    #[arg(long, default_value_t = 100_000)]
    resources: usize,
    /// Resources in one chunk; as many as agents send.
    #[arg(long, default_value_t = 1_000)]
    chunk: usize,
    /// Agents that beat meanwhile.
    #[arg(long, default_value_t = 200)]
    agents: usize,
    /// Heartbeats of all of them in a second.
    #[arg(long, default_value_t = 1_000.0)]
    per_second: f64,
    /// Fill up to so many resources, and time pages of them.
    #[arg(long, default_value_t = 0)]
    stored: usize,
    #[command(flatten)]
    common: Common,
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let Arguments { resources, chunk, agents, per_second, stored, common } = arguments;
    must_fit(*agents)?;
    let mut report = Report::begin("ingest", common).await?;
    let server = Server::start(common, Setup::default()).await?;
    let clients = beating(&server, *agents).await?;
    let (clients, _) = load::open(clients, common.span(), *per_second).await?;
    let (mut clients, alone) = load::open(clients, common.span(), *per_second).await?;
    report.put("heartbeats_alone", alone.to_json());
    let (mut fresh, mut same) = (Vec::new(), Vec::new());
    for round in 0..common.rounds() {
        for (kind, rates) in [("new", &mut fresh), ("unchanged", &mut same)] {
            let (job, region) = (format!("bench-{round}-{kind}"), format!("r{round}"));
            let run = Run { job: job.clone(), bodies: chunks(&job, &region, (*resources, *chunk)) };
            let (back, mut delivered) = run.deliver(&server, clients, *per_second).await?;
            clients = back;
            rates.push(delivered.per_second);
            let expected = if kind == "new" { *resources } else { 0 };
            let written = written_by(&server, &job, &region).await?;
            delivered.figures["rows_written"] = written.into();
            if written != expected || delivered.counted != u64::try_from(*resources)? {
                report.mark(format!("{job}: {written} rows were written instead of {expected}"));
            }
            if delivered.heartbeat_p99_ms > HEARTBEAT_P99_MS {
                report.mark(format!("{job}: the p99 of heartbeats is above its bound"));
            }
            report.put(kind, delivered.figures);
        }
    }
    report.put("new_resources_per_second", spread(fresh));
    report.put("unchanged_resources_per_second", spread(same));
    drop(clients);
    if *stored > 0 {
        let there = *resources * usize::try_from(common.rounds())?;
        report.put("pages", pages::time(&server, stored.saturating_sub(there)).await?);
    }
    report.end(common).await
}

/// One of the resources of a region.
pub(crate) fn resource(region: &str, number: usize) -> Value {
    json!({
        "provider": "aws", "region": region, "resource_type": "subnet",
        "resource_id": format!("subnet-{number:08}"), "name": format!("subnet {number}"),
        "cidr": format!("10.{}.{}.0/24", number / 256 % 256, number % 256),
        "parent_resource_id": "vpc-1", "metadata": { "zone": "a", "free": 251 },
    })
}

fn chunks(job: &str, region: &str, (count, together): (usize, usize)) -> Vec<Bytes> {
    let together = together.max(1);
    let last = count.div_ceil(together);
    let chunk = |number: usize| {
        let resources = (number * together..count.min((number + 1) * together))
            .map(|number| resource(region, number));
        let mut body = json!({
            "account_id": 1, "sync_job_id": job, "chunk": number, "final": number == last,
            "resources": resources.collect::<Vec<Value>>(),
        });
        if number == last {
            // As agents do: the region was read whole, and all of it has come.
            body["scope"] = json!({ "provider": "aws", "regions": [region] });
        }
        Bytes::from(body.to_string())
    };
    (0..=last).map(chunk).collect()
}

/// A run on its way.
struct Run {
    job: String,
    bodies: Vec<Bytes>,
}

/// What came of a run.
struct Delivered {
    per_second: f64,
    heartbeat_p99_ms: f64,
    counted: u64,
    figures: Value,
}

impl Run {
    /// Sends chunk after chunk, while the clients beat at their rate.
    async fn deliver(
        self,
        server: &Server,
        clients: Vec<Beating>,
        beats_per_second: f64,
    ) -> Outcome<(Vec<Beating>, Delivered)> {
        let mut http = Http1::connect(server.address()).await?;
        let authorization = format!("Bearer {}", server.admin_key());
        let before = server.snapshot().await?;
        let began = Instant::now();
        let sending = tokio::spawn(async move {
            let (mut found, header) = (0, Some(("authorization", authorization.as_str())));
            for body in self.bodies {
                let answer: Value =
                    serde_json::from_slice(&good(http.post(INGEST, header, body).await?)?)?;
                found += answer["resources_found"].as_u64().unwrap_or_default();
            }
            Ok::<_, crate::Failure>((found, began.elapsed()))
        });
        let mut peak_kib = before.private_kib;
        let (clients, beats) = tokio::select! {
            beaten = beat_meanwhile(&sending, clients, beats_per_second) => beaten?,
            ended = look_at_memory(server, &mut peak_kib) => return Err(ended),
        };
        let (counted, took) = sending.await??;
        let after = server.snapshot().await?;
        let mut figures = cost(&before, &after, counted);
        figures["job"] = self.job.into();
        figures["resources"] = counted.into();
        figures["heartbeats_meanwhile"] = beats.to_json();
        figures["memory_kib"] = json!({
            "before": before.private_kib, "peak": peak_kib, "after": after.private_kib,
        });
        let per_second = number(counted) / took.as_secs_f64();
        let heartbeat_p99_ms = beats.quantile_ms(0.99);
        Ok((clients, Delivered { per_second, heartbeat_p99_ms, counted, figures }))
    }
}

async fn beat_meanwhile<T>(
    sending: &JoinHandle<T>,
    mut clients: Vec<Beating>,
    per_second: f64,
) -> Outcome<(Vec<Beating>, Sample)> {
    let (mut all, began) = (Sample::new()?, Instant::now());
    while !sending.is_finished() {
        let (back, sample) = load::open(clients, SLICE, per_second).await?;
        clients = back;
        all.add(&sample)?;
    }
    all.lasted(began.elapsed());
    Ok((clients, all))
}

/// Ends only when the server cannot be looked at.
async fn look_at_memory(server: &Server, peak_kib: &mut u64) -> crate::Failure {
    loop {
        match server.program().and_then(|program| program.status("RssAnon:")) {
            Ok(kib) => *peak_kib = kib.max(*peak_kib),
            Err(error) => return error,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many resources of the region say that this job wrote them: asked of the database itself.
async fn written_by(server: &Server, job: &str, region: &str) -> Outcome<usize> {
    let store = Store::open(server.database(), Options::default()).await?;
    let mut reader = store.read("bench").await?;
    let filter = ResourceFilter { region: Some(region.to_owned()), ..ResourceFilter::default() };
    let (org, mut page, mut written) = (OrgId::default_org(), PageRequest::first(PAGE), 0);
    loop {
        let part = reader.resources().list(&org, &filter, &page).await?;
        written += part.items.iter().filter(|row| row.job.as_str() == job).count();
        let Some(next) = part.next else { break };
        page.after = Some(next);
    }
    drop(reader);
    store.close().await;
    Ok(written)
}
