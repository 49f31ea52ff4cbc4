//! Scenario `replicas`: more and more servers on one PostgreSQL, with the same agents spread over them.
//! What an operation costs must stay what it was, and a command given at one server must reach an
//! agent at another.
//!
//! All servers share the core of the server, so that what is asked is the cost and not the speed.

use std::time::Instant;

use argosy_wire::rpc::gateway::control_stream_response::Frame;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Common,
    heartbeat::{Beating, beating},
};
use crate::{
    Outcome,
    host::must_fit,
    load::{self, Sample},
    measure::{WARM_UP, cost, rounds},
    report::{Report, spread},
    server::{Server, Setup, Snapshot},
};

/// Commands whose way is timed.
const COMMANDS: usize = 200;

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Servers at the end.
    #[arg(long, default_value_t = 3)]
    servers: usize,
    /// Agents; each has one heartbeat under way at a time.
    #[arg(long, default_value_t = 512)]
    agents: usize,
    #[command(flatten)]
    common: Common,
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let Arguments { servers: most, agents, common } = arguments;
    must_fit(*agents)?;
    if common.database_url.is_none() {
        return Err("servers share PostgreSQL alone: give --database-url".into());
    }
    let mut report = Report::begin("replicas", common).await?;
    let mut servers = vec![Server::start(common, Setup::default()).await?];
    let mut clients = beating(&servers[0], *agents).await?;
    let mut found = serde_json::Map::new();
    let mut costs = Vec::new();
    loop {
        let (back, figures) = heartbeats(&servers, clients, common).await?;
        clients = back;
        costs.extend(figures["cost"]["server_cpu_us_per_operation"].as_f64());
        found.insert(servers.len().to_string(), figures);
        if servers.len() >= *most {
            break;
        }
        servers.push(servers[0].beside(common).await?);
        clients = spread_over(&servers, clients).await?;
    }
    report.put("heartbeats_by_servers", Value::Object(found));
    // Last: nobody carries them out, and an open command makes heartbeats dearer.
    report.put("command_reaches_its_agent", commands(&servers, &mut clients).await?);
    let over = costs.last().zip(costs.first()).map(|(last, first)| last / first);
    report.put("ratios", json!({ "cpu_of_a_heartbeat_over_one_server": over }));
    report.end(common).await
}

/// Opens the stream of each agent at the next server in turn; the newest wins.
async fn spread_over(servers: &[Server], clients: Vec<Beating>) -> Outcome<Vec<Beating>> {
    let mut spread = Vec::with_capacity(clients.len());
    for (number, client) in clients.into_iter().enumerate() {
        let server = &servers[number % servers.len()];
        spread.push(client.moved(server.way().link(None)?).await?);
    }
    Ok(spread)
}

async fn snapshots(servers: &[Server]) -> Outcome<Snapshot> {
    let mut all = servers[0].snapshot().await?;
    for server in &servers[1..] {
        all.add(&server.snapshot().await?);
    }
    Ok(all)
}

/// The most heartbeats that all servers together answer, and what each cost them.
async fn heartbeats(
    servers: &[Server],
    clients: Vec<Beating>,
    common: &Common,
) -> Outcome<(Vec<Beating>, Value)> {
    let (clients, _) = load::closed(clients, WARM_UP).await?;
    let before = snapshots(servers).await?;
    let (clients, rates, total) = rounds(clients, common).await?;
    let after = snapshots(servers).await?;
    let mut figures = total.to_json();
    figures["per_second"] = spread(rates);
    figures["cost"] = cost(&before, &after, total.operations());
    Ok((clients, figures))
}

/// How long a command takes from its order at one server to its agent, whose stream is at the next.
async fn commands(servers: &[Server], clients: &mut [Beating]) -> Outcome<Value> {
    let mut sample = Sample::new()?;
    let order = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
    let began = Instant::now();
    for (number, client) in clients.iter_mut().enumerate().take(COMMANDS) {
        let server = &servers[(number + 1) % servers.len()];
        let path = format!("/api/v1/agents/{}/commands", client.agent.id());
        let given = Instant::now();
        server.call(Method::POST, &path, Some(&order)).await?;
        while !matches!(client.stream.incoming.next().await?, Frame::Command(_)) {}
        sample.took(given.elapsed());
    }
    sample.lasted(began.elapsed());
    Ok(sample.to_json())
}
