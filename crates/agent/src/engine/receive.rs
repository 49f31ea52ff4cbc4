//! What happens to a command that arrives, in the order of PROTOCOL §5.
//!
//! *Invariant:* a command whose signature, names or parameters do not fit leaves no trace; one that
//! is answered as received is durable, together with the high-water mark that it raises.

use argosy_domain::{
    command::{CommandKind, CommandParams, CommandSeq, Outcome},
    digest::Sha256,
    id::CommandId,
    limits::{COMMAND_PARAMS_BYTES_MAX, COMMANDS_OPEN_MAX},
};
use argosy_wire::{
    sign::Signed,
    statement::{CommandStatement, digest},
};

use super::{
    EngineEvent, FinishedCommand, Inner, Offered, Untrusted,
    books::{Moment, Readiness, Waiting, readiness, window},
    outcome::Ending,
    verify::good_at,
};
use crate::{
    journal::{CommandRecord, JournalError, Received, RecordState, Window},
    policy_file::LoadedPolicy,
};

/// A new command that is well signed and above the high-water mark.
struct Fresh {
    statement: CommandStatement,
    params: Vec<u8>,
    window: Window,
}

/// What is to be done with it.
enum Verdict {
    /// Take it and carry it out.
    Take,
    /// Take it, and it is over at once.
    End(Ending),
    /// Not now.
    Busy,
}

impl Inner {
    pub(super) fn receive(
        &self,
        envelope: &Signed,
        params: Vec<u8>,
        certificate: &Signed,
    ) -> Offered {
        let _one_at_a_time = self.deciding();
        let statement = match self.check(envelope, &params, certificate) {
            Ok(statement) => statement,
            Err((id, why)) => return Offered::Invalid { id, why },
        };
        let (id, sequence) = (statement.command_id.clone(), statement.sequence);
        match self.decide(statement, params) {
            Ok(offered) => offered,
            Err(error) => {
                self.fail(error);
                self.hold_back(id, sequence, "the agent's journal failed")
            }
        }
    }

    /// Signature, names, and that the parameters are the signed ones.
    fn check(
        &self,
        envelope: &Signed,
        params: &[u8],
        certificate: &Signed,
    ) -> Result<CommandStatement, (Option<CommandId>, Untrusted)> {
        let (parts, server) = (&self.parts, self.server());
        let (statement, certificate) = server
            .certified::<CommandStatement>(envelope, certificate)
            .map_err(|why| (None, why))?;
        let server_now = self.books().server_time.at(parts.clock.since_boot());
        let org = parts.org.clone().or_else(|| parts.journal.org());
        let verdict = if statement.server != *server.thumbprint() {
            Err(Untrusted::Server)
        } else if statement.agent != parts.agent {
            Err(Untrusted::Agent)
        } else if org.is_some_and(|org| org != statement.org) {
            Err(Untrusted::Org)
        } else if params.len() > COMMAND_PARAMS_BYTES_MAX
            || statement.params_sha256 != digest(Sha256::of(params))
        {
            Err(Untrusted::Params)
        } else {
            good_at(&certificate, statement.server_time)
                .and_then(|()| server_now.map_or(Ok(()), |now| good_at(&certificate, now)))
        };
        match verdict {
            Ok(()) => Ok(statement),
            Err(why) => Err((Some(statement.command_id), why)),
        }
    }

    fn decide(
        &self,
        statement: CommandStatement,
        params: Vec<u8>,
    ) -> Result<Offered, JournalError> {
        let journal = &self.parts.journal;
        let (id, sequence) = (statement.command_id.clone(), statement.sequence);
        if let Some(record) = journal.get(&id)? {
            return Ok(answer(record));
        }
        if sequence <= journal.high_water() {
            return Ok(Offered::Replayed(id));
        }
        if self.books().held_back.is_some_and(|held_back| sequence > held_back) {
            let error = "an earlier command was not taken yet".to_owned();
            return Ok(Offered::Busy { id, error });
        }
        let policy = self.parts.policy.load();
        let fresh = self.fresh(statement, params);
        match self.judge(&fresh, &policy) {
            Verdict::Busy => Ok(self.hold_back(id, sequence, "the agent is at capacity")),
            Verdict::Take => self.take(fresh),
            Verdict::End(ending) => self.take_ended(fresh, &policy, ending),
        }
    }

    fn fresh(&self, statement: CommandStatement, params: Vec<u8>) -> Fresh {
        let CommandStatement { server_time, not_before, expires_at, .. } = statement;
        let window = self.at_this_moment(|now| window(now, server_time, not_before, expires_at));
        Fresh { statement, params, window }
    }

