//! Commands: signed instructions to one agent, and the states of their lives.
//!
//! ```text
//! queued → sent → received → running → succeeded | failed | timed_out | rejected | cancelled
//! queued → cancelled | expired          any unended → lost → (late receipt) the true outcome
//! ```
//! *Invariant:* an ended command never changes again, except that a late receipt amends `lost`.

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
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
#[error("is no command kind of this version; there is subsystem.run")]
pub struct UnknownKind;

impl CommandKind {
    /// Every kind.
    pub const ALL: [Self; 1] = [Self::SubsystemRun];

    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SubsystemRun => "subsystem.run",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }

    /// What happens to a started command of this kind after a crash.
    pub fn recovery(self) -> Recovery {
        match self {
            Self::SubsystemRun => Recovery::Repeat,
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
    /// Reads the JSON parameters of a kind. Unknown fields are refused: what is signed must mean
    /// the same to both sides.
    pub fn parse(kind: CommandKind, json: &[u8]) -> Result<Self, InvalidParams> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct SubsystemRun {
            subsystem: Subsystem,
        }
        match kind {
            CommandKind::SubsystemRun => serde_json::from_slice::<SubsystemRun>(json)
                .map(|params| Self::SubsystemRun { subsystem: params.subsystem })
                .map_err(|error| InvalidParams { kind: kind.as_str(), reason: error.to_string() }),
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done.
    Succeeded,
    /// Tried, and it did not work.
    Failed,
    /// Stopped because it took too long.
    TimedOut,
    /// Refused by the agent: its local policy, or parameters that it cannot carry out.
    Rejected,
    /// Withdrawn before it was started.
    Cancelled,
    /// Its time was over before it was sent, or before the agent started it.
    Expired,
    /// Nobody can say: the agent's memory of it is gone.
    Lost,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Rejected,
        Self::Cancelled,
        Self::Expired,
        Self::Lost,
    ];

    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Lost => "lost",
        }
    }

    /// The outcome of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// When the server learned of it.
    pub at: Timestamp,
    /// Why, in one sentence; empty when it succeeded.
    pub detail: Option<String>,
}

/// Where a command stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandState {
    /// Waiting for its agent.
    Queued,
    /// Written to the agent's stream, not yet acknowledged.
    Sent {
        /// When it was last sent.
        at: Timestamp,
    },
    /// Durable on the agent.
    Received {
        /// When the acknowledgment came.
        at: Timestamp,
    },
    /// Started on the agent.
    Running {
        /// When the server learned of it.
        at: Timestamp,
    },
    /// Over.
    Ended(End),
}

/// A step that the present state does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a command that is {from} cannot become {to}")]
pub struct InvalidStep {
    /// Name of the state it is in.
    pub from: &'static str,
    /// Name of the state that was asked for.
    pub to: &'static str,
}

impl CommandState {
    /// The public name of the state; an ended command shows its outcome.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent { .. } => "sent",
            Self::Received { .. } => "received",
            Self::Running { .. } => "running",
            Self::Ended(end) => end.outcome.as_str(),
        }
    }

    /// Written to a stream (again).
    pub fn sent(self, at: Timestamp) -> Result<Self, InvalidStep> {
        match self {
            Self::Queued | Self::Sent { .. } => Ok(Self::Sent { at }),
            Self::Received { .. } | Self::Running { .. } | Self::Ended(_) => {
                Err(InvalidStep { from: self.as_str(), to: "sent" })
            }
        }
    }

    /// The agent has it durably. A repeated acknowledgment changes nothing.
    pub fn received(self, at: Timestamp) -> Result<Self, InvalidStep> {
        match self {
            Self::Queued | Self::Sent { .. } => Ok(Self::Received { at }),
            Self::Received { .. } | Self::Running { .. } => Ok(self),
            Self::Ended(_) => Err(InvalidStep { from: self.as_str(), to: "received" }),
        }
    }

    /// The agent started it.
    pub fn running(self, at: Timestamp) -> Result<Self, InvalidStep> {
        match self {
            Self::Queued | Self::Sent { .. } | Self::Received { .. } => Ok(Self::Running { at }),
            Self::Running { .. } => Ok(self),
            Self::Ended(_) => Err(InvalidStep { from: self.as_str(), to: "running" }),
        }
    }

    /// It ended on the agent. Amends `lost`; any other end stands.
    pub fn ended(self, end: End) -> Result<Self, InvalidStep> {
        match self {
            Self::Queued | Self::Sent { .. } | Self::Received { .. } | Self::Running { .. } => {
                Ok(Self::Ended(end))
            }
            Self::Ended(End { outcome: Outcome::Lost, .. }) => Ok(Self::Ended(end)),
            Self::Ended(_) => Err(InvalidStep { from: self.as_str(), to: end.outcome.as_str() }),
        }
    }

    /// Its time was over before it was ever sent.
    pub fn expire(self, at: Timestamp) -> Result<Self, InvalidStep> {
        match self {
            Self::Queued => Ok(Self::Ended(End { outcome: Outcome::Expired, at, detail: None })),
            Self::Sent { .. } | Self::Received { .. } | Self::Running { .. } | Self::Ended(_) => {
                Err(InvalidStep { from: self.as_str(), to: "expired" })
            }
        }
    }

    /// Withdrawn before it was ever sent.
    pub fn cancel(self, at: Timestamp, detail: String) -> Result<Self, InvalidStep> {
        match self {
            Self::Queued => {
                let detail = Some(detail);
                Ok(Self::Ended(End { outcome: Outcome::Cancelled, at, detail }))
            }
            Self::Sent { .. } | Self::Received { .. } | Self::Running { .. } | Self::Ended(_) => {
                Err(InvalidStep { from: self.as_str(), to: "cancelled" })
            }
        }
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
    /// What came back.
    pub result: Option<CommandResult>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_seconds(s)
    }

    fn end(outcome: Outcome) -> End {
        End { outcome, at: at(9), detail: None }
    }

    fn apply(state: CommandState, step: u8) -> Result<CommandState, InvalidStep> {
        match step {
            0 => state.sent(at(1)),
            1 => state.received(at(2)),
            2 => state.running(at(3)),
            3 => state.ended(end(Outcome::Succeeded)),
            4 => state.ended(end(Outcome::Lost)),
            5 => state.expire(at(5)),
            _ => state.cancel(at(6), "no longer needed".into()),
        }
    }

    proptest! {
        #[test]
        fn an_end_stands_unless_it_was_lost(steps in proptest::collection::vec(0u8..7, 0..20)) {
            let mut state = CommandState::Queued;
            for step in steps {
                let before = state.clone();
                if let Ok(next) = apply(state.clone(), step) {
                    let ended = matches!(&before, CommandState::Ended(e) if e.outcome != Outcome::Lost);
                    prop_assert!(!ended, "{before:?} became {next:?}");
                    state = next;
                }
            }
        }
    }

    #[test]
    fn what_was_sent_neither_expires_nor_is_withdrawn() {
        let sent = CommandState::Queued.sent(at(1)).unwrap();
        assert!(sent.clone().expire(at(2)).is_err());
        assert!(sent.cancel(at(2), String::new()).is_err());
    }

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
