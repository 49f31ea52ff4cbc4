//! Commands: signed instructions to one agent, and the states of their lives.
//!
//! *Invariant:* an ended command never changes again, except that a late receipt amends `lost`.

mod state;

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Serialize};

pub use state::{CommandState, End, InvalidStep, Outcome, Withdrawal};

use crate::{
    configuration::Generation,
    digest::Sha256,
    id::{AgentId, CommandId, OrgId},
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
    /// Take the configuration that the server wants, and say so with a receipt.
    ConfigApply,
    /// Begin anew: the agent's process, not the host.
    AgentRestart,
    /// Put a new identity key in the place of the present one.
    KeyRotate,
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
    "is no command kind of this version; there are subsystem.run, config.apply, agent.restart and \
     key.rotate"
)]
pub struct UnknownKind;

impl CommandKind {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::SubsystemRun, Self::ConfigApply, Self::AgentRestart, Self::KeyRotate];

    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SubsystemRun => "subsystem.run",
            Self::ConfigApply => "config.apply",
            Self::AgentRestart => "agent.restart",
            Self::KeyRotate => "key.rotate",
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
            Self::SubsystemRun => true,
            Self::ConfigApply | Self::AgentRestart | Self::KeyRotate => false,
        }
    }

    /// What happens to a started command of this kind after a crash.
    pub fn recovery(self) -> Recovery {
        match self {
            Self::SubsystemRun | Self::ConfigApply => Recovery::Repeat,
            Self::AgentRestart | Self::KeyRotate => Recovery::Probe,
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
            Self::ConfigApply { .. } => CommandKind::ConfigApply,
            Self::AgentRestart => CommandKind::AgentRestart,
            Self::KeyRotate => CommandKind::KeyRotate,
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
        struct Nothing {}
        let read = match kind {
            CommandKind::SubsystemRun => serde_json::from_slice::<SubsystemRun>(json)
                .map(|params| Self::SubsystemRun { subsystem: params.subsystem }),
            CommandKind::ConfigApply => serde_json::from_slice::<ConfigApply>(json).map(|params| {
                let document = params.document.to_string().into_bytes();
                Self::ConfigApply { generation: params.generation, document }
            }),
            CommandKind::AgentRestart => {
                serde_json::from_slice::<Nothing>(json).map(|Nothing {}| Self::AgentRestart)
            }
            CommandKind::KeyRotate => {
                serde_json::from_slice::<Nothing>(json).map(|Nothing {}| Self::KeyRotate)
            }
        };
        read.map_err(|error| InvalidParams { kind: kind.as_str(), reason: error.to_string() })
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
}
