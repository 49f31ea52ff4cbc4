//! `argosy updates …` as it is written.

use argosy_domain::id::ApprovalId;
use clap::{Args as Group, Subcommand};

use super::{Limit, Pace, Selected};

/// `argosy updates …`
#[derive(Debug, Subcommand)]
pub enum Updates {
    /// Packages that are pending in the fleet, security first
    List(UpdatesList),
    /// Approve packages in the versions that are pending now
    Approve(UpdatesApprove),
    /// What was approved, by whom, and how much of it waits
    Approvals {
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
    /// Take an approval back
    Revoke {
        /// The approval's id
        id: ApprovalId,
    },
    /// Let agents install what is approved, or try it
    Install(UpdatesInstall),
}

/// `argosy updates approve`
#[derive(Debug, Group)]
pub struct UpdatesApprove {
    /// Packages, as NAME or NAME=VERSION; a version that is named is approved and no other
    #[arg(
        value_name = "PACKAGE",
        required_unless_present = "security",
        conflicts_with = "security"
    )]
    pub packages: Vec<String>,
    /// Everything that closes a security hole and is pending now
    #[arg(long)]
    pub security: bool,
    /// For whom.
    #[command(flatten)]
    pub selector: Selected,
}

/// `argosy updates install`
#[derive(Debug, Group)]
pub struct UpdatesInstall {
    /// Only these of what is approved, by name
    #[arg(value_name = "PACKAGE")]
    pub packages: Vec<String>,
    /// Only say what would happen
    #[arg(long)]
    pub dry_run: bool,
    /// Install although no dry run of it succeeded before
    #[arg(long, conflicts_with = "dry_run")]
    pub without_dry_run: bool,
    /// On which agents; those without anything approved are left out.
    #[command(flatten)]
    pub selector: Selected,
    /// How it goes on.
    #[command(flatten)]
    pub pace: Pace,
    /// Follow it to its end, and show what was changed; exit code 3 if not all succeeded
    #[arg(long, short)]
    pub wait: bool,
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
