//! Scenario `growth`: what the agents of a fleet together cost their server, for larger and larger fleets.
//! The slope on logarithmic axes says whether ten times the agents cost ten times as much: 1 if so.
//!
//! Each size has a server and a fleet of its own, and does the same: connect, beat, carry an order out, come
//! back. `--stored` puts discovered resources into each database before, which lie in the same file and the
//! same caches. Heartbeats come from a fixed number of agents at a time, or larger fleets would share
//! commits among more and look cheaper for that.

use std::{collections::BTreeMap, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use super::{Common, command::order_all, heartbeat::Beating, ingest};
use crate::{
    Outcome,
    agent::Events,
    fleet::{self, Member},
    host,
    life::{self, Plan, Tally},
    load::{self, Client, number},
    measure::WARM_UP,
    report::Report,
    server::{Server, Setup, Snapshot},
};

/// Agents that have a heartbeat under way at the same time.
const BEATING: usize = 64;
/// Small fleets do a thing again until it was done so often: the kernel counts time in hundredths of a
/// second.
const OPERATIONS_MIN: usize = 2_000;
/// The same where only counts are looked at.
const OPERATIONS_MIN_BRIEFLY: usize = 200;
/// How long a server is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);
/// How long everybody may take for anything.
const WITHIN: Duration = Duration::from_secs(120);
/// Resources that are stored by one call, of a region of their own.
const REGION: usize = 5_000;
/// Slopes that are as good as 1.
const LINEAR: std::ops::RangeInclusive<f64> = 0.9..=1.1;

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Sizes of the fleet. Those that do not fit this machine are left out.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 3_000, 10_000])]
    agents: Vec<usize>,
    /// Discovered resources that each database holds before.
    #[arg(long, default_value_t = 0)]
    stored: usize,
    /// Without TLS.
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    common: Common,
}

/// What all agents of a fleet together cost, by what they did.
type Costs = BTreeMap<&'static str, f64>;

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let mut report = Report::begin("growth", &arguments.common).await?;
    let mut sizes = Vec::new();
    for agents in &arguments.agents {
        if let Err(why) = host::must_fit(*agents) {
            report.mark(why.to_string());
            continue;
        }
        sizes.push((*agents, Box::pin(costs(*agents, arguments)).await?));
    }
    let mut slopes = serde_json::Map::new();
    for what in sizes.first().iter().flat_map(|(_, costs)| costs.keys()) {
        let points: Vec<_> = sizes
            .iter()
            .filter_map(|(agents, costs)| Some((count(*agents), *costs.get(what)?)))
            .collect();
        let Some(slope) = slope(&points) else { continue };
        if !LINEAR.contains(&slope) {
            report.mark(format!("the slope of {what} is {slope:.2}"));
        }
        slopes.insert((*what).to_owned(), slope.into());
    }
    let sizes = sizes.into_iter().map(|(agents, costs)| (agents.to_string(), json!(costs)));
    report.put("stored_resources", arguments.stored);
    report.put("cost_of_all_agents", Value::Object(sizes.collect()));
    report.put("slopes", Value::Object(slopes));
    report.end(&arguments.common).await
}

fn count(count: usize) -> f64 {
    number(u64::try_from(count).unwrap_or(u64::MAX))
}

/// The slope of the line through points on logarithmic axes, by least squares; none where a line cannot be
/// drawn.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 2 || points.iter().any(|(x, y)| *x <= 0.0 || *y <= 0.0) {
        return None;
    }
    let logs: Vec<_> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let all = count(logs.len());
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / all;
    let (x_mean, y_mean) = (mean(|(x, _)| *x), mean(|(_, y)| *y));
    let along = logs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum::<f64>();
    let across = logs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum::<f64>();
    (across > 0.0).then_some(along / across)
}

