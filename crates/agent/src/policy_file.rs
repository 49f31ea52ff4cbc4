//! `policy.toml` of the host, as it stands at this moment.
//!
//! It is read again for every decision, so that its owner's change holds at once.
//!
//! *Invariant:* reading never fails open: a file that is there and cannot be used refuses
//! everything, and says why. Nothing here ever writes the file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use argosy_domain::{
    command::CommandParams,
    digest::Sha256,
    limits::POLICY_BYTES_MAX,
    policy::{InvalidPolicy, Policy, Refused, Updates},
    subsystem::Subsystem,
};
use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};

/// Where the policy of a host is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    path: Option<PathBuf>,
}

/// What the host's owner says, at the moment of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedPolicy {
    /// The rules.
    pub rules: Rules,
    /// SHA-256 of the file's bytes; of nothing where there is no file, or none that can be read.
    pub sha256: Sha256,
    /// Whether this process could change the file or put another in its place: then the policy
    /// binds the fleet only as far as the agent itself can be trusted.
    pub self_owned: bool,
}

/// The rules that are in force, by where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rules {
    /// There is no file.
    Defaults(Policy),
    /// The file's.
    File(Policy),
    /// There is a file and it cannot be used: everything is refused.
    Unusable(UnusablePolicy),
}

/// Why a policy file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusablePolicy {
    /// It is no policy; the text says where.
    #[error("policy.toml is not valid: {0}")]
    Invalid(InvalidPolicy),
    /// It is not text.
    #[error("policy.toml is not UTF-8")]
    NotText,
    /// It cannot be read.
    #[error("policy.toml cannot be read: {0}")]
    Unreadable(String),
}

impl PolicyFile {
    /// The policy at `path`. No file there means the defaults.
    pub fn at(path: &Path) -> Self {
        Self { path: Some(path.to_owned()) }
    }

    /// The defaults and no file, for simulated hosts.
    pub fn defaults() -> Self {
        Self { path: None }
    }

    /// Reads what holds now. Blocks for as long as the disk does.
    pub fn load(&self) -> LoadedPolicy {
        let Some(path) = &self.path else {
            return LoadedPolicy::absent(false);
        };
        let self_owned = can_change(path);
        match read(path) {
            Ok(None) => LoadedPolicy::absent(self_owned),
            Ok(Some(bytes)) => {
                LoadedPolicy { rules: parse(&bytes), sha256: Sha256::of(&bytes), self_owned }
            }
            Err(error) => LoadedPolicy {
                rules: Rules::Unusable(UnusablePolicy::Unreadable(error.to_string())),
                sha256: Sha256::of(b""),
                self_owned,
            },
        }
    }
}

impl LoadedPolicy {
    fn absent(self_owned: bool) -> Self {
        Self { rules: Rules::Defaults(Policy::default()), sha256: Sha256::of(b""), self_owned }
    }

    /// Whether a command may be carried out.
    pub fn allows(&self, params: &CommandParams) -> Result<(), Refused> {
        self.policy()?.allows(params)
    }

    /// Whether a subsystem may run.
    pub fn allows_subsystem(&self, subsystem: Subsystem) -> Result<(), Refused> {
        self.policy()?.allows_subsystem(subsystem)
    }

    /// Whether a cloud may be read.
    pub fn allows_provider(&self, provider: &str) -> Result<(), Refused> {
        self.policy()?.allows_provider(provider)
    }

    /// The rules about packages.
    pub fn updates(&self) -> Result<&Updates, Refused> {
        Ok(&self.policy()?.updates)
    }

    /// Why the file cannot be used, where it cannot.
    pub fn unusable(&self) -> Option<&UnusablePolicy> {
        match &self.rules {
            Rules::Defaults(_) | Rules::File(_) => None,
            Rules::Unusable(why) => Some(why),
        }
    }

    fn policy(&self) -> Result<&Policy, Refused> {
        match &self.rules {
            Rules::Defaults(policy) | Rules::File(policy) => Ok(policy),
            Rules::Unusable(why) => Err(Refused { rule: why.to_string() }),
        }
    }
}

fn parse(bytes: &[u8]) -> Rules {
    match std::str::from_utf8(bytes) {
        Err(_) => Rules::Unusable(UnusablePolicy::NotText),
        Ok(text) => match Policy::parse(text) {
            Ok(policy) => Rules::File(policy),
            Err(error) => Rules::Unusable(UnusablePolicy::Invalid(error)),
        },
    }
}

/// The file's bytes, one more than is allowed at most; none where there is no file.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // A pipe in its place must not hang the agent.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file: File = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        // A link that leads nowhere is no absent file: its owner wanted rules.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(POLICY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn can_change(path: &Path) -> bool {
    let writable = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return writable(path),
    };
    writable(path) || writable(parent)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn run_system() -> CommandParams {
        CommandParams::SubsystemRun { subsystem: Subsystem::System }
    }

    #[test]
    fn no_file_means_the_defaults_and_the_digest_of_nothing() {
        let tmp = tempfile::tempdir().unwrap();
        let loaded = PolicyFile::at(&tmp.path().join("policy.toml")).load();
        assert_eq!(loaded.allows(&run_system()), Ok(()));
        assert_eq!(loaded.sha256, Sha256::of(b""));
        assert!(loaded.self_owned, "whoever may make the file owns the policy");
        assert!(!PolicyFile::defaults().load().self_owned);
    }

    #[test]
    fn a_change_of_the_file_holds_at_once() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("policy.toml");
        let policy = PolicyFile::at(&path);
        let text = "[subsystems]\nallow = [\"storage\"]\n";
        fs::write(&path, text).unwrap();
        let loaded = policy.load();
        assert_eq!(loaded.sha256, Sha256::of(text.as_bytes()));
        assert_eq!(
            loaded.allows(&run_system()).unwrap_err().rule,
            "subsystems.allow does not list system"
        );
        fs::write(&path, "").unwrap();
        assert_eq!(policy.load().allows(&run_system()), Ok(()));
    }

    #[test]
    fn a_file_that_cannot_be_used_refuses_everything_and_says_why() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("policy.toml");
        let cases: [(&[u8], &str); 3] = [
            (b"[comands]\nallow = []", "policy.toml is not valid"),
            (b"\xff\xfe", "policy.toml is not UTF-8"),
            (&[b'#'; POLICY_BYTES_MAX + 1], "larger than"),
        ];
        for (bytes, why) in cases {
            fs::write(&path, bytes).unwrap();
            let loaded = PolicyFile::at(&path).load();
            let refused = loaded.allows_subsystem(Subsystem::System).unwrap_err();
            assert!(refused.rule.contains(why), "{}", refused.rule);
            assert!(loaded.unusable().is_some());
        }
        let loaded = PolicyFile::at(tmp.path()).load();
        assert!(loaded.allows(&run_system()).unwrap_err().rule.contains("cannot be read"));
    }
}
