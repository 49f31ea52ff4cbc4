//! The command line of `argosy-agent`: what can be written, and nothing of what it does.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::packages::settings::SETTINGS_FILE_DEFAULT;

/// Enrols this machine with an Argosy server, reports how it is, and carries out what the server
/// signs and this host's policy allows.
#[derive(Debug, Parser)]
#[command(
    name = "argosy-agent",
    version,
    arg_required_else_help = true,
    after_help = "Every setting can stand in a file (--config), in a variable (ARGOSY_SERVER_URL, \
                  ARGOSY_BOOTSTRAP_TOKEN, …) or in a flag; later ones win.\n\n\
                  First steps:\n  \
                  ARGOSY_BOOTSTRAP_TOKEN=boot_… argosy-agent enroll --server https://fleet.example.com\n  \
                  argosy-agent run"
)]
pub struct Cli {
    /// Settings that every command takes.
    #[command(flatten)]
    pub settings: SettingFlags,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that stand for settings.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingFlags {
    /// Configuration file (.yaml or .toml) [default: /etc/argosy-agent/agent.yaml, where it exists].
    #[arg(long, global = true, value_name = "FILE", env = "ARGOSY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address of the server, such as `https://fleet.example.com`.
    #[arg(long = "server", global = true, value_name = "URL")]
    pub server_url: Option<String>,
    /// Directory of keys, credentials and journal.
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// Thumbprint of the server's identity key, where the token does not carry it.
    #[arg(
        long,
        visible_alias = "pin",
        global = true,
        value_name = "PIN",
        allow_hyphen_values = true
    )]
    pub server_pin: Option<String>,
    /// PEM file of the authorities that may vouch for the server's TLS certificate.
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<String>,
    /// Allow plain http to another host.
    #[arg(long, global = true)]
    pub allow_insecure_transport: bool,
    /// What the fleet may do on this host.
    #[arg(long, global = true, value_name = "FILE")]
    pub policy_file: Option<String>,
    /// error, warn, info, debug or trace.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// text or json.
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Register this machine with a server, and wait until an operator has approved it.
    Enroll(EnrollArgs),
    /// Bring the API key that an operator was shown at approval, and finish the enrolment.
    Refresh(RefreshArgs),
    /// Run the agent until it is told to stop. Enrols first where a token is configured.
    Run,
    /// Show how this host's agent is, whether it runs or not.
    Status(StatusArgs),
    /// Replace this agent's identity key. A running agent does it within seconds.
    RotateKey,
    /// Trust another identity of the server, because its key was lost or stolen. The agent must not
    /// run. Compare the new pin with somebody who runs the server.
    Repin(RepinArgs),
    /// Look at this host's policy.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Carry out one signed package command, as root, for an agent that is not root. Started by
    /// systemd, with the agent's connection as standard input. Reads no settings of the agent.
    PackageHelper(PackageHelperArgs),
}

/// Arguments of `enroll`.
#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// Enrolment token. Others on this host can read arguments: rather set ARGOSY_BOOTSTRAP_TOKEN.
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Name to register under [default: the host's name].
    #[arg(long)]
    pub name: Option<String>,
    /// Account to join [default: 1].
    #[arg(long, value_name = "ID")]
    pub account_id: Option<i64>,
    /// Who is shown the API key: direct (this machine) or operator (who approves, and brings it to
    /// `argosy-agent refresh`) [default: direct].
    #[arg(long, value_name = "WHO")]
    pub key_delivery: Option<String>,
    /// Return once the server has the registration; do not wait for approval.
    #[arg(long)]
    pub no_wait: bool,
    /// Forget the present registration, with the journal of its commands, and register anew with
    /// the token. The keys stay.
    #[arg(long)]
    pub start_over: bool,
}

/// Arguments of `refresh`. The key itself is never one: others on the host can read arguments.
#[derive(Debug, Args)]
pub struct RefreshArgs {
    /// File with the key [default: ARGOSY_API_KEY, else asked for, or read from standard input].
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// Arguments of `repin`.
#[derive(Debug, Args)]
pub struct RepinArgs {
    /// Trust whatever the server shows, without a question. Prefer --server-pin.
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `package-helper`.
#[derive(Debug, Args)]
pub struct PackageHelperArgs {
    /// The helper's settings.
    #[arg(long, value_name = "FILE", default_value = SETTINGS_FILE_DEFAULT)]
    pub settings: PathBuf,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// As JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// What can be done with a policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say whether a policy is good, and what it allows.
    Check {
        /// The file [default: the one of the settings].
        file: Option<PathBuf>,
    },
}

impl Cli {
    /// The flags as settings: key and value.
    pub fn flags(&self) -> Vec<(&'static str, String)> {
        let settings = &self.settings;
        let mut flags = Vec::new();
        let mut add = |key, value: Option<String>| flags.extend(value.map(|value| (key, value)));
        add("server_url", settings.server_url.clone());
        add("state_dir", settings.state_dir.clone());
        add("server_pin", settings.server_pin.clone());
        add("ca_file", settings.ca_file.clone());
        add("allow_insecure_transport", settings.allow_insecure_transport.then(|| "true".into()));
        add("policy_file", settings.policy_file.clone());
        add("log_level", settings.log_level.clone());
        add("log_format", settings.log_format.clone());
        if let Command::Enroll(enroll) = &self.command {
            add("bootstrap_token", enroll.token.clone());
            add("agent_name", enroll.name.clone());
            add("key_delivery", enroll.key_delivery.clone());
            add("account_id", enroll.account_id.map(|id| id.to_string()));
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AgentSettings;
    use argosy_config::load::{Settings as _, load};
    use clap::CommandFactory as _;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_is_a_setting() {
        // A pin may begin with a dash: base64url has one.
        let line = "argosy-agent enroll --server http://localhost:1 --state-dir /s --server-pin -p \
                    --ca-file c --allow-insecure-transport --policy-file f --log-level debug \
                    --log-format json --token t --name n --account-id 7 --key-delivery operator";
        let flags = Cli::try_parse_from(line.split_whitespace()).unwrap().flags();
        assert_eq!(flags.len(), 12);
        assert!(flags.iter().all(|(key, _)| AgentSettings::KEYS.contains(key)));
        let settings = load::<AgentSettings>(None, [], &flags, &[]).unwrap().settings;
        assert_eq!(settings.account_id, 7);
        assert!(settings.allow_insecure_transport);
        assert_eq!(settings.agent_name.as_deref(), Some("n"));
    }

    #[test]
    fn settings_may_stand_before_and_after_the_command() {
        for line in ["argosy-agent --state-dir /s run", "argosy-agent run --state-dir /s"] {
            let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
            assert_eq!(cli.flags(), [("state_dir", "/s".to_owned())]);
        }
    }
}
