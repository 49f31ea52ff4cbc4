//! The scenarios that measure a server, and what they have in common.

pub(crate) mod command;
pub(crate) mod connected;
pub(crate) mod enroll;
pub(crate) mod flood;
pub(crate) mod growth;
pub(crate) mod heartbeat;
pub(crate) mod ingest;
pub(crate) mod mixed;
pub(crate) mod reconnect;
pub(crate) mod renew;
pub(crate) mod replicas;

use std::{path::PathBuf, time::Duration};

use crate::Outcome;

/// What every scenario takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// `postgres://…`: measure on this PostgreSQL, which must be empty, instead of on SQLite.
    #[arg(long, hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// Where data is kept; it should be on the disk that matters.
    #[arg(long)]
    pub(crate) directory: Option<PathBuf>,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Milliseconds of one round.
    #[arg(long, default_value_t = 3_000)]
    span_ms: u64,
    /// Look at counts and memory alone, which are the same on every machine: no calibration, one
    /// round, and no latencies at shares of the maximum.
    #[arg(long)]
    pub(crate) counts: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Common {
    /// How many rounds there are.
    pub(crate) fn rounds(&self) -> u32 {
        if self.counts { 1 } else { self.rounds }
    }

    /// How long a round is.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_millis(self.span_ms)
    }

    /// Where folders of a run are made.
    pub(crate) fn folder(&self) -> Outcome<PathBuf> {
        Ok(self.directory.clone().unwrap_or_else(std::env::temp_dir))
    }
}
