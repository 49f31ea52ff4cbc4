//! Scenario `command`: one order to all agents. It is over for an agent when the server has said,
//! signed, that it has the agent's receipt durably.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::Common;
use crate::{
    Outcome, fleet,
    host::must_fit,
    life::{self, Plan, Tally},
    measure::cost,
    report::{Report, spread},
    server::{Server, Setup},
};

/// How long everybody may take.
const WITHIN: Duration = Duration::from_secs(300);
/// The most commands that one order has under way at once.
const CONCURRENCY: u32 = 50_000;

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Connected agents.
    #[arg(long, default_value_t = 1_000)]
    agents: usize,
    /// Without TLS.
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    common: Common,
}

/// An order to all, which every agent carries out.
pub(crate) async fn order_all(server: &Server) -> Outcome<String> {
    let order = json!({
        "selector": { "all": true }, "kind": "subsystem.run",
        "params": { "subsystem": "system" }, "concurrency": CONCURRENCY,
    });
    let made = server.call(Method::POST, "/api/v1/commands", Some(&order)).await?;
    Ok(made["id"].as_str().ok_or("no id in the answer")?.to_owned())
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let Arguments { agents, plain, common } = arguments;
    must_fit(*agents)?;
    let mut report = Report::begin("command", common).await?;
    let setup = Setup { tls: !plain, ..Setup::default() };
    let server = Server::start(common, setup).await?;
    let members = fleet::ready(&server, *agents).await?;
    let tally = Tally::new()?;
    let _lives = life::begin(&server, members, Plan::default(), &tally).await?;
    let all = u64::try_from(*agents)?;
    let (mut seconds, mut last) = (Vec::new(), json!(null));
    for _ in 0..common.rounds() {
        let before = server.snapshot().await?;
        tally.take_results()?;
        let id = order_all(&server).await?;
        life::until("every receipt", WITHIN, || tally.results() == all).await?;
        let sample = tally.take_results()?;
        seconds.push(sample.quantile_ms(1.0) / 1_000.0);
        let after = server.snapshot().await?;
        let ended = server.call(Method::GET, &format!("/api/v1/fan-outs/{id}"), None).await?;
        if ended["agents"]["succeeded"] != all {
            report.mark(format!("the server counts otherwise: {}", ended["agents"]));
        }
        last = sample.to_json();
        last["cost"] = cost(&before, &after, all);
    }
    report.put("seconds_until_every_receipt_is_durable", spread(seconds));
    report.put("last_round", last);
    report.put("agents", *agents);
    report.end(common).await
}
