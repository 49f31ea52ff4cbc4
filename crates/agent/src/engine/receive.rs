//! What happens to a command that arrives, in the order of PROTOCOL §5.
//!
//! *Invariant:* a command whose signature, names or parameters do not fit leaves no trace; one that
//! is answered as received is durable, together with the high-water mark that it raises.

use argosy_domain::{
    command::{CommandKind, CommandParams, CommandSeq, Outcome},
    digest::Sha256,
    id::{AgentId, CommandId, OrgId},
    limits::{COMMAND_PARAMS_BYTES_MAX, COMMANDS_OPEN_MAX},
    time::Timestamp,
};
use argosy_wire::{
    bytes::Bytes32,
    sign::Signed,
    statement::{CancelStatement, CommandStatement, KeyCertificate, digest},
};

use super::{
    EngineEvent, FinishedCommand, Inner, Offered, Untrusted,
    books::{Moment, Readiness, Waiting, readiness, window},
    outcome::Ending,
    verify::{ServerIdentity, good_at},
};
use crate::{
    journal::{CommandRecord, JournalError, Received, RecordState, Window},
    packages::SignedOrder,
    policy_file::LoadedPolicy,
};

/// A new command that is well signed and above the high-water mark.
struct Fresh {
    statement: CommandStatement,
    params: Vec<u8>,
    window: Window,
    order: Option<SignedOrder>,
}

/// What is kept of a command in every state.
pub(super) struct Names {
    id: CommandId,
    org: OrgId,
    sequence: CommandSeq,
    kind: String,
    params_sha256: Bytes32,
}

impl From<CommandStatement> for Names {
    fn from(command: CommandStatement) -> Self {
        let CommandStatement { command_id: id, org, sequence, kind, params_sha256, .. } = command;
        Self { id, org, sequence, kind, params_sha256 }
    }
}

impl From<CancelStatement> for Names {
    fn from(cancel: CancelStatement) -> Self {
        let CancelStatement { command_id: id, org, sequence, kind, params_sha256, .. } = cancel;
        Self { id, org, sequence, kind, params_sha256 }
    }
}

