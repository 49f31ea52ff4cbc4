//! Scenarios `reconnect` and `attack-37`: every agent loses its connection at the same moment.
//!
//! Either the connections are cut and everybody is back at once, without the pause that real agents
//! make; or the server is killed and started, and everybody comes back as real agents do.

use std::time::Duration;

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

/// Why connections are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// They are cut.
    Drop,
    /// The server is killed and started at once.
    Kill,
}

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

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments, name: &'static str, cause: Cause) -> Outcome<()> {
    let Arguments { agents, plain, common } = arguments;
    must_fit(*agents)?;
    let mut report = Report::begin(name, common).await?;
    let setup = Setup { tls: !plain, ..Setup::default() };
    let mut server = Server::start(common, setup).await?;
    let members = fleet::ready(&server, *agents).await?;
    let tally = Tally::new()?;
    let _lives = life::begin(&server, members, Plan::default(), &tally).await?;
    let all = u64::try_from(*agents)?;
    let (mut seconds, mut outages, mut last) = (Vec::new(), Vec::new(), json!(null));
    for _ in 0..common.rounds() {
        let before = server.snapshot().await?;
        tally.take_returns()?;
        match cause {
            Cause::Drop => tally.cut(),
            Cause::Kill => {
                server.kill()?;
                outages.push(server.run().await?.as_secs_f64());
            }
        }
        life::until("everybody to be back", WITHIN, || tally.returns() == all).await?;
        let sample = tally.take_returns()?;
        seconds.push(sample.quantile_ms(1.0) / 1_000.0);
        let after = server.snapshot().await?;
        last = sample.to_json();
        last["peak_kib"] = server.program()?.status("VmHWM:")?.into();
        // A server that was started anew counts from nothing.
        if cause == Cause::Drop {
            last["cost"] = cost(&before, &after, all);
        }
        life::until("everybody to stay", WITHIN, || tally.connected() == all).await?;
    }
    report.put("seconds_until_everybody_is_back", spread(seconds));
    report.put("seconds_of_outage", spread(outages));
    report.put("last_round", last);
    report.put("agents", *agents);
    report.end(common).await
}
