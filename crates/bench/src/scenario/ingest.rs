//! Scenario `ingest`: discovered resources over REST, first as new ones and then once more as they are.

use std::time::Instant;

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::Common;
use crate::{
    Outcome,
    connection::{Http1, good},
    load::number,
    measure::cost,
    report::{Report, spread},
    server::{Server, Setup},
};

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Resources in one call.
    #[arg(long, default_value_t = 5_000)]
    resources: usize,
    /// Calls in a round, each about a region of its own.
    #[arg(long, default_value_t = 4)]
    regions: usize,
    #[command(flatten)]
    common: Common,
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let Arguments { resources, regions, common } = arguments;
    let mut report = Report::begin("ingest", common).await?;
    let server = Server::start(common, Setup::default()).await?;
    let (mut fresh, mut same) = (Vec::new(), Vec::new());
    let (mut fresh_last, mut same_last) = (Value::Null, Value::Null);
    for round in 0..common.rounds() {
        let bodies: Vec<_> =
            (0..*regions).map(|region| body(&format!("r{round}-{region}"), *resources)).collect();
        (fresh_last, same_last) = (
            send(&server, &bodies, &mut fresh, "resources_created").await?,
            send(&server, &bodies, &mut same, "resources_found").await?,
        );
    }
    report.put("new_resources_per_second", spread(fresh));
    report.put("new", fresh_last);
    report.put("unchanged_resources_per_second", spread(same));
    report.put("unchanged", same_last);
    report.end(common).await
}

fn body(region: &str, count: usize) -> Bytes {
    let resource = |number: usize| {
        json!({
            "provider": "aws", "region": region, "resource_type": "subnet",
            "resource_id": format!("subnet-{number:08}"), "name": format!("subnet {number}"),
            "cidr": format!("10.{}.{}.0/24", number / 256 % 256, number % 256),
            "parent_resource_id": "vpc-1", "metadata": { "zone": "a", "free": 251 },
        })
    };
    let resources: Vec<Value> = (0..count).map(resource).collect();
    Bytes::from(json!({ "account_id": 1, "resources": resources }).to_string())
}

/// Sends every body once; all resources must be counted under `field`.
async fn send(
    server: &Server,
    bodies: &[Bytes],
    rates: &mut Vec<f64>,
    field: &str,
) -> Outcome<Value> {
    let mut http = Http1::connect(server.address()).await?;
    let authorization = format!("Bearer {}", server.admin_key());
    let header = Some(("authorization", authorization.as_str()));
    let before = server.snapshot().await?;
    let (began, mut counted) = (Instant::now(), 0);
    for body in bodies {
        let answer = http.post("/api/v1/discovery/ingest", header, body.clone()).await?;
        let answer: Value = serde_json::from_slice(&good(answer)?)?;
        counted += answer[field].as_u64().unwrap_or_default();
    }
    let rate = number(counted) / began.elapsed().as_secs_f64();
    rates.push(rate);
    let after = server.snapshot().await?;
    let mut figures = cost(&before, &after, counted);
    figures["resources"] = counted.into();
    Ok(figures)
}
