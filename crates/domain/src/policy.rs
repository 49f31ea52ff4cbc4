//! The host's local policy: what the fleet may do on this machine.
//!
//! The file `policy.toml` belongs to the host's owner. *Invariant:* nothing that a server sends
//! changes what this module answers; absent sections mean the defaults, which allow read-only
//! subsystems and refuse everything that changes the host.

use serde::Deserialize;

use crate::{
    command::{CommandKind, CommandParams},
    limits::POLICY_BYTES_MAX,
    package::PackageName,
    subsystem::Subsystem,
};

/// A policy as the host's owner wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What may be commanded.
    pub commands: Commands,
    /// Which subsystems may run.
    pub subsystems: Subsystems,
    /// Which clouds may be read.
    pub discovery: Discovery,
    /// Which packages may be installed, where `updates.install` is allowed at all.
    pub updates: Updates,
}

/// Section `[commands]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Commands {
    /// Kinds that are carried out, such as `subsystem.run`. Kinds that this version does not know
    /// may be listed; they allow nothing yet.
    pub allow: Vec<String>,
}

/// Section `[subsystems]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Subsystems {
    /// Subsystems that run by schedule or command.
    pub allow: Vec<String>,
}

/// Section `[discovery]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Discovery {
    /// Clouds that are read where the host is configured for them: `aws`, `gcp`, `azure`.
    pub providers: Vec<String>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self { providers: ["aws", "gcp", "azure"].map(str::to_owned).to_vec() }
    }
}

/// Section `[updates]`. Patterns are names in which `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Updates {
    /// Packages that may be installed; all of them, unless said otherwise.
    pub allow: Vec<String>,
    /// Packages that may not, whatever `allow` says.
    pub deny: Vec<String>,
    /// Only what closes a security hole, as the host's own package lists have it.
    pub security_only: bool,
    /// Packages that are not installed yet may come along where an upgrade depends on them.
    pub new_packages: bool,
    /// An agent that runs as root installs by itself and needs no helper.
    pub in_process: bool,
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            allow: vec!["*".to_owned()],
            deny: Vec::new(),
            security_only: false,
            new_packages: false,
            in_process: false,
        }
    }
}

impl Default for Commands {
    fn default() -> Self {
        // What looks, and what changes nothing but the agent itself.
        let harmless = CommandKind::ALL.into_iter().filter(|kind| !kind.changes_host());
        Self { allow: harmless.map(|kind| kind.as_str().to_owned()).collect() }
    }
}

impl Default for Subsystems {
    fn default() -> Self {
        Self { allow: Subsystem::ALL.map(|s| s.as_str().to_owned()).to_vec() }
    }
}

/// A file that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// Larger than 256 KiB.
    #[error("the policy is larger than {POLICY_BYTES_MAX} bytes")]
    TooLarge,
    /// Not the TOML that is asked for; the text says where.
    #[error("{0}")]
    Toml(String),
}

/// What the policy refused, and the rule that did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused by the host's policy: {rule}")]
pub struct Refused {
    /// The rule, such as `commands.allow does not list subsystem.run`.
    pub rule: String,
}

impl Policy {
    /// Reads `policy.toml`. Unknown sections and keys are errors: a rule that is misspelt must
    /// not silently allow.
    pub fn parse(text: &str) -> Result<Self, InvalidPolicy> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(InvalidPolicy::TooLarge);
        }
        toml::from_str(text).map_err(|error| InvalidPolicy::Toml(error.to_string()))
    }

    /// Whether a command may be carried out.
    pub fn allows(&self, params: &CommandParams) -> Result<(), Refused> {
        self.allows_kind(params.kind().as_str())?;
        match params {
            CommandParams::SubsystemRun { subsystem } => self.allows_subsystem(*subsystem),
            CommandParams::UpdatesInstall { packages, .. } => {
                packages.iter().try_for_each(|step| self.updates.allows(&step.name))
            }
            CommandParams::DiscoverySync
            | CommandParams::ConfigApply { .. }
            | CommandParams::AgentRestart
            | CommandParams::KeyRotate => Ok(()),
        }
    }

    /// Whether a subsystem may run at all.
    pub fn allows_subsystem(&self, subsystem: Subsystem) -> Result<(), Refused> {
        let name = subsystem.as_str();
        if self.subsystems.allow.iter().any(|allowed| allowed == name) {
            Ok(())
        } else {
            Err(Refused { rule: format!("subsystems.allow does not list {name}") })
        }
    }

    /// Whether a cloud may be read.
    pub fn allows_provider(&self, provider: &str) -> Result<(), Refused> {
        if self.discovery.providers.iter().any(|allowed| allowed == provider) {
            Ok(())
        } else {
            Err(Refused { rule: format!("discovery.providers does not list {provider}") })
        }
    }

    fn allows_kind(&self, kind: &str) -> Result<(), Refused> {
        if self.commands.allow.iter().any(|allowed| allowed == kind) {
            Ok(())
        } else {
            Err(Refused { rule: format!("commands.allow does not list {kind}") })
        }
    }
}

