//! The command line as it is written: every command, flag and default. What they do stands in
//! [`crate::commands`].

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};

use crate::key::Typed;

mod admin;
mod agent;
mod discovery;
mod instruction;
mod people;
mod telemetry;
mod updates;

pub use admin::{Accounts, ApiKeys, Audit, Role, Security, Token, TokenCreate, Verify};
pub use agent::{Agent, AgentList, LabelChange, OneAgent, Revoke, Schedule, Successor, WithReason};
pub use discovery::{ExportFormat, Resources, Sync, Which};
pub use instruction::{FanOutOrder, Instruction, Pace, Selected, Send};
pub use people::{Login, OrganisationCommand, Passwd, SettingsCommand, UserCommand};
pub use telemetry::{AgentEvents, Telemetry};
pub use updates::{Updates, UpdatesApprove, UpdatesInstall, UpdatesList};

/// Most items of a list unless `--limit` says otherwise.
const LIMIT: &str = "500";

/// Argosy's command line.
#[derive(Debug, Parser)]
#[command(
    name = "argosy",
    version,
    about = "Watch and steer a fleet of machines",
    after_help = "Start with `argosy login --server URL`, then `argosy status`.",
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Server to talk to [env: ARGOSY_SERVER]
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// API key; others on this machine can see it, so prefer a profile or ARGOSY_KEY
    #[arg(long, global = true, conflicts_with = "key_file")]
    pub key: Option<Typed>,
    /// File that holds the API key
    #[arg(long, global = true, value_name = "PATH")]
    pub key_file: Option<PathBuf>,
    /// Stored login to use [env: ARGOSY_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Extra certificate authority of the server, PEM
    #[arg(long, global = true, value_name = "PATH")]
    pub ca_file: Option<PathBuf>,
    /// How to print: table, json or yaml
    #[arg(
        long,
        short,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub output: Format,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// As the server says it, for programs.
    Json,
    /// The same as YAML.
    Yaml,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Log in with a key, or with name and password, and keep that for the next commands
    Login(Login),
    /// What a server is asked to do.
    #[command(flatten)]
    Online(Online),
    /// End a stored login, or forget a stored key
    Logout,
    /// Completions for a shell, to standard output
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What a server is asked to do.
#[derive(Debug, Subcommand)]
pub enum Online {
    /// The fleet at a glance
    Status,
    /// Agents: machines that joined or ask to
    #[command(subcommand, alias = "agents")]
    Agent(Agent),
    /// What an agent reports of its machine
    Inventory {
        /// Name or id; may be left out while there is only one agent
        agent: Option<String>,
        /// One subsystem only: system, storage, updates or containers
        subsystem: Option<String>,
    },
    /// What an agent measured: newest values, or the history of a metric
    Telemetry(Telemetry),
    /// Signed instructions to agents
    #[command(subcommand, alias = "commands")]
    Command(Instruction),
    /// Packages of operating systems that hosts have pending
    #[command(subcommand, alias = "update")]
    Updates(Updates),
    /// Enrolment tokens, with which machines ask to join
    #[command(subcommand, alias = "tokens")]
    Token(Token),
    /// Discovered cloud resources
    #[command(subcommand, alias = "resource")]
    Resources(Resources),
    /// Runs of discovery
    #[command(subcommand, alias = "syncs")]
    Sync(Sync),
    /// Cloud accounts and sites
    #[command(subcommand, alias = "account")]
    Accounts(Accounts),
    /// API keys
    #[command(subcommand, alias = "keys")]
    Key(ApiKeys),
    /// Who did what
    #[command(subcommand)]
    Audit(Audit),
    /// What deserves a guard's eye: clones, replays, forgeries, guesses
    #[command(subcommand)]
    Security(Security),
    /// People who log in
    #[command(subcommand, alias = "users")]
    User(UserCommand),
    /// Tenants of the installation
    #[command(subcommand, alias = "organisations")]
    Organisation(OrganisationCommand),
    /// What an administrator changes while the server runs
    #[command(subcommand)]
    Settings(SettingsCommand),
}

/// A limit on a list.
#[derive(Debug, Clone, Copy, Group)]
pub struct Limit {
    /// Most items to show
    #[arg(long, value_name = "N", default_value = LIMIT, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("write it as KEY=VALUE"),
    }
}

#[cfg(test)]
mod tests;
