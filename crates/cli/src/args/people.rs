//! `argosy settings …` as it is written.

use clap::Subcommand;

use super::pair;

/// `argosy settings …`
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// The settings in force
    Show,
    /// Change settings while the server runs
    Set {
        /// Such as `user_session_idle_s=1800`; repeat for more
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = pair)]
        changes: Vec<(String, String)>,
    },
}
