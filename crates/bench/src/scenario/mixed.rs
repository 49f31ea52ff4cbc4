//! Scenarios `mixed` and `soak`: heartbeats, renewals, commands and readers at a steady rate, with
//! the server's memory, descriptors and threads looked at all the while.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{Common, command::order_all};
use crate::{
    Outcome, fleet,
    host::must_fit,
    life::{self, Plan, Tally},
    load::number,
    measure::cost,
    report::Report,
    server::{Server, Setup},
};

/// How often the server is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Part of the run that is not counted when growth is looked at.
const SETTLING: f64 = 0.2;

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Connected agents.
    #[arg(long, default_value_t = 500)]
    agents: usize,
    /// Minutes that are measured.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Milliseconds between two heartbeats of an agent.
    #[arg(long, default_value_t = 100)]
    heartbeat_ms: u64,
    /// Seconds between two handshakes of an agent.
    #[arg(long, default_value_t = 30)]
    renew_s: u64,
    /// Seconds between two orders to all.
    #[arg(long, default_value_t = 10)]
    order_s: u64,
    /// Milliseconds between two looks of a reader at the fleet.
    #[arg(long, default_value_t = 500)]
    read_ms: u64,
    /// Without TLS.
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    common: Common,
}

/// What was seen of the server at one moment.
struct Look {
    at_s: f64,
    private_kib: f64,
    files: f64,
    threads: f64,
}

impl Look {
    fn take(server: &Server, began: Instant) -> Outcome<Self> {
        let program = server.program()?;
        Ok(Self {
            at_s: began.elapsed().as_secs_f64(),
            private_kib: number(program.status("RssAnon:")?),
            files: number(u64::try_from(program.files()?)?),
            threads: number(program.status("Threads:")?),
        })
    }
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments, name: &'static str) -> Outcome<()> {
    let Arguments { agents, common, .. } = arguments;
    must_fit(*agents)?;
    let mut report = Report::begin(name, common).await?;
    let setup = Setup { tls: !arguments.plain, ..Setup::default() };
    let server = Server::start(common, setup).await?;
    let members = fleet::ready(&server, *agents).await?;
    let tally = Tally::new()?;
    let plan = Plan {
        heartbeat_every: Some(Duration::from_millis(arguments.heartbeat_ms.max(1))),
        renew_every: Some(Duration::from_secs(arguments.renew_s.max(1))),
    };
    let _lives = life::begin(&server, members, plan, &tally).await?;
    let all = u64::try_from(*agents)?;
    tally.take_heartbeats()?;
    tally.take_results()?;
    let before = server.snapshot().await?;
    let (looks, orders, reads) = Box::pin(steady(&server, arguments)).await?;
    let after = server.snapshot().await?;
    let heartbeats = tally.take_heartbeats()?;
    let results = tally.take_results()?;
    report.put("agents", *agents);
    report.put("heartbeats", heartbeats.to_json());
    report.put("cost", cost(&before, &after, heartbeats.operations()));
    report.put(
        "beside",
        json!({
            "renewals": tally.renewals(), "orders": orders, "reads": reads,
            "results": results.operations(),
        }),
    );
    report.put("server", growth(&looks));
    if tally.connected() != all || tally.returns() != all {
        report.mark("some agents lost their stream");
    }
    report.end(common).await
}

/// Gives orders and reads for as long as was asked for.
async fn steady(server: &Server, arguments: &Arguments) -> Outcome<(Vec<Look>, u64, u64)> {
    let span = Duration::from_secs_f64(arguments.minutes.max(0.01) * 60.0);
    let (began, mut looks) = (Instant::now(), Vec::new());
    let (mut orders, mut reads) = (0, 0);
    let mut order = tokio::time::interval(Duration::from_secs(arguments.order_s.max(1)));
    let mut read = tokio::time::interval(Duration::from_millis(arguments.read_ms.max(1)));
    let mut look = tokio::time::interval(LOOK_EVERY.min(span / 4));
    let end = tokio::time::sleep(span);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return Ok((looks, orders, reads)),
            _ = order.tick() => {
                order_all(server).await?;
                orders += 1;
            }
            _ = read.tick() => {
                server.call(Method::GET, "/api/v1/agents?limit=100", None).await?;
                reads += 1;
            }
            _ = look.tick() => looks.push(Look::take(server, began)?),
        }
    }
}

/// First and last look after the server has settled, and how memory grew between all of them.
fn growth(looks: &[Look]) -> Value {
    let until = looks.last().map_or(0.0, |look| look.at_s);
    let settled: Vec<_> = looks.iter().filter(|look| look.at_s >= until * SETTLING).collect();
    let (Some(first), Some(last)) = (settled.first(), settled.last()) else { return Value::Null };
    let points: Vec<_> = settled.iter().map(|look| (look.at_s, look.private_kib)).collect();
    json!({
        "private_kib": { "first": first.private_kib, "last": last.private_kib },
        "private_kib_per_minute": slope(&points) * 60.0,
        "files": { "first": first.files, "last": last.files },
        "threads": { "first": first.threads, "last": last.threads },
    })
}

/// The slope of the line that fits best (least squares).
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = number(u64::try_from(points.len()).unwrap_or(u64::MAX)).max(1.0);
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x, y) = (x / count, y / count);
    let (over, under) = points.iter().fold((0.0, 0.0), |(over, under), point| {
        (over + (point.0 - x) * (point.1 - y), under + (point.0 - x).powi(2))
    });
    if under == 0.0 { 0.0 } else { over / under }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope() {
        assert!((slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) - 2.0).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9 && slope(&[(1.0, 4.0)]).abs() < 1e-9);
    }
}
