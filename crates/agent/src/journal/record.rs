//! What the journal remembers of one command, and how that changes.
//!
//! `received → started → finished → acknowledged`; a command that is refused or expires goes from
//! received to finished without a start.
//!
//! *Invariant:* what is finished keeps its outcome, its result and its receipt, byte for byte,
//! until the server has acknowledged them.

use std::time::Duration;

use argosy_domain::{
    command::{CommandSeq, Outcome},
    digest::Sha256,
    id::{CommandId, OrgId},
    time::Timestamp,
};
use argosy_wire::{bytes::Bytes32, sign::Signed};
use serde::{Deserialize, Serialize};

use super::encoding::{base64, micros, outcome};
use crate::{boot::BootId, credentials::signed, packages::SignedOrder};

/// One command in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRecord {
    /// Its id.
    pub id: CommandId,
    /// Its tenant.
    pub org: OrgId,
    /// Place in the agent's order.
    pub sequence: CommandSeq,
    /// What it tells the agent to do; perhaps a kind that this version does not know.
    pub kind: String,
    /// Digest of its parameters.
    pub params_sha256: Bytes32,
    /// Where it stands.
    pub state: RecordState,
}

impl CommandRecord {
    /// What a receipt names of it: id and digest of the parameters.
    pub fn of(&self) -> (&CommandId, Bytes32) {
        (&self.id, self.params_sha256)
    }
}

/// Where a command stands on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RecordState {
    /// Durable here, and waiting.
    Received(Received),
    /// Its effect may have begun.
    Started(Started),
    /// Over; the server has not said that it knows.
    Finished(Finished),
    /// Over, and the server knows.
    Acknowledged(Acknowledged),
}

/// A command that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// The parameters as they are signed.
    #[serde(with = "base64")]
    pub params: Vec<u8>,
    /// When it may be started.
    pub window: Window,
    /// As the server signed it, where somebody else on this host verifies it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<SignedOrder>,
}

/// When a command may be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The boot of the host in which it was received; the spans below mean nothing in another.
    pub boot: BootId,
    /// Boot clock: not before.
    #[serde(with = "micros")]
    pub opens: Duration,
    /// Boot clock: not at or after.
    #[serde(with = "micros")]
    pub closes: Duration,
    /// The same by the server's clock: not before.
    pub not_before: Timestamp,
    /// The same by the server's clock: not at or after.
    pub expires_at: Timestamp,
}

/// A command whose effect may have begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// The parameters as they are signed.
    #[serde(with = "base64")]
    pub params: Vec<u8>,
    /// When it was first started, by the host's clock.
    pub at: Timestamp,
    /// How often it was started; more than once only for kinds that repeat.
    pub runs: u32,
    /// As the server signed it, where somebody else on this host verifies it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<SignedOrder>,
}

/// A command that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// How it ended.
    #[serde(with = "outcome")]
    pub outcome: Outcome,
    /// The result document, JSON.
    #[serde(with = "base64")]
    pub payload: Vec<u8>,
    /// The agent's signed word about it.
    #[serde(with = "signed")]
    pub receipt: Signed,
}

/// A command that is over for both sides; the result document is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// How it ended.
    #[serde(with = "outcome")]
    pub outcome: Outcome,
    /// The agent's signed word about it.
    #[serde(with = "signed")]
    pub receipt: Signed,
    /// Since when the id is remembered for its own sake, by the host's clock.
    pub at: Timestamp,
}

/// A step that the present state does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a journalled command that is {from} cannot become {to}")]
pub struct InvalidStep {
    /// Name of the state it is in.
    pub from: &'static str,
    /// Name of the state that was asked for.
    pub to: &'static str,
}

