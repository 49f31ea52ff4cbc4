//! Scenario `connected`: what each connected agent costs the server in memory, and how long a server
//! takes to start with that many in its store.

use std::time::Duration;

use serde_json::json;

use super::Common;
use crate::{
    Outcome, fleet,
    host::must_fit,
    life::{self, Plan, Tally},
    load::number,
    report::Report,
    server::{Server, Setup},
};

/// How long a server is left alone before its memory is looked at, and from heartbeat to heartbeat.
const SETTLE: Duration = Duration::from_secs(3);
/// The same where only counts are looked at.
const SETTLE_BRIEFLY: Duration = Duration::from_secs(1);

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Agents that are connected at once.
    #[arg(long, default_value_t = 2_000)]
    agents: usize,
    /// Without TLS.
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let Arguments { agents, plain, common } = arguments;
    must_fit(*agents)?;
    let settle = if common.counts { SETTLE_BRIEFLY } else { SETTLE };
    let mut report = Report::begin("connected", common).await?;
    let setup = Setup { tls: !plain, ..Setup::default() };
    let mut server = Server::start(common, setup).await?;
    tokio::time::sleep(settle).await;
    let fresh = server.snapshot().await?.private_kib;
    let mut members = fleet::ready(&server, *agents).await?;
    // What enrolment left behind would hide what connections take.
    server.kill()?;
    fleet::disconnect(&server, &mut members)?;
    let mut starts = Vec::new();
    for _ in 0..common.rounds() {
        starts.push(server.run().await?.as_secs_f64() * 1_000.0);
        server.kill()?;
    }
    server.run().await?;
    tokio::time::sleep(settle).await;
    let before = server.snapshot().await?;
    let tally = Tally::new()?;
    let plan = Plan { heartbeat_every: Some(settle), ..Plan::default() };
    let _lives = life::begin(&server, members, plan, &tally).await?;
    let all = u64::try_from(*agents)?;
    // Everybody has beaten at least once.
    tokio::time::sleep(settle * 3).await;
    let after = server.snapshot().await?;
    let idle = server.snapshot().await?;
    tokio::time::sleep(settle * 2).await;
    let later = server.snapshot().await?;
    let grown = number(after.private_kib) - number(before.private_kib);
    report.put("cold_start_ms", crate::report::spread(starts));
    report.put(
        "memory",
        json!({
            "agents": agents,
            "kib_per_agent": grown / number(all.max(1)),
            "empty_server_kib": fresh,
            "idle_server_with_agents_stored_kib": before.private_kib,
            "connected_kib": after.private_kib,
            "files": server.program()?.files()?,
            "cpu_percent_with_heartbeats":
                (later.cpu - idle.cpu).as_secs_f64() / (settle * 2).as_secs_f64() * 100.0,
        }),
    );
    if tally.connected() != all {
        report.mark(format!("{} of {all} were connected at the end", tally.connected()));
    }
    report.end(common).await
}