impl Updates {
    /// Whether this package may be installed.
    pub fn allows(&self, name: &PackageName) -> Result<(), Refused> {
        let matched = |pattern: &&String| matches(pattern, name.as_str());
        if let Some(pattern) = self.deny.iter().find(matched) {
            return Err(Refused { rule: format!("updates.deny lists {pattern}: {name}") });
        }
        match self.allow.iter().find(matched) {
            Some(_) => Ok(()),
            None => Err(Refused { rule: format!("updates.allow does not list {name}") }),
        }
    }
}

/// Whether a name fits a pattern, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(subsystem: Subsystem) -> CommandParams {
        CommandParams::SubsystemRun { subsystem }
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let policy = Policy::parse("").unwrap();
        assert_eq!(policy, Policy::default());
        assert_eq!(policy.allows(&run(Subsystem::Updates)), Ok(()));
    }

    #[test]
    fn a_refusal_names_its_rule() {
        let policy = Policy::parse("[commands]\nallow = []").unwrap();
        let refused = policy.allows(&run(Subsystem::System)).unwrap_err();
        assert_eq!(refused.rule, "commands.allow does not list subsystem.run");
        let policy = Policy::parse("[subsystems]\nallow = [\"system\"]").unwrap();
        let refused = policy.allows(&run(Subsystem::Storage)).unwrap_err();
        assert_eq!(refused.rule, "subsystems.allow does not list storage");
        let policy = Policy::parse("[discovery]\nproviders = []").unwrap();
        let refused = policy.allows_provider("aws").unwrap_err();
        assert_eq!(refused.rule, "discovery.providers does not list aws");
        for provider in ["aws", "gcp", "azure"] {
            assert_eq!(Policy::default().allows_provider(provider), Ok(()));
        }
    }

    #[test]
    fn a_misspelt_rule_is_an_error() {
        assert!(Policy::parse("[command]\nallow = []").is_err());
        assert!(Policy::parse("[commands]\nalow = []").is_err());
        assert!(Policy::parse("[commands]\nallow = \"all\"").is_err());
    }

    fn install(names: &[&str]) -> CommandParams {
        let step = |name: &&str| crate::package::PackageStep {
            name: name.parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            version: "1".parse().unwrap(),
        };
        let packages = names.iter().map(step).collect();
        CommandParams::UpdatesInstall { dry_run: true, packages }
    }

    #[test]
    fn packages_are_installed_only_where_the_owner_says_so_by_name() {
        let refused = Policy::default().allows(&install(&["bash"])).unwrap_err();
        assert_eq!(refused.rule, "commands.allow does not list updates.install");
        let allowed = "[commands]\nallow = [\"updates.install\"]\n";
        assert_eq!(Policy::parse(allowed).unwrap().allows(&install(&["bash"])), Ok(()));
        let some = format!("{allowed}[updates]\nallow = [\"lib*\", \"bash\"]\ndeny = [\"*ssl*\"]");
        let some = Policy::parse(&some).unwrap();
        assert_eq!(some.allows(&install(&["bash", "libc6"])), Ok(()));
        let refused = some.allows(&install(&["bash", "libssl3"])).unwrap_err();
        assert_eq!(refused.rule, "updates.deny lists *ssl*: libssl3");
        let refused = some.allows(&install(&["bash-completion"])).unwrap_err();
        assert_eq!(refused.rule, "updates.allow does not list bash-completion");
        assert!(Policy::parse("[updates]\nsecurity = true").is_err());
    }

    #[test]
    fn a_pattern_fits_whole_names() {
        for (pattern, name, fits) in [
            ("bash", "bash", true),
            ("bash", "bash-doc", false),
            ("*", "bash", true),
            ("lib*", "libc6", true),
            ("lib*", "alib", false),
            ("*-dev", "libc6-dev", true),
            ("l*c*6", "libc6", true),
            ("a*a", "a", false),
            ("linux-*-amd64", "linux-image-6.1-amd64", true),
            ("", "bash", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,200}") {
            let _ = Policy::parse(&text);
        }
    }
}
