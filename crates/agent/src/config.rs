//! Settings of the agent: what file, environment and flags may say, and what of it makes sense.
//!
//! [`AgentSettings`] is what was written; [`AgentSettings::check`] turns it into an [`AgentConfig`]
//! that the rest of the agent can rely on, or says which setting is wrong and what to write instead.
//!
//! *Invariant:* nothing here is changed by the server.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use argosy_config::load::Settings;
use argosy_domain::{
    id::AccountId,
    labels::{InvalidLabels, Labels},
    text::{self, InvalidText},
    time::{InvalidSpan, parse_span},
};
use argosy_wire::{bytes::Bytes32, token::TokenString};
use serde::Deserialize;

use crate::{
    credentials::SecretText,
    discovery::{AwsOrgSettings, AzureSection, GcpSection, InvalidDiscovery, Wanted, Written},
    host,
    packages::{client::SOCKET_DEFAULT, settings::SETTINGS_FILE_DEFAULT},
    server_url::{InvalidServerUrl, ServerUrl},
};

/// Read when `--config` names no other file and this one exists.
pub const CONFIG_FILE_DEFAULT: &str = "/etc/argosy-agent/agent.yaml";
/// Where the host's owner writes what the fleet may do.
pub const POLICY_FILE_DEFAULT: &str = "/etc/argosy-agent/policy.toml";
/// Shortest and longest time between heartbeats; a longer silence would look like trouble.
const HEARTBEAT_INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(240);

/// Memory that the agent may hold while subsystems run; idle it holds a tenth of that.
const MEMORY_MAX_MIB: u32 = 128;
/// A lower limit would end every run.
const MEMORY_MIN_MIB: u32 = 32;

/// The settings as they were written.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSettings {
    /// Where the server is; may be left out once the agent is enrolled.
    pub server_url: Option<String>,
    /// `boot_…`; used once.
    pub bootstrap_token: Option<SecretText>,
    /// The agent's API key, where an operator delivered it; one in the state directory wins.
    pub api_key: Option<SecretText>,
    /// Who is shown the API key at enrolment: `direct` or `operator`.
    pub key_delivery: String,
    /// Asked for at enrolment; the host's name by default.
    pub agent_name: Option<String>,
    /// Joined at enrolment.
    pub account_id: i64,
    /// Keys, credentials and journal.
    pub state_dir: Option<PathBuf>,
    /// Such as `1m`.
    pub heartbeat_interval: String,
    /// Small key/value pairs of the host's owner.
    pub labels: BTreeMap<String, String>,
    /// PEM file of the only authorities that may vouch for the server's TLS certificate.
    pub ca_file: Option<PathBuf>,
    /// Thumbprint of the server's identity key, where the token does not carry it.
    pub server_pin: Option<String>,
    /// Plain http to somewhere else than this host.
    pub allow_insecure_transport: bool,
    /// What the fleet may do on this host.
    pub policy_file: PathBuf,
    /// Memory that the agent may hold while subsystems run, in MiB; 0 for no limit.
    pub memory_max_mib: u32,
    /// Where the package helper is reached.
    pub package_helper_socket: PathBuf,
    /// The package helper's own settings.
    pub package_helper_file: PathBuf,
    /// From one run of discovery to the next, such as `15m`.
    pub sync_interval: String,
    /// Regions of AWS that are read; none, unless said otherwise.
    pub aws_regions: Vec<String>,
    /// The accounts of an AWS organisation.
    pub aws_org: AwsOrgSettings,
    /// Projects of Google Cloud.
    pub gcp: GcpSection,
    /// Subscriptions of Azure.
    pub azure: AzureSection,
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub log_level: String,
    /// `text` or `json`.
    pub log_format: String,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            server_url: None,
            bootstrap_token: None,
            api_key: None,
            key_delivery: "direct".into(),
            agent_name: None,
            account_id: AccountId::DEFAULT.0,
            state_dir: None,
            heartbeat_interval: "1m".into(),
            labels: BTreeMap::new(),
            ca_file: None,
            server_pin: None,
            allow_insecure_transport: false,
            policy_file: POLICY_FILE_DEFAULT.into(),
            memory_max_mib: MEMORY_MAX_MIB,
            package_helper_socket: SOCKET_DEFAULT.into(),
            package_helper_file: SETTINGS_FILE_DEFAULT.into(),
            sync_interval: "15m".into(),
            aws_regions: Vec::new(),
            aws_org: AwsOrgSettings::default(),
            gcp: GcpSection::default(),
            azure: AzureSection::default(),
            log_level: "info".into(),
            log_format: "text".into(),
        }
    }
}