impl RecordState {
    /// The name of the state.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Received(_) => "received",
            Self::Started(_) => "started",
            Self::Finished(_) => "finished",
            Self::Acknowledged(_) => "acknowledged",
        }
    }

    /// Its effect begins.
    pub fn start(self, at: Timestamp) -> Result<Self, InvalidStep> {
        match self {
            Self::Received(Received { params, order, .. }) => {
                Ok(Self::Started(Started { params, at, runs: 1, order }))
            }
            Self::Started(_) | Self::Finished(_) | Self::Acknowledged(_) => self.refuse("started"),
        }
    }

    /// Its effect begins once more, after a crash.
    pub fn repeat(self) -> Result<Self, InvalidStep> {
        match self {
            Self::Started(started) => {
                Ok(Self::Started(Started { runs: started.runs.saturating_add(1), ..started }))
            }
            Self::Received(_) | Self::Finished(_) | Self::Acknowledged(_) => {
                self.refuse("repeated")
            }
        }
    }

    /// It is over.
    pub fn finish(self, finished: Finished) -> Result<Self, InvalidStep> {
        match self {
            Self::Received(_) | Self::Started(_) => Ok(Self::Finished(finished)),
            Self::Finished(_) | Self::Acknowledged(_) => self.refuse("finished"),
        }
    }

    /// The server has the result whose digest is `result_sha256`. A repetition changes nothing.
    pub fn acknowledge(
        self,
        result_sha256: &Bytes32,
        at: Timestamp,
    ) -> Result<Self, NotAcknowledged> {
        match self {
            Self::Finished(finished) if Sha256::of(&finished.payload).0 == result_sha256.0 => {
                let Finished { outcome, receipt, .. } = finished;
                Ok(Self::Acknowledged(Acknowledged { outcome, receipt, at }))
            }
            Self::Finished(_) => Err(NotAcknowledged::OtherResult),
            Self::Acknowledged(_) => Ok(self),
            Self::Received(_) | Self::Started(_) => Err(NotAcknowledged::NotOver),
        }
    }

    fn refuse<T>(&self, to: &'static str) -> Result<T, InvalidStep> {
        Err(InvalidStep { from: self.as_str(), to })
    }
}

/// Why an acknowledgment does not fit a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAcknowledged {
    /// It names another result than the one that is kept here.
    #[error("the acknowledgment names another result")]
    OtherResult,
    /// The command is not over.
    #[error("the command that is acknowledged is not over")]
    NotOver,
}

#[cfg(test)]
mod tests {
    use argosy_wire::bytes::Fixed;
    use proptest::prelude::*;

    use super::*;

    fn received() -> RecordState {
        RecordState::Received(Received {
            params: b"{}".to_vec(),
            window: Window {
                boot: BootId::new("b1"),
                opens: Duration::from_secs(1),
                closes: Duration::from_secs(2),
                not_before: Timestamp::from_seconds(1),
                expires_at: Timestamp::from_seconds(2),
            },
            order: None,
        })
    }

    fn finished(payload: &[u8]) -> Finished {
        Finished {
            outcome: Outcome::Succeeded,
            payload: payload.to_vec(),
            receipt: Signed { payload: b"{}".to_vec(), signature: Fixed([1; 64]) },
        }
    }

    fn apply(state: RecordState, step: u8) -> Option<RecordState> {
        let at = Timestamp::from_seconds(9);
        match step {
            0 => state.start(at).ok(),
            1 => state.repeat().ok(),
            2 => state.finish(finished(b"first")).ok(),
            3 => state.finish(finished(b"second")).ok(),
            4 => state.acknowledge(&Fixed(Sha256::of(b"first").0), at).ok(),
            _ => state.acknowledge(&Fixed(Sha256::of(b"second").0), at).ok(),
        }
    }

    fn rank(state: &RecordState) -> u8 {
        match state {
            RecordState::Received(_) => 0,
            RecordState::Started(_) => 1,
            RecordState::Finished(_) => 2,
            RecordState::Acknowledged(_) => 3,
        }
    }

    proptest! {
        #[test]
        fn a_command_never_goes_back_and_ends_once(
            steps in proptest::collection::vec(0u8..6, 0..20)
        ) {
            let mut state = received();
            for step in steps {
                let before = state.clone();
                let Some(after) = apply(state.clone(), step) else { continue };
                prop_assert!(rank(&after) >= rank(&before), "{before:?} became {after:?}");
                if let (RecordState::Finished(was), RecordState::Finished(is)) = (&before, &after) {
                    prop_assert_eq!(was, is);
                }
                if rank(&after) == 3 {
                    prop_assert!(rank(&before) >= 2, "{before:?} became {after:?}");
                }
                state = after;
            }
        }

        #[test]
        fn a_record_reads_back_as_it_was(steps in proptest::collection::vec(0u8..6, 0..6)) {
            let mut record = CommandRecord {
                id: "c1".parse().unwrap(),
                org: OrgId::default_org(),
                sequence: CommandSeq(7),
                kind: "subsystem.run".into(),
                params_sha256: Fixed([3; 32]),
                state: received(),
            };
            for step in steps {
                record.state = apply(record.state.clone(), step).unwrap_or(record.state);
            }
            let json = serde_json::to_vec(&record).unwrap();
            prop_assert_eq!(serde_json::from_slice::<CommandRecord>(&json).unwrap(), record);
        }
    }
}
