//! Scenario `renew`: new sessions by the whole handshake, in which both sides prove their keys.

use serde_json::json;

use super::Common;
use crate::{
    Outcome,
    fleet::{self, Member},
    host::must_fit,
    load::Client,
    measure::maximum_and_latencies,
    report::Report,
    server::{Server, Setup},
};

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Agents; each has one handshake under way at a time.
    #[arg(long, default_value_t = 128)]
    agents: usize,
    #[command(flatten)]
    common: Common,
}

impl Client for Member {
    async fn once(&mut self) -> Outcome<()> {
        self.agent.shake(&self.link).await
    }
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let Arguments { agents, common } = arguments;
    must_fit(*agents)?;
    let mut report = Report::begin("renew", common).await?;
    let server = Server::start(common, Setup::default()).await?;
    let (members, _) = fleet::enrol(&server, *agents).await?;
    let (_, figures) = maximum_and_latencies(&server, members, common).await?;
    let most = &figures["closed_loop"]["per_second"]["median"];
    let over_verify = report.over(most, |calibration| calibration.ed25519_verify);
    report.put("renewals", figures);
    report.put("ratios", json!({ "renewals_over_verifications": over_verify }));
    report.end(common).await
}
