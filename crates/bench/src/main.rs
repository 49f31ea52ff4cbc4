//! `argosy-bench`: the load generator. One module for each scenario.
//!
//! *Invariant:* every figure is printed beside a calibration of the same run; ratios count,
//! absolute times do not travel from one machine to another. What is started is ended by its id.

mod agent;
mod agent_idle;
mod bare;
mod calibrate;
mod connection;
mod fleet;
mod host;
mod life;
mod load;
mod measure;
mod programs;
mod report;
mod scenario;
mod server;
mod store_commit;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};
use scenario::{
    command, connected, enroll, flood, growth, heartbeat, ingest, mixed, reconnect, renew, replicas,
};

/// Why a scenario came to no end.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;
/// What a part of a scenario comes to.
pub(crate) type Outcome<T> = Result<T, Failure>;

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
    /// Attack 37: the server is killed and started, and the whole fleet comes back at once.
    #[command(name = "attack-37")]
    Attack37(reconnect::Arguments),
    /// One order to all agents, each with a durable receipt.
    Command(command::Arguments),
    /// Memory of the server for each connected agent, and its cold start with them in the store.
    Connected(connected::Arguments),
    /// Machines that join: with raw tokens against raw Argon2id, and with proofs.
    Enroll(enroll::Arguments),
    /// Heartbeats while somebody floods the server with bad tokens and registrations.
    Flood(flood::Arguments),
    /// What larger and larger fleets cost, with the slope of that.
    Growth(growth::Arguments),
    /// Durable heartbeats over streams or REST.
    Heartbeat(heartbeat::Arguments),
    /// The plain HTTP server that others are measured against.
    #[command(hide = true)]
    Hello(calibrate::Hello),
    /// Discovered resources over REST.
    Ingest(ingest::Arguments),
    /// Heartbeats, renewals, commands and readers together.
    Mixed(mixed::Arguments),
    /// All agents lose their connection at once and come back.
    Reconnect(reconnect::Arguments),
    /// New sessions by handshake.
    Renew(renew::Arguments),
    /// The same agents over more and more servers on one PostgreSQL.
    Replicas(replicas::Arguments),
    /// The mixture for minutes, with memory, descriptors and tasks looked at.
    Soak(mixed::Arguments),
    /// Durable writes to SQLite: one transaction each, against group commit; bare batch upserts.
    StoreCommit(store_commit::Arguments),
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn start() -> Outcome<()> {
    let scenario = Arguments::parse().scenario;
    // Before there are threads, which take both over.
    argosy_config::host::raise_file_limit()?;
    if !matches!(scenario, Scenario::Hello(_) | Scenario::StoreCommit(_) | Scenario::AgentIdle(_)) {
        host::pin_generator()?;
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Journals in memory never wait, so few threads carry the blocking work of all agents.
    runtime.max_blocking_threads(4).enable_all();
    runtime.build()?.block_on(run(scenario))
}

async fn run(scenario: Scenario) -> Outcome<()> {
    match scenario {
        Scenario::AgentIdle(arguments) => Box::pin(agent_idle::run(&arguments)).await,
        Scenario::Attack37(arguments) => {
            Box::pin(reconnect::run(&arguments, "attack-37", reconnect::Cause::Kill)).await
        }
        Scenario::Command(arguments) => Box::pin(command::run(&arguments)).await,
        Scenario::Connected(arguments) => Box::pin(connected::run(&arguments)).await,
        Scenario::Enroll(arguments) => Box::pin(enroll::run(&arguments)).await,
        Scenario::Flood(arguments) => Box::pin(flood::run(&arguments)).await,
        Scenario::Growth(arguments) => Box::pin(growth::run(&arguments)).await,
        Scenario::Heartbeat(arguments) => Box::pin(heartbeat::run(&arguments)).await,
        Scenario::Hello(arguments) => calibrate::serve_hello(&arguments).await,
        Scenario::Ingest(arguments) => Box::pin(ingest::run(&arguments)).await,
        Scenario::Mixed(arguments) => Box::pin(mixed::run(&arguments, "mixed")).await,
        Scenario::Reconnect(arguments) => {
            Box::pin(reconnect::run(&arguments, "reconnect", reconnect::Cause::Drop)).await
        }
        Scenario::Renew(arguments) => Box::pin(renew::run(&arguments)).await,
        Scenario::Replicas(arguments) => Box::pin(replicas::run(&arguments)).await,
        Scenario::Soak(arguments) => Box::pin(mixed::run(&arguments, "soak")).await,
        Scenario::StoreCommit(arguments) => Box::pin(store_commit::run(&arguments)).await,
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