/// A fleet of one size, from its enrolment to its return.
async fn costs(agents: usize, arguments: &Arguments) -> Outcome<Costs> {
    let common = &arguments.common;
    let setup = Setup { tls: !arguments.plain, ..Setup::default() };
    let mut server = Server::start(common, setup).await?;
    fill(&server, arguments.stored).await?;
    let mut members = fleet::ready(&server, agents).await?;
    // What was left behind by all that would hide what connections take.
    server.kill()?;
    fleet::disconnect(&server, &mut members)?;
    server.run().await?;
    tokio::time::sleep(SETTLE).await;
    let before = server.snapshot().await?;
    let crowds = connect(members).await?;
    tokio::time::sleep(SETTLE).await;
    let connected = server.snapshot().await?;
    let kib = number(connected.private_kib) - number(before.private_kib);
    let mut costs = Costs::from([("connected_kib", kib)]);

    let (crowds, _) = load::closed(crowds, WARM_UP).await?;
    let before = server.snapshot().await?;
    let (crowds, sample) = load::closed(crowds, common.span()).await?;
    let each = spent(&before, &server.snapshot().await?) / number(sample.operations().max(1));
    costs.insert("heartbeat_cpu_ms", each * count(agents));

    let tally = Tally::new()?;
    let members = part(&server, crowds)?;
    let _lives = life::begin(&server, members, Plan::default(), &tally).await?;
    let least = if common.counts { OPERATIONS_MIN_BRIEFLY } else { OPERATIONS_MIN };
    let times = u32::try_from(least.div_ceil(agents.max(1)))?.max(1);
    costs.insert("command_cpu_ms", commands(&server, &tally, agents, times).await?);
    costs.insert("reconnect_cpu_ms", returns(&server, &tally, agents, times).await?);
    Ok(costs)
}

/// Milliseconds of a core that the server has spent.
fn spent(before: &Snapshot, after: &Snapshot) -> f64 {
    (after.cpu - before.cpu).as_secs_f64() * 1_000.0
}

/// Stores resources as anybody does who discovers them.
async fn fill(server: &Server, resources: usize) -> Outcome<()> {
    for first in (0..resources).step_by(REGION) {
        let region = format!("stored-{first}");
        let count = REGION.min(resources - first);
        let found = (0..count).map(|number| ingest::resource(&region, number));
        let body = json!({ "account_id": 1, "resources": found.collect::<Vec<_>>() });
        server.call(Method::POST, "/api/v1/discovery/ingest", Some(&body)).await?;
    }
    Ok(())
}

/// Agents of which one after the other has a heartbeat under way.
struct Crowd {
    agents: Vec<(Beating, Events)>,
    next: usize,
}

impl Client for Crowd {
    async fn once(&mut self) -> Outcome<()> {
        let turn = self.next % self.agents.len();
        self.next += 1;
        self.agents[turn].0.once().await
    }
}

/// Opens the stream of every agent, and deals them out to crowds.
async fn connect(members: Vec<Member>) -> Outcome<Vec<Crowd>> {
    let streams = fleet::connect(members).await?;
    let count = BEATING.min(streams.len());
    let mut crowds: Vec<_> = (0..count).map(|_| Crowd { agents: Vec::new(), next: 0 }).collect();
    for (number, (member, stream)) in streams.into_iter().enumerate() {
        crowds[number % count].agents.push(Beating::of(member, stream));
    }
    Ok(crowds)
}

/// The agents of all crowds, without their streams.
fn part(server: &Server, crowds: Vec<Crowd>) -> Outcome<Vec<Member>> {
    let agents = crowds.into_iter().flat_map(|crowd| crowd.agents);
    let one = |(beating, events): (Beating, Events)| {
        Ok(Member { agent: beating.agent, link: server.way().link(None)?, events })
    };
    agents.map(one).collect()
}

/// What an order to all costs until the server has every receipt.
async fn commands(server: &Server, tally: &Tally, agents: usize, times: u32) -> Outcome<f64> {
    let all = u64::try_from(agents)?;
    let before = server.snapshot().await?;
    for _ in 0..times {
        tally.take_results()?;
        order_all(server).await?;
        life::until("every receipt", WITHIN, || tally.results() == all).await?;
    }
    Ok(spent(&before, &server.snapshot().await?) / f64::from(times))
}

/// What it costs that everybody loses the connection and is back.
async fn returns(server: &Server, tally: &Tally, agents: usize, times: u32) -> Outcome<f64> {
    let all = u64::try_from(agents)?;
    let before = server.snapshot().await?;
    for _ in 0..times {
        tally.take_returns()?;
        tally.cut();
        life::until("everybody to be back", WITHIN, || tally.returns() == all).await?;
        life::until("everybody to stay", WITHIN, || tally.connected() == all).await?;
    }
    Ok(spent(&before, &server.snapshot().await?) / f64::from(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_the_exponent() {
        let points =
            |exponent: f64| [10.0_f64, 100.0, 3_000.0].map(|n| (n, 7.0 * n.powf(exponent)));
        for exponent in [0.0, 1.0, 1.5, 2.0] {
            let found = slope(&points(exponent)).unwrap();
            assert!((found - exponent).abs() < 1e-9, "{exponent}: {found}");
        }
        assert_eq!(slope(&[(1.0, 1.0)]), None);
        assert_eq!(slope(&[(1.0, 1.0), (10.0, 0.0)]), None);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }
}
