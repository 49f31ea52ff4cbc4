//! Commands: signed instructions to one agent, and the states of their lives.
//!
//! *Invariant:* an ended command never changes again, except that a late receipt amends `lost`.

mod state;

use std::{collections::BTreeSet, fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Serialize};

pub use state::{CommandState, End, InvalidStep, Outcome, Withdrawal};

use crate::{
    configuration::Generation,
    digest::Sha256,
    id::{AgentId, CommandId, OrgId},
    limits::PACKAGES_PER_COMMAND_MAX,
    package::PackageStep,
    subsystem::Subsystem,
    time::Timestamp,
};

/// Place of a command in its agent's order; rises by at least one from command to command.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct CommandSeq(pub i64);

impl fmt::Display for CommandSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CommandSeq {
    type Err = ParseIntError;
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// What a command tells an agent to do. A new kind begins here: the compiler then names every
/// place that has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandKind {
    /// Run a subsystem now and report.
    SubsystemRun,
    /// Read the clouds that the host has credentials for, and deliver what is there.
    DiscoverySync,
    /// Take the configuration that the server wants, and say so with a receipt.
    ConfigApply,
    /// Begin anew: the agent's process, not the host.
    AgentRestart,
    /// Put a new identity key in the place of the present one.
    KeyRotate,
    /// Install versions of operating system packages, or try what that would do.
    UpdatesInstall,
}

/// How a kind that was started before a crash is treated after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Start again: the effect is the same once or twice.
    Repeat,
    /// Look for the effect, which is tagged with the command's id.
    Probe,
    /// End as failed, code `interrupted`.
    Stop,
}

/// A name that is no command kind of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no command kind of this version; there are subsystem.run, discovery.sync, config.apply, \
     agent.restart, key.rotate and updates.install"
)]
pub struct UnknownKind;

impl CommandKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::SubsystemRun,
        Self::DiscoverySync,
        Self::ConfigApply,
        Self::AgentRestart,
        Self::KeyRotate,
        Self::UpdatesInstall,
    ];

    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SubsystemRun => "subsystem.run",
            Self::DiscoverySync => "discovery.sync",
            Self::ConfigApply => "config.apply",
            Self::AgentRestart => "agent.restart",
            Self::KeyRotate => "key.rotate",
            Self::UpdatesInstall => "updates.install",
        }
    }

    /// Whether it changes the host, and not only looks at it or at the agent: then a host's owner must
    /// allow it by name.
    pub fn changes_host(self) -> bool {
        match self {
            Self::UpdatesInstall => true,
            Self::SubsystemRun
            | Self::DiscoverySync
            | Self::ConfigApply
            | Self::AgentRestart
            | Self::KeyRotate => false,
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }

    /// Whether a command of this kind can be stopped while it runs. One that cannot runs to its end
    /// when it is withdrawn.
    pub fn stoppable(self) -> bool {
        match self {
            Self::SubsystemRun | Self::DiscoverySync => true,
            Self::ConfigApply | Self::AgentRestart | Self::KeyRotate | Self::UpdatesInstall => {
                false
            }
        }
    }

    /// What happens to a started command of this kind after a crash.
    pub fn recovery(self) -> Recovery {
        match self {
            Self::SubsystemRun | Self::DiscoverySync | Self::ConfigApply => Recovery::Repeat,
            Self::AgentRestart | Self::KeyRotate | Self::UpdatesInstall => Recovery::Probe,
        }
    }
}

/// Parameters, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandParams {
    /// Of `subsystem.run`.
    SubsystemRun {
        /// Which one.
        subsystem: Subsystem,
    },
    /// Of `discovery.sync`: none.
    DiscoverySync,
    /// Of `config.apply`. The server fills them in; whoever gives the command says nothing.
    ConfigApply {
        /// Of the document.
        generation: Generation,
        /// JSON, as [`crate::configuration::Configuration`] reads it.
        document: Vec<u8>,
    },
    /// Of `agent.restart`: none.
    AgentRestart,
    /// Of `key.rotate`: none.
    KeyRotate,
    /// Of `updates.install`. The server fills them in with what is approved for the agent.
    UpdatesInstall {
        /// Only say what would happen.
        dry_run: bool,
        /// What to install; each name and architecture once.
        packages: Vec<PackageStep>,
    },
}

