//! The states of a command's life, and its steps.
//!
//! ```text
//! queued → sent → received → running → succeeded | failed | timed_out | rejected | cancelled
//! queued → cancelled | expired          what was sent → lost → (late receipt) the true outcome
//! ```

use crate::time::Timestamp;

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
    /// Withdrawn before it was started, or stopped because it was withdrawn.
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

    /// Whether the command went wrong. One that was withdrawn did not.
    pub fn went_wrong(self) -> bool {
        match self {
            Self::Failed | Self::TimedOut | Self::Rejected | Self::Expired | Self::Lost => true,
            Self::Succeeded | Self::Cancelled => false,
        }
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

    /// Nobody can say any more how it ended: whoever had it has forgotten it.
    pub fn lose(self, at: Timestamp, detail: String) -> Result<Self, InvalidStep> {
        match self {
            Self::Sent { .. } | Self::Received { .. } | Self::Running { .. } => {
                Ok(Self::Ended(End { outcome: Outcome::Lost, at, detail: Some(detail) }))
            }
            Self::Queued | Self::Ended(_) => Err(InvalidStep { from: self.as_str(), to: "lost" }),
        }
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Ended(_) => true,
            Self::Queued | Self::Sent { .. } | Self::Received { .. } | Self::Running { .. } => {
                false
            }
        }
    }

    /// Withdrawn before it was ever sent. What was sent already only its agent can stop.
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

/// Somebody's word that a command is no longer wanted. Its agent is told, and says what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
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
            6 => state.lose(at(6), "forgotten".into()),
            _ => state.cancel(at(7), "no longer needed".into()),
        }
    }

    proptest! {
        #[test]
        fn an_end_stands_unless_it_was_lost(steps in proptest::collection::vec(0u8..8, 0..20)) {
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
        assert!(sent.clone().cancel(at(2), String::new()).is_err());
        let lost = sent.lose(at(3), "forgotten".into()).unwrap();
        assert_eq!(lost.ended(end(Outcome::Failed)), Ok(CommandState::Ended(end(Outcome::Failed))));
        assert!(CommandState::Queued.lose(at(3), String::new()).is_err(), "it was never sent");
    }
}