impl Names {
    fn with(self, state: RecordState) -> CommandRecord {
        let Self { id, org, sequence, kind, params_sha256 } = self;
        CommandRecord { id, org, sequence, kind, params_sha256, state }
    }
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
        let changes_host = CommandKind::parse(&statement.kind).is_ok_and(CommandKind::changes_host);
        let order = changes_host.then(|| SignedOrder {
            envelope: envelope.clone(),
            certificate: certificate.clone(),
            server_key: *self.server().key(),
        });
        self.unless_broken(id, sequence, self.decide(statement, params, order))
    }

    /// What was decided; where the journal failed, nothing was.
    pub(super) fn unless_broken(
        &self,
        id: CommandId,
        sequence: CommandSeq,
        decided: Result<Offered, JournalError>,
    ) -> Offered {
        match decided {
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
        let server = self.server();
        let (statement, certificate) = server
            .certified::<CommandStatement>(envelope, certificate)
            .map_err(|why| (None, why))?;
        let names = self.names(&server, (&statement.server, &statement.agent, &statement.org));
        let verdict = if let Err(why) = names {
            Err(why)
        } else if params.len() > COMMAND_PARAMS_BYTES_MAX
            || statement.params_sha256 != digest(Sha256::of(params))
        {
            Err(Untrusted::Params)
        } else {
            self.in_its_time(&certificate, statement.server_time)
        };
        match verdict {
            Ok(()) => Ok(statement),
            Err(why) => Err((Some(statement.command_id), why)),
        }
    }

    /// That it is from the server, for this agent, and from the agent's organisation.
    pub(super) fn names(
        &self,
        server: &ServerIdentity,
        (from, to, org): (&Bytes32, &AgentId, &OrgId),
    ) -> Result<(), Untrusted> {
        let own = self.parts.org.clone().or_else(|| self.parts.journal.org());
        if from != server.thumbprint() {
            Err(Untrusted::Server)
        } else if *to != self.parts.agent {
            Err(Untrusted::Agent)
        } else if own.is_some_and(|own| own != *org) {
            Err(Untrusted::Org)
        } else {
            Ok(())
        }
    }

    /// That the certificate is good when it signed, and now, as far as the server's time is known.
    pub(super) fn in_its_time(
        &self,
        certificate: &KeyCertificate,
        signed_at: Timestamp,
    ) -> Result<(), Untrusted> {
        good_at(certificate, signed_at)?;
        let server_now = self.books().server_time.at(self.parts.clock.since_boot());
        server_now.map_or(Ok(()), |now| good_at(certificate, now))
    }

    /// What to answer where something new with this place in the order may not be looked at now.
    pub(super) fn out_of_order(&self, id: &CommandId, sequence: CommandSeq) -> Option<Offered> {
        if sequence <= self.parts.journal.high_water() {
            return Some(Offered::Replayed(id.clone()));
        }
        if self.books().held_back.is_some_and(|held_back| sequence > held_back) {
            let error = "an earlier command was not taken yet".to_owned();
            return Some(Offered::Busy { id: id.clone(), error });
        }
        None
    }

    fn decide(
        &self,
        statement: CommandStatement,
        params: Vec<u8>,
        order: Option<SignedOrder>,
    ) -> Result<Offered, JournalError> {
        let journal = &self.parts.journal;
        let (id, sequence) = (statement.command_id.clone(), statement.sequence);
        if let Some(record) = journal.get(&id)? {
            return Ok(answer(record));
        }
        if let Some(offered) = self.out_of_order(&id, sequence) {
            return Ok(offered);
        }
        let policy = self.parts.policy.load();
        let fresh = self.fresh(statement, params, order);
        match self.judge(&fresh, &policy) {
            Verdict::Busy => Ok(self.hold_back(id, sequence, "the agent is at capacity")),
            Verdict::Take => self.take(fresh),
            Verdict::End(ending) => self.take_ended(Names::from(fresh.statement), &policy, ending),
        }
    }

    fn fresh(
        &self,
        statement: CommandStatement,
        params: Vec<u8>,
        order: Option<SignedOrder>,
    ) -> Fresh {
        let CommandStatement { server_time, not_before, expires_at, .. } = statement;
        let window = self.at_this_moment(|now| window(now, server_time, not_before, expires_at));
        Fresh { statement, params, window, order }
    }

    /// Policy, parameters, time, capacity: in this order.
    fn judge(&self, fresh: &Fresh, policy: &LoadedPolicy) -> Verdict {
        if let Err(refusal) = admitted(&fresh.statement.kind, &fresh.params, policy) {
            return Verdict::End(refusal);
        }
        if self.at_this_moment(|now| readiness(&fresh.window, now)) == Readiness::Expired {
            return Verdict::End(expired());
        }
        if self.is_full() || self.books().load() >= self.parts.capacity {
            Verdict::Busy
        } else {
            Verdict::Take
        }
    }

    /// Whether so many commands are not over for both sides that no more are taken.
    pub(super) fn is_full(&self) -> bool {
        let open_max = usize::try_from(COMMANDS_OPEN_MAX).unwrap_or(usize::MAX);
        self.books().open() >= open_max
    }

    fn take(&self, fresh: Fresh) -> Result<Offered, JournalError> {
        let Fresh { statement, params, window, order } = fresh;
        let received = Received { params, window: window.clone(), order };
        let record = Names::from(statement).with(RecordState::Received(received));
        self.parts.journal.take(&record)?;
        let mut books = self.books();
        books.held_back = None;
        books.wait(record.sequence, Waiting { id: record.id.clone(), window: Some(window) });
        drop(books);
        self.wake.notify_one();
        Ok(Offered::Received(record.id))
    }

    /// A command that is over as it arrives: the refusal and its receipt are what is journalled.
    pub(super) fn take_ended(
        &self,
        names: Names,
        policy: &LoadedPolicy,
        ending: Ending,
    ) -> Result<Offered, JournalError> {
        let of = (&names.id, names.params_sha256);
        let finished = self.finished(of, None, policy.sha256, ending);
        let record = names.with(RecordState::Finished(finished.clone()));
        self.parts.journal.take(&record)?;
        let mut books = self.books();
        books.held_back = None;
        books.finish(record.sequence, record.id.clone());
        drop(books);
        self.emit(EngineEvent::Finished(record.id.clone()));
        Ok(Offered::Finished(FinishedCommand::new(record.id, finished)))
    }

    pub(super) fn hold_back(&self, id: CommandId, sequence: CommandSeq, why: &str) -> Offered {
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

/// The recorded state of a command that is known.
pub(super) fn answer(record: CommandRecord) -> Offered {
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
