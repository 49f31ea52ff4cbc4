//! What an operator can set: file, then `ARGOSY_*`, then flags.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use argosy_config::load::Settings as Loadable;
use argosy_domain::{
    digest::Sha256,
    limits::{
        CHECK_IN_WAIT_S, CHECK_INS_WAITING_MAX, CONFIGURED_SECRET_CHARS_MIN,
        FAILURES_PER_MINUTE_MAX,
    },
};
use argosy_wire::token::Secret32;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The server alone.
    Server,
    /// The server and an agent of this host.
    Combined,
    /// The agent alone.
    Agent,
}

/// The settings of `argosyd`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What the process is.
    pub mode: Mode,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Keys, SQLite and the local agent's state.
    pub data_dir: PathBuf,
    /// `postgres://…`; SQLite in the data directory where it is absent.
    pub database_url: Option<String>,
    /// Origins under which agents reach this server; the listening port on loopback where none.
    pub public_url: Vec<String>,
    /// Whether the port speaks TLS.
    pub tls: Tls,
    /// Certificate chain, PEM; with `tls = "files"`.
    pub tls_cert_file: Option<PathBuf>,
    /// Private key of the certificate, PEM; with `tls = "files"`.
    pub tls_key_file: Option<PathBuf>,
    /// The master key; `<data_dir>/master.key` where it is absent.
    pub master_key_file: Option<PathBuf>,
    /// The first session secret, in place of one that is made; another one later is the next.
    pub session_secret: Option<String>,
    /// Approve every registration.
    pub auto_approve_agents: bool,
    /// Seconds between heartbeats that agents are asked for.
    pub heartbeat_interval_s: u32,
    /// Seconds that a check-in of an agent without a stream waits for something to say.
    pub check_in_wait_s: u32,
    /// Check-ins that wait at once; further ones are answered at once.
    pub check_ins_waiting_max: u32,
    /// Failed attempts of one source in a minute before 429.
    pub failures_per_minute: NonZeroU32,
    /// Addresses or networks of proxies that say who their clients are.
    pub trusted_proxies: Vec<IpNet>,
    /// `error`, `warn`, `info`, `debug`, `trace` or filter directives.
    pub log_level: String,
    /// `text` or `json`.
    pub log_format: LogFormat,
    /// An OpenTelemetry collector that takes traces over OTLP/HTTP, such as `http://127.0.0.1:4318`; none
    /// are kept where it is absent.
    pub otlp_endpoint: Option<String>,
    /// The share of requests that are traced, 0 to 1.
    pub otlp_sample: f64,
}

/// Whether the port speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Plain HTTP, for loopback and behind a TLS terminator.
    Off,
    /// With a certificate and a key from files.
    Files,
    /// With a certificate that the server makes, and that its identity key vouches for.
    #[serde(rename = "self")]
    Own,
}

impl Tls {
    /// How addresses of such a port begin.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Off => "http",
            Self::Files | Self::Own => "https",
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Combined,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("argosy-data"),
            database_url: None,
            public_url: Vec::new(),
            tls: Tls::Off,
            tls_cert_file: None,
            tls_key_file: None,
            master_key_file: None,
            session_secret: None,
            auto_approve_agents: false,
            heartbeat_interval_s: 60,
            check_in_wait_s: CHECK_IN_WAIT_S,
            check_ins_waiting_max: CHECK_INS_WAITING_MAX,
            failures_per_minute: NonZeroU32::new(FAILURES_PER_MINUTE_MAX)
                .unwrap_or(NonZeroU32::MIN),
            trusted_proxies: Vec::new(),
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            otlp_sample: 1.0,
        }
    }
}

impl Loadable for Settings {
    const KEYS: &'static [&'static str] = &[
        "mode",
        "listen",
        "data_dir",
        "database_url",
        "public_url",
        "tls",
        "tls_cert_file",
        "tls_key_file",
        "master_key_file",
        "session_secret",
        "auto_approve_agents",
        "heartbeat_interval_s",
        "check_in_wait_s",
        "check_ins_waiting_max",
        "failures_per_minute",
        "trusted_proxies",
        "log_level",
        "log_format",
        "otlp_endpoint",
        "otlp_sample",
    ];
    const LISTS: &'static [&'static str] = &["public_url", "trusted_proxies"];
}

/// A setting that the server does not start with.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// A secret that is too short to be one.
    #[error("{0} must have {CONFIGURED_SECRET_CHARS_MIN} characters or more")]
    ShortSecret(&'static str),
    /// Not an origin.
    #[error("public_url {0}: write scheme and host, and a port where it is not the usual one")]
    PublicUrl(String),
    /// Not a PostgreSQL address.
    #[error("database_url must begin with postgres://; without it SQLite is used")]
    DatabaseUrl,
    /// TLS without its files.
    #[error("tls = files needs tls_cert_file and tls_key_file")]
    TlsFiles,
    /// Out of bounds.
    #[error("heartbeat_interval_s must be 1 to 300")]
    HeartbeatInterval,
    /// Out of bounds.
    #[error("check_in_wait_s must be 1 to 60")]
    CheckInWait,
    /// Not an origin.
    #[error("otlp_endpoint {0}: write scheme and host, and the port; /v1/traces is added")]
    OtlpEndpoint(String),
    /// Out of bounds.
    #[error("otlp_sample must be 0 to 1")]
    OtlpSample,
}