impl Settings for AgentSettings {
    const KEYS: &'static [&'static str] = &[
        "server_url",
        "bootstrap_token",
        "api_key",
        "key_delivery",
        "agent_name",
        "account_id",
        "state_dir",
        "heartbeat_interval",
        "labels",
        "ca_file",
        "server_pin",
        "allow_insecure_transport",
        "policy_file",
        "memory_max_mib",
        "package_helper_socket",
        "package_helper_file",
        "sync_interval",
        "aws_regions",
        "aws_org",
        "gcp",
        "azure",
        "log_level",
        "log_format",
    ];
    const LISTS: &'static [&'static str] = &[
        "aws_regions",
        "aws_org.regions",
        "aws_org.exclude_accounts",
        "gcp.projects",
        "gcp.regions",
        "azure.subscriptions",
        "azure.regions",
    ];
}

/// A setting that cannot be used. Displays as a sentence that says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// Not an address of a server.
    #[error("server_url {0}")]
    ServerUrl(#[from] InvalidServerUrl),
    /// Plain http over a network.
    #[error(
        "server_url is plain http to another host: use https, or set allow_insecure_transport to \
         true if the network between is trusted"
    )]
    InsecureTransport,
    /// Not a token.
    #[error(
        "bootstrap_token is not an enrolment token: copy the whole text that begins with boot_"
    )]
    Token,
    /// Not a name.
    #[error("agent_name {0}")]
    Name(InvalidText),
    /// Not an account.
    #[error("account_id must be 1 or more")]
    Account,
    /// Not a duration, or too short or too long.
    #[error("heartbeat_interval {0}")]
    Heartbeat(#[from] InvalidSpan),
    /// Less than the agent itself needs.
    #[error("memory_max_mib must be {MEMORY_MIN_MIB} or more, or 0 for no limit")]
    Memory,
    /// Outside its bounds.
    #[error("heartbeat_interval must be from 5s to 4m")]
    HeartbeatBounds,
    /// Not labels.
    #[error("labels {0}")]
    Labels(#[from] InvalidLabels),
    /// Not a thumbprint.
    #[error("server_pin must be the 43 characters that `argosyd keys show` prints as thumbprint")]
    Pin,
    /// The pin of the setting and the pin of the token differ.
    #[error(
        "server_pin and the pin in bootstrap_token name two different servers: ask for a new token"
    )]
    TwoPins,
    /// Neither configured nor known.
    #[error("state_dir is not set and there is no home directory to put it in")]
    NoStateDir,
    /// What clouds are read, and how often.
    #[error(transparent)]
    Discovery(#[from] InvalidDiscovery),
    /// Another word.
    #[error("key_delivery must be direct or operator")]
    KeyDelivery,
    /// Not an API key.
    #[error("this is not an agent's API key: copy the whole text that begins with agent_")]
    ApiKey,
    /// Another word.
    #[error("log_format must be text or json")]
    LogFormat,
}

/// Settings that make sense.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Where the server is, where it was said.
    pub server: Option<ServerUrl>,
    /// Plain http to another host was allowed.
    pub allow_insecure_transport: bool,
    /// The token, where one was given.
    pub token: Option<TokenString>,
    /// The API key, where one was given.
    pub api_key: Option<SecretText>,
    /// An operator is shown the API key at enrolment, not this machine.
    pub key_by_hand: bool,
    /// The name to ask for.
    pub name: String,
    /// The account to join.
    pub account: AccountId,
    /// Keys, credentials and journal.
    pub state_dir: PathBuf,
    /// Time from heartbeat to heartbeat.
    pub heartbeat_interval: Duration,
    /// Labels.
    pub labels: Labels,
    /// Authorities for TLS.
    pub ca_file: Option<PathBuf>,
    /// The pinned thumbprint, from setting or token.
    pub pin: Option<Bytes32>,
    /// What the fleet may do on this host.
    pub policy_file: PathBuf,
    /// Memory that the agent may hold while subsystems run, in MiB; 0 for no limit.
    pub memory_max_mib: u32,
    /// Where the package helper is reached.
    pub package_helper_socket: PathBuf,
    /// The package helper's own settings.
    pub package_helper_file: PathBuf,
    /// Which clouds are read.
    pub discovery: Wanted,
}

