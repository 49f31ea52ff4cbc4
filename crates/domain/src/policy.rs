//! The host's local policy: what the fleet may do on this machine.
//!
//! The file `policy.toml` belongs to the host's owner. *Invariant:* nothing that a server sends
//! changes what this module answers; absent sections mean the defaults, which allow read-only
//! subsystems and refuse everything that changes the host.

use serde::Deserialize;

use crate::{
    command::{CommandKind, CommandParams},
    limits::POLICY_BYTES_MAX,
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

impl Default for Commands {
    fn default() -> Self {
        // What looks, and what changes nothing but the agent itself.
        Self { allow: CommandKind::ALL.map(|kind| kind.as_str().to_owned()).to_vec() }
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
            CommandParams::ConfigApply { .. }
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

    fn allows_kind(&self, kind: &str) -> Result<(), Refused> {
        if self.commands.allow.iter().any(|allowed| allowed == kind) {
            Ok(())
        } else {
            Err(Refused { rule: format!("commands.allow does not list {kind}") })
        }
    }
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
    }

    #[test]
    fn a_misspelt_rule_is_an_error() {
        assert!(Policy::parse("[command]\nallow = []").is_err());
        assert!(Policy::parse("[commands]\nalow = []").is_err());
        assert!(Policy::parse("[commands]\nallow = \"all\"").is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,200}") {
            let _ = Policy::parse(&text);
        }
    }
}
