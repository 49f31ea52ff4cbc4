//! What happens when the server says that a command is no longer wanted.
//!
//! *Invariant:* a command that was withdrawn before it was started is never started, also when the
//! withdrawal is the first that this agent hears of it. One that runs is stopped where its kind can
//! be; else it runs to its end.

use argosy_domain::{
    command::{CommandSeq, Outcome},
    id::CommandId,
};
use argosy_wire::{sign::Signed, statement::CancelStatement};

use super::{FinishedCommand, Inner, Offered, Untrusted, outcome::Ending, receive::Names};
use crate::journal::{CommandRecord, JournalError, RecordState};

impl Inner {
    pub(super) fn withdraw(&self, envelope: &Signed, certificate: &Signed) -> Offered {
        let _one_at_a_time = self.deciding();
        let cancel = match self.check_cancel(envelope, certificate) {
            Ok(cancel) => cancel,
            Err((id, why)) => return Offered::Invalid { id, why },
        };
        let (id, sequence) = (cancel.command_id.clone(), cancel.sequence);
        self.unless_broken(id, sequence, self.decide_withdrawal(cancel))
    }

    fn check_cancel(
        &self,
        envelope: &Signed,
        certificate: &Signed,
    ) -> Result<CancelStatement, (Option<CommandId>, Untrusted)> {
        let server = self.server();
        let (cancel, certificate) = server
            .certified::<CancelStatement>(envelope, certificate)
            .map_err(|why| (None, why))?;
        let verdict = self
            .names(&server, (&cancel.server, &cancel.agent, &cancel.org))
            .and_then(|()| self.in_its_time(&certificate, cancel.server_time));
        match verdict {
            Ok(()) => Ok(cancel),
            Err(why) => Err((Some(cancel.command_id), why)),
        }
    }

    fn decide_withdrawal(&self, cancel: CancelStatement) -> Result<Offered, JournalError> {
        match self.parts.journal.get(&cancel.command_id)? {
            Some(record) => self.withdraw_known(record),
            None => self.withdraw_unheard(cancel),
        }
    }

    /// It never came here: it is remembered as over, so that it does not begin when it comes.
    fn withdraw_unheard(&self, cancel: CancelStatement) -> Result<Offered, JournalError> {
        let (id, sequence): (CommandId, CommandSeq) = (cancel.command_id.clone(), cancel.sequence);
        if let Some(offered) = self.out_of_order(&id, sequence) {
            return Ok(offered);
        }
        if self.is_full() {
            return Ok(self.hold_back(id, sequence, "the agent is at capacity"));
        }
        let policy = self.parts.policy.load();
        self.take_ended(Names::from(cancel), &policy, never_started())
    }

    fn withdraw_known(&self, record: CommandRecord) -> Result<Offered, JournalError> {
        let (started_at, ending) = match &record.state {
            RecordState::Received(_) => (None, never_started()),
            RecordState::Started(started) => (Some(started.at), stopped()),
            RecordState::Finished(_) | RecordState::Acknowledged(_) => {
                return Ok(super::receive::answer(record));
            }
        };
        if !self.books().withdraw(record.sequence) {
            // Under way: its end says what came of it.
            return Ok(Offered::Received(record.id));
        }
        let policy = self.parts.policy.load();
        let finished = self.finished(record.of(), started_at, policy.sha256, ending);
        let state = RecordState::Finished(finished.clone());
        let record = CommandRecord { state, ..record };
        self.parts.journal.update(&record)?;
        self.books().finish(record.sequence, record.id.clone());
        Ok(Offered::Finished(FinishedCommand::new(record.id, finished)))
    }
}

/// The end of a command that was withdrawn before it began.
pub(super) fn never_started() -> Ending {
    Ending::error(Outcome::Cancelled, "withdrawn", "it was withdrawn before it was started")
}

/// The end of a command that was withdrawn while it ran.
pub(super) fn stopped() -> Ending {
    let error = "it was withdrawn and stopped; how far it came is not known";
    Ending::error(Outcome::Cancelled, "stopped", error)
}
