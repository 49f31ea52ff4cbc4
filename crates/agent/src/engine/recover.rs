//! What happens at start to commands that were under way when the process ended.
//!
//! *Invariant:* only kinds that declare `repeat`, and those whose mark says that nothing is done twice,
//! are ever started twice.

use argosy_domain::command::{CommandKind, Outcome, Recovery};

use super::{Inner, Probed, books::Waiting, outcome::Ending};
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
                RecordState::Started(started) => {
                    let Some(ending) = self.verdict(&record, started) else {
                        self.books().wait(sequence, Waiting { id, window: None });
                        continue;
                    };
                    let at = started.at;
                    let policy = self.parts.policy.load();
                    let finished = self.finished(record.of(), Some(at), policy.sha256, ending);
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

    /// How a command ended that was under way; none where it is started again.
    fn verdict(&self, record: &CommandRecord, started: &Started) -> Option<Ending> {
        let Ok(kind) = CommandKind::parse(&record.kind) else { return Some(interrupted()) };
        if started.runs >= RUNS_MAX {
            return Some(interrupted());
        }
        match kind.recovery() {
            Recovery::Repeat => None,
            Recovery::Probe => match self.parts.runner.probe(&record.id, kind) {
                Probed::Ended(outcome) => Some(outcome.into()),
                Probed::Again => None,
                Probed::Unknown => Some(interrupted()),
            },
            Recovery::Stop => Some(interrupted()),
        }
    }
}

pub(super) fn interrupted() -> Ending {
    let error = "the agent was stopped while it ran; how far it came is not known";
    Ending::error(Outcome::Failed, "interrupted", error)
}
