//! `argosy-agent`: the agent as a program of its own.

use std::process::ExitCode;

use argosy_agent::{cli::Cli, command::execute};
use clap::Parser as _;

fn main() -> ExitCode {
    execute(&Cli::parse())
}
