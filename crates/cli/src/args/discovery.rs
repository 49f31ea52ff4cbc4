//! `argosy resources …` and `argosy sync …` as they are written.

use argosy_domain::id::{ResourceRowId, SyncJobId};
use clap::{Args as Group, Subcommand, ValueEnum};

use super::Limit;

/// `argosy resources …`
#[derive(Debug, Subcommand)]
pub enum Resources {
    /// Resources in a table
    List {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
    /// One resource, with what happened to it
    Show {
        /// Its id, as `--output json` of the list shows it
        id: ResourceRowId,
    },
    /// Networks, with subnets and what is in them
    Tree {
        /// Which networks.
        #[command(flatten)]
        which: Which,
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
    /// Networks that overlap, and subnets that are nearly full
    Insight {
        /// Only this account
        #[arg(long, alias = "account-id", value_name = "ID")]
        account: Option<i64>,
    },
    /// Every resource that the filter lets through, to standard output
    Export {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// csv or json
        #[arg(long, value_enum, default_value = "json", hide_possible_values = true)]
        format: ExportFormat,
    },
}

/// How an export is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ExportFormat {
    /// For spreadsheets.
    Csv,
    /// One array.
    Json,
}

/// Which resources.
#[derive(Debug, Group)]
pub struct Which {
    /// Only this account
    #[arg(long, alias = "account-id", value_name = "ID")]
    pub account: Option<i64>,
    /// Such as `aws`
    #[arg(long)]
    pub provider: Option<String>,
    /// Such as `eu-central-1`
    #[arg(long)]
    pub region: Option<String>,
    /// Such as `vpc`
    #[arg(long = "type", value_name = "TYPE")]
    pub resource_type: Option<String>,
    /// active or stale
    #[arg(long)]
    pub status: Option<String>,
    /// Part of a name or id
    #[arg(long, short, value_name = "TEXT")]
    pub q: Option<String>,
}

impl Which {
    /// As the server is asked.
    pub fn query(self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        query.extend(self.account.map(|id| ("account_id", id.to_string())));
        query.extend(self.provider.map(|text| ("provider", text)));
        query.extend(self.region.map(|text| ("region", text)));
        query.extend(self.resource_type.map(|text| ("resource_type", text)));
        query.extend(self.status.map(|text| ("status", text)));
        query.extend(self.q.map(|text| ("q", text)));
        query
    }
}

/// `argosy sync …`
#[derive(Debug, Subcommand)]
pub enum Sync {
    /// Ask for a run of discovery
    Start {
        /// This agent; name or id
        #[arg(long, value_name = "AGENT", conflicts_with = "all_agents")]
        agent: Option<String>,
        /// Any agent of this account, or with --all-agents all of them
        #[arg(long, value_name = "ID")]
        account: Option<i64>,
        /// Every approved agent
        #[arg(long)]
        all_agents: bool,
        /// Follow the jobs to their end; exit code 3 if not all completed
        #[arg(long, short)]
        wait: bool,
    },
    /// Runs, newest first
    List {
        /// Only of this agent; name or id
        #[arg(long, value_name = "AGENT")]
        agent: Option<String>,
        /// Only of this account
        #[arg(long, value_name = "ID")]
        account: Option<i64>,
        /// Such as `running`
        #[arg(long)]
        status: Option<String>,
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
    /// One run, with what became of each region
    Show {
        /// The job's id
        id: SyncJobId,
    },
}
