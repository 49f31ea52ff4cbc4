//! What happens at start to commands that were under way when the process ended.
//!
//! *Invariant:* only kinds that declare `repeat` are ever started twice.

use argosy_domain::command::{CommandKind, Outcome, Recovery};

use super::{Inner, books::Waiting, outcome::Ending};
use crate::journal::{CommandRecord, JournalError, RecordState, Started};

/// How often a command is started at most. One that ends the process every time must not do so for
/// ever.
const RUNS_MAX: u32 = 32;

impl Inner {
    /// Puts what waits back into the books, and ends what cannot go on.
    pub(super) fn recover(&self) -> Result<(), JournalError> {
        for record in self.parts.journal.open_records()? {
            let (sequence, id) = (record.sequence, record.id.clone());
            match &record.state {
                RecordState::Received(received) => {
                    let window = Some(received.window.clone());
                    self.books().wait(sequence, Waiting { id, window });
                }
                RecordState::Started(started) if repeats(&record.kind, started) => {
                    self.books().wait(sequence, Waiting { id, window: None });
                }
                RecordState::Started(started) => {
                    let at = started.at;
                    let policy = self.parts.policy.load();
                    let finished = self.finished(&record, Some(at), policy.sha256, interrupted());
                    let state = RecordState::Finished(finished);
                    self.parts.journal.update(&CommandRecord { state, ..record })?;
                    self.books().finish(sequence, id);
                }
                RecordState::Finished(_) => self.books().finish(sequence, id),
                // Never among the open ones; the journal keeps them apart.
                RecordState::Acknowledged(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether a command of this kind is simply started again.
fn repeats(kind: &str, started: &Started) -> bool {
    let Ok(kind) = CommandKind::parse(kind) else { return false };
    match kind.recovery() {
        Recovery::Repeat => started.runs < RUNS_MAX,
        // No kind leaves a mark yet that could be looked for: its effect is unknown.
        Recovery::Probe | Recovery::Stop => false,
    }
}

pub(super) fn interrupted() -> Ending {
    let error = "the agent was stopped while it ran; how far it came is not known";
    Ending::error(Outcome::Failed, "interrupted", error)
}