impl AgentSettings {
    /// Checks every setting.
    pub fn check(&self) -> Result<AgentConfig, InvalidSetting> {
        let server = self.server_url.as_deref().map(str::parse::<ServerUrl>).transpose()?;
        if let Some(server) = &server {
            server.require_safe(self.allow_insecure_transport)?;
        }
        let token = self
            .bootstrap_token
            .as_ref()
            .map(|token| TokenString::parse(token.expose()).map_err(|_| InvalidSetting::Token))
            .transpose()?;
        let name = self.agent_name.clone().unwrap_or_else(host::name);
        if self.account_id < 1 {
            return Err(InvalidSetting::Account);
        }
        if !matches!(self.log_format.as_str(), "text" | "json") {
            return Err(InvalidSetting::LogFormat);
        }
        let key_by_hand = match self.key_delivery.as_str() {
            "direct" => false,
            "operator" => true,
            _ => return Err(InvalidSetting::KeyDelivery),
        };
        Ok(AgentConfig {
            key_by_hand,
            pin: self.pin(token.as_ref())?,
            server,
            allow_insecure_transport: self.allow_insecure_transport,
            token,
            api_key: self.api_key.clone(),
            name: text::name(&name).map_err(InvalidSetting::Name)?,
            account: AccountId(self.account_id),
            state_dir: self.state_dir()?,
            heartbeat_interval: self.heartbeat()?,
            labels: Labels::try_from(self.labels.clone())?,
            ca_file: self.ca_file.clone(),
            policy_file: self.policy_file.clone(),
            memory_max_mib: self.memory()?,
            package_helper_socket: self.package_helper_socket.clone(),
            package_helper_file: self.package_helper_file.clone(),
            discovery: self.discovery()?,
        })
    }

    /// Where the state is kept, by setting or by the habits of the host.
    pub fn state_dir(&self) -> Result<PathBuf, InvalidSetting> {
        match &self.state_dir {
            Some(path) => Ok(path.clone()),
            None => host::state_dir().ok_or(InvalidSetting::NoStateDir),
        }
    }

    fn pin(&self, token: Option<&TokenString>) -> Result<Option<Bytes32>, InvalidSetting> {
        let set = self.server_pin.as_deref().map(str::parse).transpose();
        let set: Option<Bytes32> = set.map_err(|_| InvalidSetting::Pin)?;
        match (set, token.and_then(|token| token.pin)) {
            (Some(set), Some(of_token)) if set != of_token => Err(InvalidSetting::TwoPins),
            (set, of_token) => Ok(set.or(of_token)),
        }
    }

    fn discovery(&self) -> Result<Wanted, InvalidDiscovery> {
        Wanted::check(Written {
            interval: &self.sync_interval,
            aws_regions: &self.aws_regions,
            aws_org: &self.aws_org,
            gcp: &self.gcp,
            azure: &self.azure,
        })
    }

    fn memory(&self) -> Result<u32, InvalidSetting> {
        match self.memory_max_mib {
            0 => Ok(0),
            max if max >= MEMORY_MIN_MIB => Ok(max),
            _ => Err(InvalidSetting::Memory),
        }
    }

