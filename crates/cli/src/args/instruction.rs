//! `argosy command …` as it is written.

use std::{path::PathBuf, time::Duration};

use argosy_domain::{id::CommandId, time::parse_span};
use clap::{Args as Group, Subcommand};

use super::{Limit, pair};

/// `argosy command …`
#[derive(Debug, Subcommand)]
pub enum Instruction {
    /// Give an agent a command
    Send(Send),
    /// Commands in a table, the newest first
    List {
        /// Only of this agent; name or id
        #[arg(long)]
        agent: Option<String>,
        /// Only in this state
        #[arg(long)]
        state: Option<String>,
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
    /// Everything about one command
    Show {
        /// The command's id
        id: CommandId,
    },
    /// The agent's signed word on how a command ended
    Receipt {
        /// The command's id
        #[arg(required_unless_present = "file")]
        id: Option<CommandId>,
        /// Verify it on this machine
        #[arg(long)]
        verify: bool,
        /// A receipt that was kept with `--output json`, in place of asking the server
        #[arg(long, value_name = "PATH", conflicts_with = "id")]
        file: Option<PathBuf>,
        /// The identity key that the receipt must be signed with, as you know it
        #[arg(long, value_name = "BASE64URL", requires = "verify", allow_hyphen_values = true)]
        identity_key: Option<String>,
    },
    /// Withdraw a command that was not sent yet
    Cancel {
        /// The command's id
        id: CommandId,
    },
}

/// `argosy command send`
#[derive(Debug, Group)]
pub struct Send {
    /// Name or id
    pub agent: String,
    /// Such as `subsystem.run`
    pub kind: String,
    /// One parameter, as text
    #[arg(long = "param", short, value_name = "KEY=VALUE", value_parser = pair)]
    pub param: Vec<(String, String)>,
    /// Parameters as a JSON object; `--param` adds to it
    #[arg(long, value_name = "JSON")]
    pub params: Option<String>,
    /// Not to be started after, such as `1h`
    #[arg(long, value_name = "SPAN")]
    pub expires_in: Option<String>,
    /// The same key returns the same command
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Wait until it has ended; exit code 3 if it did not succeed
    #[arg(long, short)]
    pub wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "SPAN", default_value = "10m", requires = "wait", value_parser = parse_span)]
    pub wait_for: Duration,
}
