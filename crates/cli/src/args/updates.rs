//! `argosy updates …` as it is written.

use clap::{Args as Group, Subcommand};

use super::Limit;

/// `argosy updates …`
#[derive(Debug, Subcommand)]
pub enum Updates {
    /// Packages that are pending in the fleet, security first
    List(UpdatesList),
}

/// `argosy updates list`
#[derive(Debug, Group)]
pub struct UpdatesList {
    /// Only what closes a security hole
    #[arg(long)]
    pub security: bool,
    /// Only of this agent; name or id
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Only this package, with every agent that has it pending
    #[arg(long, value_name = "NAME")]
    pub package: Option<String>,
    /// See [`Limit`].
    #[command(flatten)]
    pub limit: Limit,
}
