//! What the engine and those around it say to each other.

use std::time::Duration;

use argosy_domain::{
    command::{CommandKind, CommandParams, Outcome},
    id::CommandId,
};
use argosy_wire::sign::Signed;
use futures::future::BoxFuture;

use super::{RunOutcome, Untrusted};
use crate::{
    journal::{Finished, JournalError, NotAcknowledged},
    packages::Request,
};

/// Carries out commands whose parameters are read and whose policy is checked.
pub trait CommandRunner: Send + Sync {
    /// Does the work. Dropping the future stops it; a panic ends the command as failed. `request` is
    /// the command as the server signed it, for kinds that change the host.
    fn run<'a>(
        &'a self,
        id: &'a CommandId,
        params: CommandParams,
        request: Option<Request>,
    ) -> BoxFuture<'a, RunOutcome>;

    /// How long the work may take; afterwards it is stopped and the command ends as timed out.
    fn timeout(&self, params: &CommandParams) -> Duration;

    /// What became of a command that was under way when the process ended, as far as its mark tells.
    fn probe(&self, id: &CommandId, kind: CommandKind) -> Probed;
}

/// What the mark of a command tells after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// It had its effect.
    Ended(RunOutcome),
    /// It goes on where it was; doing so does nothing twice.
    Again,
    /// There is no mark: how far it came is not known.
    Unknown,
}

/// What to answer to a command that was offered. Errors are for people, at most 4,096 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// It is durable here, now or since before: acknowledge as received.
    Received(CommandId),
    /// It is over and the server has not said that it knows: acknowledge as received and send the
    /// result.
    Finished(FinishedCommand),
    /// It is over, and the server said that it knows: acknowledge as received. The result document
    /// is gone; this is the receipt of it.
    Acknowledged {
        /// The command.
        id: CommandId,
        /// How it ended.
        outcome: Outcome,
        /// The signed receipt.
        receipt: Signed,
    },
    /// Nothing was taken, and nothing higher will be until this is offered again: answer busy.
    Busy {
        /// The command.
        id: CommandId,
        /// Why.
        error: String,
    },
    /// Its sequence is not above the journal's high-water mark: answer replayed.
    Replayed(CommandId),
    /// It is not a command for this agent from its server; nothing was taken: answer invalid.
    Invalid {
        /// The command, where its envelope was good enough to be read.
        id: Option<CommandId>,
        /// Why.
        why: Untrusted,
    },
}

/// A command that is over, as the server must learn it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedCommand {
    /// The command.
    pub command_id: CommandId,
    /// How it ended.
    pub outcome: Outcome,
    /// The result document, JSON, at most 1 MiB.
    pub payload: Vec<u8>,
    /// Statement of purpose receipt, signed by the identity key.
    pub receipt: Signed,
}

/// What changed inside the engine. A hint: what is true is asked by [`super::Engine::running`] and
/// [`super::Engine::result`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// Its effect begins; send a state frame.
    Started(CommandId),
    /// It is over; send [`super::Engine::result`].
    Finished(CommandId),
}

/// Why an acknowledgment of a result changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum AckError {
    /// It is not the server's word to this agent.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// It does not fit what is kept.
    #[error(transparent)]
    NotAcknowledged(#[from] NotAcknowledged),
    /// The journal refused.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl FinishedCommand {
    pub(super) fn new(command_id: CommandId, finished: Finished) -> Self {
        let Finished { outcome, payload, receipt } = finished;
        Self { command_id, outcome, payload, receipt }
    }
}