    fn heartbeat(&self) -> Result<Duration, InvalidSetting> {
        let interval = parse_span(&self.heartbeat_interval)?;
        if HEARTBEAT_INTERVAL.contains(&interval) {
            Ok(interval)
        } else {
            Err(InvalidSetting::HeartbeatBounds)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_config::load::load;
    use argosy_wire::{bytes::Fixed, token::Secret32};

    fn settings() -> AgentSettings {
        AgentSettings { state_dir: Some("/tmp/x".into()), ..AgentSettings::default() }
    }

    fn token(pin: Option<Bytes32>) -> TokenString {
        TokenString { id: "t1".parse().unwrap(), secret: Secret32::new([7; 32]), pin }
    }

    fn with_token(pin: Option<Bytes32>) -> AgentSettings {
        let text = token(pin).reveal();
        AgentSettings { bootstrap_token: Some(SecretText::new(text)), ..settings() }
    }

    #[test]
    fn defaults_are_enough_and_name_the_host() {
        let config = settings().check().unwrap();
        assert_eq!(config.name, host::name());
        assert_eq!(config.account, AccountId::DEFAULT);
        assert_eq!(config.heartbeat_interval, Duration::from_secs(60));
    }

    #[test]
    fn every_key_of_a_file_can_also_come_from_the_environment() {
        let values = [
            ("SERVER_URL", "https://fleet.example"),
            ("AGENT_NAME", "web-1"),
            ("ACCOUNT_ID", "7"),
            ("HEARTBEAT_INTERVAL", "30s"),
            ("LABELS__SITE", "lab"),
            ("AWS_REGIONS", "eu-central-1,us-east-1"),
            ("AWS_ORG__ENABLED", "true"),
            ("AWS_ORG__EXCLUDE_ACCOUNTS", "123456789012"),
            ("GCP__ENABLED", "true"),
            ("GCP__PROJECTS", "alpha"),
            ("GCP__REGIONS", "europe-west3,us-east1"),
            ("AZURE__ENABLED", "true"),
            ("AZURE__SUBSCRIPTIONS", "0b1f6471-1bf0-4dda-aec3-111122223333"),
            ("AZURE__ENDPOINT", "https://management.usgovcloudapi.net"),
            ("ALLOW_INSECURE_TRANSPORT", "true"),
        ];
        let environment = values.map(|(key, value)| (format!("ARGOSY_{key}"), value.to_owned()));
        let loaded = load::<AgentSettings>(None, environment, &[], &[]).unwrap();
        assert!(loaded.unknown_variables.is_empty(), "{:?}", loaded.unknown_variables);
        let config = AgentSettings { state_dir: Some("/x".into()), ..loaded.settings };
        let config = config.check().unwrap();
        assert_eq!(config.name, "web-1");
        assert_eq!(config.account, AccountId(7));
        assert_eq!(config.labels.get("site"), Some("lab"));
        let aws = config.discovery.aws.unwrap();
        assert_eq!(aws.regions, ["eu-central-1", "us-east-1"]);
        assert_eq!(aws.org.unwrap().exclude_accounts, ["123456789012"]);
        let gcp = config.discovery.gcp.unwrap();
        assert_eq!((gcp.projects.len(), gcp.regions.len()), (1, 2));
        let azure = config.discovery.azure.unwrap();
        assert_eq!(azure.subscriptions, ["0b1f6471-1bf0-4dda-aec3-111122223333"]);
        assert_eq!(azure.endpoint.origin(), "https://management.usgovcloudapi.net");
    }

    #[test]
    fn plain_http_leaves_the_host_only_when_allowed() {
        let to = |url: &str| AgentSettings { server_url: Some(url.into()), ..settings() };
        assert_eq!(
            to("http://fleet.example").check().unwrap_err(),
            InvalidSetting::InsecureTransport
        );
        assert!(to("http://localhost:8080").check().is_ok());
        let allowed =
            AgentSettings { allow_insecure_transport: true, ..to("http://fleet.example") };
        assert!(allowed.check().is_ok());
    }

    #[test]
    fn pins_of_setting_and_token_must_agree() {
        let pin = Fixed([3; 32]);
        assert_eq!(with_token(Some(pin)).check().unwrap().pin, Some(pin));
        let other = Some(Fixed([4; 32]).to_string());
        let settings = AgentSettings { server_pin: other, ..with_token(Some(pin)) };
        assert_eq!(settings.check().unwrap_err(), InvalidSetting::TwoPins);
    }

    #[test]
    fn half_a_token_is_named_and_never_shown() {
        let text = token(None).reveal();
        let half = SecretText::new(text[..text.len() - 3].to_owned());
        let settings = AgentSettings { bootstrap_token: Some(half), ..settings() };
        assert_eq!(settings.check().unwrap_err(), InvalidSetting::Token);
        let shown = format!("{:?} {:?}", with_token(None), with_token(None).check().unwrap());
        assert!(!shown.contains(&Fixed([7; 32]).to_string()), "{shown}");
    }

    #[test]
    fn intervals_that_would_look_like_trouble_are_refused() {
        let every =
            |span: &str| AgentSettings { heartbeat_interval: span.into(), ..settings() }.check();
        assert_eq!(every("1s").unwrap_err(), InvalidSetting::HeartbeatBounds);
        assert_eq!(every("1h").unwrap_err(), InvalidSetting::HeartbeatBounds);
        assert_eq!(every("often").unwrap_err(), InvalidSetting::Heartbeat(InvalidSpan));
    }
}
