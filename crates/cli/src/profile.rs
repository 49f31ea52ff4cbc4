//! Stored logins: `~/.config/argosy/config.toml`, for its owner's eyes only.
//!
//! *Invariant:* the file is replaced as a whole, never written in place, and nobody but its owner
//! can read it from its first byte on.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use argosy_wire::bytes::Bytes32;
use serde::{Deserialize, Serialize};

use crate::{
    error::CliError,
    key::{Credential, Key, Session},
};

/// The profile that is used when none is named.
pub const DEFAULT_PROFILE: &str = "default";

/// One stored login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Profile {
    /// The server's URL.
    pub server: String,
    /// What this server is shown, and no other.
    pub credential: Credential,
    /// Extra certificate authority of the server.
    pub ca_file: Option<PathBuf>,
    /// Thumbprint of the identity key that alone may vouch for the server's certificate.
    pub pin: Option<Bytes32>,
}

/// A profile as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<Bytes32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
}

impl TryFrom<Stored> for Profile {
    type Error = &'static str;
    fn try_from(stored: Stored) -> Result<Self, &'static str> {
        let Stored { server, key, session, ca_file, pin } = stored;
        let credential = match (key, session) {
            (Some(key), None) => Credential::Key(key),
            (None, Some(session)) => Credential::Session(session),
            (None, None) | (Some(_), Some(_)) => return Err("a profile has a key or a session"),
        };
        Ok(Self { server, credential, ca_file, pin })
    }
}

impl From<Profile> for Stored {
    fn from(profile: Profile) -> Self {
        let Profile { server, credential, ca_file, pin } = profile;
        let (key, session) = match credential {
            Credential::Nothing => (None, None),
            Credential::Key(key) => (Some(key), None),
            Credential::Session(session) => (None, Some(session)),
        };
        Self { server, key, ca_file, pin, session }
    }
}

/// Every stored login, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    /// By name.
    #[serde(default)]
    pub profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// Reads `file`; a file that is not there holds nothing.
    pub fn load(file: &Path) -> Result<Self, CliError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CliError::file(file, error)),
        };
        // The parser's own message would quote the line, and with it a key.
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| {
                text.as_bytes().iter().take(span.start).filter(|b| **b == b'\n').count() + 1
            });
            CliError::file(file, format!("line {at}: {}", error.message()))
        })
    }

    /// Replaces `file` with these profiles: directory 0700, file 0600, all or nothing.
    pub fn save(&self, file: &Path) -> Result<(), CliError> {
        let text = toml::to_string(self).map_err(|error| CliError::file(file, error))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let fresh = folder.join(format!(".config.toml.{}", std::process::id()));
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let mut handle = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)?;
            handle.write_all(text.as_bytes())?;
            handle.sync_all()?;
            fs::rename(&fresh, file)
        };
        write().map_err(|error| {
            // The first error is the one to tell.
            drop(fs::remove_file(&fresh));
            CliError::file(file, error)
        })
    }
}

/// Whether others than its owner can read `file`.
pub fn is_exposed(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|about| about.permissions().mode() & 0o077 != 0)
}

/// Where profiles are kept, from `XDG_CONFIG_HOME` and `HOME`.
pub fn path(config_home: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf, CliError> {
    // The XDG base directory specification has relative paths ignored.
    config_home
        .filter(|path| path.is_absolute())
        .or_else(|| home.map(|home| home.join(".config")))
        .map(|folder| folder.join("argosy").join("config.toml"))
        .ok_or_else(|| CliError::Local("neither HOME nor XDG_CONFIG_HOME is set".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(key: &str) -> Profiles {
        let profile = Profile {
            server: "http://localhost:8080".into(),
            credential: Credential::Key(Key::parse(key).unwrap()),
            ca_file: None,
            pin: Bytes32::from_slice(&[7; 32]).ok(),
        };
        Profiles { profiles: [("default".to_owned(), profile)].into() }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_saved_profile_is_read_back_and_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("argosy/config.toml");
        profiles("argosy_a").save(&file).unwrap();
        assert_eq!(Profiles::load(&file).unwrap(), profiles("argosy_a"));
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
        assert!(!is_exposed(&file));
    }

    #[test]
    fn a_login_is_kept_like_a_key_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let session = Session {
            cookie: "argosy_session=id.secret".into(),
            csrf_token: "token".into(),
            expires_at: "2026-11-22T08:00:00Z".into(),
        };
        let mut kept = profiles("argosy_a");
        let ca_file = Some(PathBuf::from("/etc/ca.pem"));
        let profile = Profile {
            server: "https://a.example".into(),
            credential: Credential::Session(session),
            ca_file,
            pin: None,
        };
        kept.profiles.insert("ada".into(), profile);
        kept.save(&file).unwrap();
        assert_eq!(Profiles::load(&file).unwrap(), kept);
        assert!(!format!("{kept:?}").contains("secret"));
        fs::write(&file, "[profiles.default]\nserver = \"x\"\n").unwrap();
        let error = Profiles::load(&file).unwrap_err().to_string();
        assert!(error.contains("a key or a session"), "{error}");
    }

    #[test]
    fn saving_over_an_exposed_file_closes_it_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(is_exposed(&file));
        profiles("argosy_b").save(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_broken_file_is_located_and_its_keys_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "[profiles.default]\nserver = \"x\"\nkey = argosy_secret\n").unwrap();
        let error = Profiles::load(&file).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn the_place_follows_xdg() {
        let at = |xdg: Option<&str>, home: Option<&str>| {
            path(xdg.map(PathBuf::from), home.map(PathBuf::from)).ok()
        };
        let file = |path: &str| Some(PathBuf::from(path));
        assert_eq!(at(Some("/x"), Some("/h")), file("/x/argosy/config.toml"));
        assert_eq!(at(Some("rel"), Some("/h")), file("/h/.config/argosy/config.toml"));
        assert_eq!(at(None, None), None);
    }
}