fn is_origin(url: &str) -> bool {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    host.is_some_and(|host| {
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(c))
    })
}

impl Settings {
    /// Checks what types cannot.
    pub fn checked(mut self) -> Result<Self, InvalidSettings> {
        let secret = self.session_secret.as_deref();
        if secret.is_some_and(|secret| secret.chars().count() < CONFIGURED_SECRET_CHARS_MIN) {
            return Err(InvalidSettings::ShortSecret("session_secret"));
        }
        let database = self.database_url.as_deref();
        if database
            .is_some_and(|url| !url.starts_with("postgres://") && !url.starts_with("postgresql://"))
        {
            return Err(InvalidSettings::DatabaseUrl);
        }
        let both = self.tls_cert_file.is_some() && self.tls_key_file.is_some();
        if self.tls == Tls::Files && !both {
            return Err(InvalidSettings::TlsFiles);
        }
        if !(1..=300).contains(&self.heartbeat_interval_s) {
            return Err(InvalidSettings::HeartbeatInterval);
        }
        if !(1..=60).contains(&self.check_in_wait_s) {
            return Err(InvalidSettings::CheckInWait);
        }
        if !(0.0..=1.0).contains(&self.otlp_sample) {
            return Err(InvalidSettings::OtlpSample);
        }
        if let Some(url) = &mut self.otlp_endpoint {
            let trimmed = url.trim_end_matches('/').to_owned();
            if !is_origin(&trimmed) {
                return Err(InvalidSettings::OtlpEndpoint(url.clone()));
            }
            *url = trimmed;
        }
        for url in &mut self.public_url {
            let trimmed = url.trim_end_matches('/').to_owned();
            if !is_origin(&trimmed) {
                return Err(InvalidSettings::PublicUrl(url.clone()));
            }
            *url = trimmed;
        }
        Ok(self)
    }

    /// Where the master key is.
    pub fn master_key(&self) -> PathBuf {
        let usual = || self.data_dir.join("master.key");
        self.master_key_file.clone().unwrap_or_else(usual)
    }

    /// Origins in force: those that were set, else loopback with the port that is listened on.
    pub fn public_urls(&self, listening: SocketAddr) -> Vec<String> {
        if self.public_url.is_empty() {
            let port = listening.port();
            let scheme = self.tls.scheme();
            vec![format!("{scheme}://localhost:{port}"), format!("{scheme}://127.0.0.1:{port}")]
        } else {
            self.public_url.clone()
        }
    }

    /// The configured session secret as the 32 bytes that sign.
    pub(crate) fn configured_session_secret(&self) -> Option<Secret32> {
        let text = self.session_secret.as_ref()?;
        Some(Secret32::new(Sha256::of(text.as_bytes()).0))
    }

    /// What is in force, with secrets masked, as TOML.
    pub fn masked(&self) -> String {
        let mask = |_: String| "********".to_owned();
        let shown = Self {
            session_secret: self.session_secret.clone().map(mask),
            database_url: self.database_url.as_deref().map(without_password),
            ..self.clone()
        };
        toml::to_string(&shown).unwrap_or_default()
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked())
    }
}

/// A database address that may be shown.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "********".to_owned() };
    match rest.rsplit_once('@') {
        None => url.to_owned(),
        Some((credentials, host)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:********@{host}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_secrets_and_wrong_addresses_are_refused() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.checked()
        };
        assert!(with(|_| {}).is_ok());
        assert!(with(|s| s.session_secret = Some("short".into())).is_err());
        assert!(with(|s| s.session_secret = Some(String::new())).is_err());
        assert!(with(|s| s.database_url = Some("mysql://x".into())).is_err());
        assert!(with(|s| s.tls = Tls::Files).is_err());
        assert!(with(|s| s.public_url = vec!["fleet.example".into()]).is_err());
        assert!(with(|s| s.public_url = vec!["https://fleet.example/x".into()]).is_err());
        assert!(with(|s| s.otlp_endpoint = Some("127.0.0.1:4318".into())).is_err());
        assert!(with(|s| s.otlp_endpoint = Some("http://127.0.0.1:4318/".into())).is_ok());
        assert!(with(|s| s.otlp_sample = 1.5).is_err());
        let own = with(|s| s.tls = Tls::Own).unwrap();
        let listening = SocketAddr::from(([127, 0, 0, 1], 8080));
        assert_eq!(own.public_urls(listening)[0], "https://localhost:8080");
        assert!(own.masked().contains("tls = \"self\""), "{}", own.masked());
        let trimmed = with(|s| s.public_url = vec!["https://fleet.example:8443/".into()]).unwrap();
        assert_eq!(trimmed.public_url, ["https://fleet.example:8443"]);
    }

    #[test]
    fn secrets_are_masked() {
        let settings = Settings {
            session_secret: Some("s".repeat(40)),
            database_url: Some("postgres://argosy:p4ss@db/argosy".into()),
            ..Settings::default()
        };
        let shown = format!("{settings:?}");
        assert!(!shown.contains("sss") && !shown.contains("p4ss"), "{shown}");
        assert!(shown.contains("postgres://argosy:********@db/argosy"), "{shown}");
    }
}