    /// Policy, parameters, time, capacity: in this order.
    fn judge(&self, fresh: &Fresh, policy: &LoadedPolicy) -> Verdict {
        if let Err(refusal) = admitted(&fresh.statement.kind, &fresh.params, policy) {
            return Verdict::End(refusal);
        }
        if self.at_this_moment(|now| readiness(&fresh.window, now)) == Readiness::Expired {
            return Verdict::End(expired());
        }
        let books = self.books();
        let open_max = usize::try_from(COMMANDS_OPEN_MAX).unwrap_or(usize::MAX);
        if books.load() >= self.parts.capacity || books.open() >= open_max {
            Verdict::Busy
        } else {
            Verdict::Take
        }
    }

    fn take(&self, fresh: Fresh) -> Result<Offered, JournalError> {
        let Fresh { statement, params, window } = fresh;
        let received = Received { params, window: window.clone() };
        let record = record(statement, RecordState::Received(received));
        self.parts.journal.take(&record)?;
        let mut books = self.books();
        books.held_back = None;
        books.wait(record.sequence, Waiting { id: record.id.clone(), window: Some(window) });
        drop(books);
        self.wake.notify_one();
        Ok(Offered::Received(record.id))
    }

    /// A command that is over as it arrives: the refusal and its receipt are what is journalled.
    fn take_ended(
        &self,
        fresh: Fresh,
        policy: &LoadedPolicy,
        ending: Ending,
    ) -> Result<Offered, JournalError> {
        let Fresh { statement, params, window } = fresh;
        let waiting = record(statement, RecordState::Received(Received { params, window }));
        let finished = self.finished(&waiting, None, policy.sha256, ending);
        let state = RecordState::Finished(finished.clone());
        let record = CommandRecord { state, ..waiting };
        self.parts.journal.take(&record)?;
        let mut books = self.books();
        books.held_back = None;
        books.finish(record.sequence, record.id.clone());
        drop(books);
        self.emit(EngineEvent::Finished(record.id.clone()));
        Ok(Offered::Finished(FinishedCommand::new(record.id, finished)))
    }

    fn hold_back(&self, id: CommandId, sequence: CommandSeq, why: &str) -> Offered {
        self.books().held_back = Some(sequence);
        Offered::Busy { id, error: why.to_owned() }
    }

    /// Asks something about this very moment.
    pub(super) fn at_this_moment<T>(&self, ask: impl FnOnce(&Moment<'_>) -> T) -> T {
        let since_boot = self.parts.clock.since_boot();
        let server_now = self.books().server_time.at(since_boot);
        ask(&Moment { boot: &self.parts.boot, since_boot, server_now })
    }
}

/// The parameters, where the host's policy and this version can carry them out; else the end that
/// the command comes to. The policy speaks first: it refuses what cannot even be read.
pub(super) fn admitted(
    kind: &str,
    params: &[u8],
    policy: &LoadedPolicy,
) -> Result<CommandParams, Ending> {
    let rejected = |code, why: &str| Ending::error(Outcome::Rejected, code, why);
    let by_policy = |why: String| rejected("refused_by_policy", &why);
    if let Some(why) = policy.unusable() {
        return Err(by_policy(why.to_string()));
    }
    let known = CommandKind::parse(kind).map_err(|error| {
        rejected("unknown_kind", &format!("{error} in this version of the agent: {kind}"))
    })?;
    let params = CommandParams::parse(known, params)
        .map_err(|error| rejected("invalid_params", &error.to_string()))?;
    policy.allows(&params).map_err(|refused| by_policy(refused.to_string()))?;
    Ok(params)
}

pub(super) fn expired() -> Ending {
    Ending::error(Outcome::Expired, "expired", "its time was over before it was started")
}

fn record(statement: CommandStatement, state: RecordState) -> CommandRecord {
    let CommandStatement { command_id: id, org, sequence, kind, params_sha256, .. } = statement;
    CommandRecord { id, org, sequence, kind, params_sha256, state }
}

/// The recorded state of a command that is known.
fn answer(record: CommandRecord) -> Offered {
    match record.state {
        RecordState::Received(_) | RecordState::Started(_) => Offered::Received(record.id),
        RecordState::Finished(finished) => {
            Offered::Finished(FinishedCommand::new(record.id, finished))
        }
        RecordState::Acknowledged(acknowledged) => Offered::Acknowledged {
            id: record.id,
            outcome: acknowledged.outcome,
            receipt: acknowledged.receipt,
        },
    }
}
