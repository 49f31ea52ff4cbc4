//! `argosy-bench`: the load generator. One module for each scenario.
//!
//! *Invariant:* every figure is printed beside a calibration of the same run; ratios count,
//! absolute times do not travel from one machine to another.

mod agent_idle;
mod programs;
mod store_commit;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};

/// Measures what Argosy costs on this machine.
#[derive(Debug, Parser)]
#[command(name = "argosy-bench", version)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// What an agent costs its host while nobody asks it for anything.
    AgentIdle(agent_idle::Arguments),
    /// Durable writes to SQLite: one transaction each, against group commit.
    StoreCommit(store_commit::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().scenario {
        Scenario::AgentIdle(arguments) => Box::pin(agent_idle::run(&arguments)).await,
        Scenario::StoreCommit(arguments) => Box::pin(store_commit::run(&arguments)).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn report(error: &(dyn Error + 'static)) {
    eprint!("argosy-bench: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
}
