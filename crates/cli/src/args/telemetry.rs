//! `argosy telemetry` and `argosy agent events` as they are written.

use clap::Args as Group;

use super::Limit;

/// `argosy telemetry`
#[derive(Debug, Group)]
pub struct Telemetry {
    /// Name or id
    pub agent: String,
    /// The history of this metric, such as load_1m; without it the newest values
    pub metric: Option<String>,
    /// Where the history begins: a span before now such as 7d, or a time
    #[arg(long, value_name = "WHEN", default_value = "24h", requires = "metric")]
    pub since: String,
    /// Length of a step: 5m, 1h or 1d; without it the finest that reaches back far enough
    #[arg(long, value_name = "SPAN", requires = "metric")]
    pub step: Option<String>,
}

/// `argosy agent events`
#[derive(Debug, Group)]
pub struct AgentEvents {
    /// Name or id
    pub agent: String,
    /// Only this kind, such as breaker.opened
    #[arg(long)]
    pub kind: Option<String>,
    /// Only info, warning or error
    #[arg(long)]
    pub severity: Option<String>,
    /// Not before: a span before now such as 7d, or a time
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// See [`Limit`].
    #[command(flatten)]
    pub limit: Limit,
}
