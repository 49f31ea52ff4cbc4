//! `argosy token|key|audit|security|accounts|resources …` as it is written.

use std::path::PathBuf;

use argosy_domain::id::{ApiKeyId, TokenId};
use clap::{Args as Group, Subcommand, ValueEnum};

use super::{Limit, pair};

/// `argosy token …`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Mint a token; it is shown this once
    Create(TokenCreate),
    /// Tokens in a table, never their secrets
    List {
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
    /// Revoke a token, and every registration with it that still waits
    Revoke {
        /// The token's id
        id: TokenId,
    },
}

/// `argosy token create`
#[derive(Debug, Group)]
pub struct TokenCreate {
    /// For people
    pub name: String,
    /// Machines join this account
    #[arg(long, value_name = "ID")]
    pub account_id: Option<i64>,
    /// Such as `24h` or `7d`
    #[arg(long, value_name = "SPAN")]
    pub expires_in: Option<String>,
    /// Machines that it lets ask
    #[arg(long, value_name = "N")]
    pub max_uses: Option<u32>,
    /// Approve machines without an operator
    #[arg(long)]
    pub auto_approve: bool,
    /// Also accept machines that have no keys of their own
    #[arg(long)]
    pub no_proof: bool,
    /// Label for the agents that use it
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub label: Vec<(String, String)>,
}

/// `argosy accounts …`
#[derive(Debug, Subcommand)]
pub enum Accounts {
    /// Accounts in a table
    List {
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
}

/// `argosy key …`
#[derive(Debug, Subcommand)]
pub enum ApiKeys {
    /// Mint a key; it is shown this once
    Create {
        /// For people
        name: String,
        /// What it may do, such as `agents:read`; repeat for more
        #[arg(long = "scope", value_name = "SCOPE", required_unless_present = "role")]
        scopes: Vec<String>,
        /// The scopes of a role
        #[arg(long, value_enum, conflicts_with = "scopes")]
        role: Option<Role>,
        /// The service whose key it is; without one it is yours, and dies with your user
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// Days until it dies; none unless said
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
    },
    /// Keys in a table, never their secrets
    List {
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
    /// Revoke a key
    Revoke {
        /// The key's id
        id: ApiKeyId,
    },
}

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything
    Admin,
    /// Reads, approves, quarantines, commands
    Operator,
    /// Reads
    Viewer,
}

/// `argosy audit …`
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Entries in a table, the newest first
    List {
        /// Who, such as `user:admin`
        #[arg(long)]
        actor: Option<String>,
        /// What, such as `agent.approved`
        #[arg(long)]
        action: Option<String>,
        /// To what, such as `agent:ID`
        #[arg(long)]
        target: Option<String>,
        /// Not older than a span (`24h`) or a time (`2026-01-31T08:00:00Z`)
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
    /// Write the whole log to a file, with its chain and its signatures
    Export {
        /// A file that does not exist yet
        file: PathBuf,
    },
    /// Check that a log is whole, unchanged and signed: a file's, or the server's own
    Verify(Verify),
}

/// `argosy audit verify`
#[derive(Debug, Group)]
pub struct Verify {
    /// An exported log; without one the server's own is checked
    pub file: Option<PathBuf>,
    /// Thumbprint of the server's identity key, as agents pin it
    #[arg(long, value_name = "PIN", allow_hyphen_values = true)]
    pub pin: Option<String>,
    /// An earlier export: what it had must still be there
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
}

/// `argosy security …`
#[derive(Debug, Subcommand)]
pub enum Security {
    /// Events in a table, the last seen first
    Events {
        /// Such as `clone_detected`
        #[arg(long)]
        kind: Option<String>,
        /// About this agent: name or id
        #[arg(long)]
        agent: Option<String>,
        /// Not older than a span (`24h`) or a time (`2026-01-31T08:00:00Z`)
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Go on with what comes, until interrupted
        #[arg(long, short)]
        follow: bool,
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
}