/// Parameters that do not fit their kind. Displays as what follows the field's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("do not fit {kind}: {reason}")]
pub struct InvalidParams {
    /// The kind's name.
    pub kind: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl CommandParams {
    /// The kind that they are of.
    pub fn kind(&self) -> CommandKind {
        match self {
            Self::SubsystemRun { .. } => CommandKind::SubsystemRun,
            Self::DiscoverySync => CommandKind::DiscoverySync,
            Self::ConfigApply { .. } => CommandKind::ConfigApply,
            Self::AgentRestart => CommandKind::AgentRestart,
            Self::KeyRotate => CommandKind::KeyRotate,
            Self::UpdatesInstall { .. } => CommandKind::UpdatesInstall,
        }
    }

    /// Reads the JSON parameters of a kind. Unknown fields are refused: what is signed must mean
    /// the same to both sides.
    pub fn parse(kind: CommandKind, json: &[u8]) -> Result<Self, InvalidParams> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct SubsystemRun {
            subsystem: Subsystem,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ConfigApply {
            generation: Generation,
            document: serde_json::Value,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct UpdatesInstall {
            dry_run: bool,
            packages: Vec<PackageStep>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let unfit = |reason: String| InvalidParams { kind: kind.as_str(), reason };
        let read = match kind {
            CommandKind::SubsystemRun => serde_json::from_slice::<SubsystemRun>(json)
                .map(|params| Self::SubsystemRun { subsystem: params.subsystem }),
            CommandKind::ConfigApply => serde_json::from_slice::<ConfigApply>(json).map(|params| {
                let document = params.document.to_string().into_bytes();
                Self::ConfigApply { generation: params.generation, document }
            }),
            CommandKind::DiscoverySync => {
                serde_json::from_slice::<Nothing>(json).map(|Nothing {}| Self::DiscoverySync)
            }
            CommandKind::AgentRestart => {
                serde_json::from_slice::<Nothing>(json).map(|Nothing {}| Self::AgentRestart)
            }
            CommandKind::KeyRotate => {
                serde_json::from_slice::<Nothing>(json).map(|Nothing {}| Self::KeyRotate)
            }
            CommandKind::UpdatesInstall => serde_json::from_slice::<UpdatesInstall>(json).map(
                |UpdatesInstall { dry_run, packages }| Self::UpdatesInstall { dry_run, packages },
            ),
        };
        let params = read.map_err(|error| unfit(error.to_string()))?;
        match &params {
            Self::UpdatesInstall { packages, .. } => check_steps(packages).map_err(unfit)?,
            Self::SubsystemRun { .. }
            | Self::DiscoverySync
            | Self::ConfigApply { .. }
            | Self::AgentRestart
            | Self::KeyRotate => {}
        }
        Ok(params)
    }
}

fn check_steps(steps: &[PackageStep]) -> Result<(), String> {
    if steps.is_empty() || steps.len() > PACKAGES_PER_COMMAND_MAX {
        return Err(format!("packages must be 1 to {PACKAGES_PER_COMMAND_MAX}"));
    }
    let mut named = BTreeSet::new();
    match steps.iter().find(|step| !named.insert((&step.name, &step.architecture))) {
        Some(twice) => Err(format!("packages names {}:{} twice", twice.name, twice.architecture)),
        None => Ok(()),
    }
}

/// What the agent said about the end, kept as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandResult {
    /// The result document, JSON.
    pub payload: Vec<u8>,
    /// The signed receipt's bytes; none from an agent that cannot sign.
    pub receipt: Option<Vec<u8>>,
    /// The receipt's signature.
    pub receipt_signature: Option<Vec<u8>>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// Its tenant.
    pub org: OrgId,
    /// The one agent that it is for.
    pub agent: AgentId,
    /// What to do.
    pub kind: CommandKind,
    /// JSON parameters exactly as they are signed.
    pub params: Vec<u8>,
    /// Digest of `params`.
    pub params_sha256: Sha256,
    /// Place in the agent's order.
    pub sequence: CommandSeq,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// The agent does not start it after this.
    pub expires_at: Timestamp,
    /// The caller's own key: a repeated request returns the same command.
    pub idempotency_key: Option<String>,
    /// Where it stands.
    pub state: CommandState,
    /// Somebody no longer wants it.
    pub withdrawn: Option<Withdrawal>,
    /// What came back.
    pub result: Option<CommandResult>,
}

impl Command {
    /// Whether an agent with this high-water mark has forgotten the command; `other` says that its
    /// journal is another one than before. What repeats harmlessly may be sent to a new journal.
    pub fn is_forgotten(&self, other: bool, high_water: CommandSeq) -> bool {
        match self.state {
            CommandState::Received { .. } | CommandState::Running { .. } => {
                other || self.sequence > high_water
            }
            CommandState::Sent { .. } => other && self.kind.recovery() != Recovery::Repeat,
            CommandState::Queued | CommandState::Ended(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_are_read_strictly() {
        let parse = |json: &str| CommandParams::parse(CommandKind::SubsystemRun, json.as_bytes());
        assert_eq!(
            parse(r#"{"subsystem":"system"}"#),
            Ok(CommandParams::SubsystemRun { subsystem: Subsystem::System })
        );
        assert!(parse(r#"{"subsystem":"system","x":1}"#).is_err());
        assert!(parse(r#"{"subsystem":"shell"}"#).is_err());
        assert!(parse("[]").is_err());
    }

    #[test]
    fn packages_are_named_once_and_with_their_versions() {
        let parse = |json: &str| CommandParams::parse(CommandKind::UpdatesInstall, json.as_bytes());
        let step = r#"{"name":"bash","architecture":"amd64","version":"5.2-1"}"#;
        let Ok(CommandParams::UpdatesInstall { dry_run: true, packages }) =
            parse(&format!(r#"{{"dry_run":true,"packages":[{step}]}}"#))
        else {
            panic!("not read")
        };
        assert_eq!(packages[0].to_string(), "bash:amd64 5.2-1");
        for bad in [
            r#"{"dry_run":true,"packages":[]}"#.to_owned(),
            format!(r#"{{"packages":[{step}]}}"#),
            format!(r#"{{"dry_run":false,"packages":[{step},{step}]}}"#),
            format!(r#"{{"dry_run":false,"packages":[{step}],"force":true}}"#),
            r#"{"dry_run":false,"packages":[{"name":"-y","architecture":"a","version":"1"}]}"#
                .to_owned(),
            r#"{"dry_run":false,"packages":[{"name":"a","architecture":"a","version":"1-"}]}"#
                .to_owned(),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
        let many: Vec<String> = (0..=PACKAGES_PER_COMMAND_MAX)
            .map(|n| format!(r#"{{"name":"p{n}","architecture":"all","version":"1"}}"#))
            .collect();
        assert!(parse(&format!(r#"{{"dry_run":true,"packages":[{}]}}"#, many.join(","))).is_err());
    }
}
