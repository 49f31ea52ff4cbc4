//! `argosy command …` as it is written.

use std::{path::PathBuf, time::Duration};

use argosy_domain::{
    id::{CommandId, FanOutId},
    time::parse_span,
};
use clap::{Args as Group, Subcommand};

use super::{Limit, pair};

/// `argosy command …`
#[derive(Debug, Subcommand)]
pub enum Instruction {
    /// Give an agent a command
    Send(Send),
    /// Give one command to many agents, a few at a time
    FanOut(FanOutOrder),
    /// How far a fan-out is; without an id all of them, the newest first
    Progress {
        /// The fan-out's id
        id: Option<FanOutId>,
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
    /// Withdraw a fan-out: nothing more is begun, and what runs is stopped where it can be
    CancelFanOut {
        /// The fan-out's id
        id: FanOutId,
    },
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
    /// Withdraw a command; one that runs is stopped where it can be
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

/// `argosy command fan-out`
#[derive(Debug, Group)]
pub struct FanOutOrder {
    /// Such as `subsystem.run`
    pub kind: String,
    /// To whom.
    #[command(flatten)]
    pub selector: Selected,
    /// One parameter, as text
    #[arg(long = "param", short, value_name = "KEY=VALUE", value_parser = pair)]
    pub param: Vec<(String, String)>,
    /// Parameters as a JSON object; `--param` adds to it
    #[arg(long, value_name = "JSON")]
    pub params: Option<String>,
    /// How it goes on.
    #[command(flatten)]
    pub pace: Pace,
    /// Follow it to its end; exit code 3 if not all commands succeeded
    #[arg(long, short)]
    pub wait: bool,
}

/// How an order to many goes on.
#[derive(Debug, Group)]
pub struct Pace {
    /// Not to be started after, such as `1h`
    #[arg(long, value_name = "SPAN")]
    pub expires_in: Option<String>,
    /// Commands that are under way at once; 100 unless said otherwise
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// Commands that may go wrong; with one more nothing further is begun
    #[arg(long, value_name = "N")]
    pub max_errors: Option<u32>,
    /// The same key returns the same fan-out
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// Which approved agents; every condition must hold.
#[derive(Debug, Group)]
pub struct Selected {
    /// All of them
    #[arg(long)]
    pub all: bool,
    /// This one, by name or id; may be repeated
    #[arg(long = "agent", value_name = "AGENT")]
    pub agents: Vec<String>,
    /// Of this account
    #[arg(long, value_name = "ID")]
    pub account: Option<i64>,
    /// With this label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// healthy, stale or offline
    #[arg(long, value_name = "HEALTH")]
    pub health: Option<String>,
    /// With this in name, host name or id
    #[arg(long, value_name = "TEXT")]
    pub q: Option<String>,
}
