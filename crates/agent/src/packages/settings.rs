//! What the helper obeys: a file of root's own, apart from everything that the agent can write.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use argosy_domain::{id::AgentId, limits::POLICY_BYTES_MAX, time::parse_span};
use argosy_wire::bytes::Bytes32;
use rustix::process::geteuid;
use serde::{Deserialize, Deserializer, de};

use super::apt::AptGet;

/// Where the helper looks for its settings.
pub const SETTINGS_FILE_DEFAULT: &str = "/etc/argosy-agent/package-helper.toml";

/// The file `package-helper.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelperSettings {
    /// Thumbprint of the server's identity key.
    pub server_pin: Bytes32,
    /// The one agent whose commands are carried out.
    pub agent_id: AgentId,
    /// The user that the agent runs as: a name of `/etc/passwd`, or a number.
    #[serde(default = "agent_user")]
    pub agent_user: String,
    /// The host's policy.
    #[serde(default = "policy_file")]
    pub policy_file: PathBuf,
    /// Where commands are remembered.
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    /// How long the package manager may take.
    #[serde(default = "timeout", deserialize_with = "span")]
    pub timeout: Duration,
    /// How apt is called, where it is not where it belongs.
    pub apt: Option<AptGet>,
}

fn agent_user() -> String {
    "argosy-agent".to_owned()
}

fn policy_file() -> PathBuf {
    "/etc/argosy-agent/policy.toml".into()
}

fn state_dir() -> PathBuf {
    "/var/lib/argosy-package-helper".into()
}

fn timeout() -> Duration {
    Duration::from_secs(30 * 60)
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse_span(&String::deserialize(from)?).map_err(de::Error::custom)
}

/// Why the helper cannot work.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Others could change what the helper obeys.
    #[error("{} must belong to the user of the helper and be writable by nobody else", .0.display())]
    Exposed(PathBuf),
    /// It is not the TOML that is asked for.
    #[error("{} is not valid: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
}

impl HelperSettings {
    /// Reads the file, and refuses one that somebody else could have written.
    pub fn load(path: &Path) -> Result<Self, InvalidSettings> {
        let unreadable = |source| InvalidSettings::Unreadable { path: path.to_owned(), source };
        let invalid = |reason| InvalidSettings::Invalid { path: path.to_owned(), reason };
        let meta = fs::metadata(path).map_err(unreadable)?;
        if !is_own(path) {
            return Err(InvalidSettings::Exposed(path.to_owned()));
        }
        if meta.len() > POLICY_BYTES_MAX as u64 {
            return Err(invalid(format!("it is larger than {POLICY_BYTES_MAX} bytes")));
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        toml::from_str(&text).map_err(|error: toml::de::Error| invalid(error.to_string()))
    }
}

/// Whether a file is there, belongs to this process's user (or to root), and nobody else can write it.
pub(super) fn is_own(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| {
        [0, geteuid().as_raw()].contains(&meta.uid()) && meta.is_file() && meta.mode() & 0o022 == 0
    })
}

/// The number of a user who is named as in `/etc/passwd`, or by the number itself.
pub(super) fn uid_of(user: &str) -> Option<u32> {
    if let Ok(uid) = user.parse() {
        return Some(uid);
    }
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| match fields.next() {
        Some(name) if name == user => fields.nth(1)?.parse().ok(),
        Some(_) | None => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn settings_are_read_strictly_and_only_from_a_file_of_ones_own() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("package-helper.toml");
        let pin = "A".repeat(43);
        let good = format!("server_pin = \"{pin}\"\nagent_id = \"a\"\n");
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let settings = HelperSettings::load(&path).unwrap();
        assert_eq!(
            (settings.agent_user.as_str(), settings.timeout.as_secs()),
            ("argosy-agent", 1800)
        );
        fs::write(&path, format!("{good}shell = true\n")).unwrap();
        let error = HelperSettings::load(&path).unwrap_err().to_string();
        assert!(error.contains("shell"), "{error}");
        fs::write(&path, "agent_id = \"a\"\n").unwrap();
        assert!(HelperSettings::load(&path).is_err(), "without a pin nothing is believed");
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(matches!(HelperSettings::load(&path), Err(InvalidSettings::Exposed(_))));
    }

    #[test]
    fn a_user_is_a_name_or_a_number() {
        assert_eq!(uid_of("root"), Some(0));
        assert_eq!(uid_of("1234"), Some(1234));
        assert_eq!(uid_of("no such user"), None);
    }
}
