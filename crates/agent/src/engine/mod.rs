//! The engine: takes signed commands, carries them out, keeps what came of them (PROTOCOL §5).
//!
//! It knows no transport: whoever holds a connection offers what arrived, sends what the engine
//! says, and asks what is still unacknowledged when a stream begins.
//!
//! *Invariant:* nothing is done for a command before its signature, its names and the host's policy
//! allow it and it is durable; `started` is durable before the effect; a result stays until the
//! server has acknowledged it with a signature.

mod books;
mod exchange;
mod execute;
mod outcome;
mod receive;
mod recover;
mod verify;
mod withdraw;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argosy_domain::{
    digest::Sha256,
    id::{AgentId, CommandId, OrgId},
    time::{Clock, Timestamp},
};
use argosy_wire::{
    bytes::Bytes32,
    sign::Signed,
    statement::{ConfigStatement, HelloStatement, ReceiptStatement, ResultAckStatement, digest},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

pub use exchange::{AckError, CommandRunner, EngineEvent, FinishedCommand, Offered, Probed};
pub use outcome::RunOutcome;
pub(crate) use verify::good_at;
pub use verify::{ServerIdentity, Untrusted};

use crate::{
    blocking::blocking,
    boot::BootId,
    journal::{CommandRecord, Finished, Journal, JournalError, RecordState},
    keys::Keys,
    policy_file::{LoadedPolicy, PolicyFile},
};
use books::Books;
use outcome::Ending;

/// Commands that wait or run at once, unless said otherwise.
pub const CAPACITY_DEFAULT: usize = 64;
/// Commands that run at once, unless said otherwise.
pub const CONCURRENCY_DEFAULT: usize = 2;
/// Events that wait for somebody to read them.
const EVENTS_MAX: usize = 4_096;

/// What an engine is made of.
pub struct EngineParts {
    /// Where it remembers.
    pub journal: Arc<Journal>,
    /// What the host's owner allows.
    pub policy: PolicyFile,
    /// Who does the work.
    pub runner: Arc<dyn CommandRunner>,
    /// Boot clock for expiry, wall clock for what receipts say.
    pub clock: Arc<dyn Clock>,
    /// The identity key in them signs receipts and hello.
    pub keys: Arc<Keys>,
    /// The agent that this is.
    pub agent: AgentId,
    /// Its tenant, where it is known; else the first good command's.
    pub org: Option<OrgId>,
    /// The server that it obeys at first.
    pub server: ServerIdentity,
    /// The boot of the host.
    pub boot: BootId,
    /// Commands that wait or run at most; more are answered `busy`.
    pub capacity: usize,
    /// Commands that run at once.
    pub concurrency: usize,
}

/// The engine. Clones share one.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    parts: EngineParts,
    server: Mutex<ServerIdentity>,
    books: Mutex<Books>,
    /// Held while something that arrived is decided: one after the other.
    deciding: Mutex<()>,
    /// The first journal failure: the engine stops with it.
    failure: Mutex<Option<JournalError>>,
    wake: Notify,
    events: mpsc::Sender<EngineEvent>,
}

impl Engine {
    /// An engine on its journal. Commands that a crash interrupted are put back, or ended, by the
    /// rule of their kind. Blocks for as long as the disk does; nothing runs before
    /// [`Self::run`].
    pub fn new(parts: EngineParts) -> Result<(Self, mpsc::Receiver<EngineEvent>), JournalError> {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let inner = Inner {
            server: Mutex::new(parts.server),
            parts,
            books: Mutex::default(),
            deciding: Mutex::default(),
            failure: Mutex::default(),
            wake: Notify::new(),
            events,
        };
        inner.recover()?;
        Ok((Self { inner: Arc::new(inner) }, receiver))
    }

    /// Carries out what waits, until `stop`. Call it once. Ends with an error when the journal
    /// fails: then the process must end too, because nothing can be promised any more. Work that
    /// is cut short is treated as after a crash.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), JournalError> {
        execute::run(&self.inner, stop).await
    }

    /// Decides about a command that arrived. What it says is durable.
    pub async fn offer(&self, envelope: Signed, params: Vec<u8>, certificate: Signed) -> Offered {
        self.blocking(move |inner| inner.receive(&envelope, params, &certificate)).await
    }

    /// Decides about the server's word that a command is no longer wanted. What it says is durable.
    pub async fn withdraw(&self, envelope: Signed, certificate: Signed) -> Offered {
        self.blocking(move |inner| inner.withdraw(&envelope, &certificate)).await
    }

    /// The server's word about the configuration of this agent, verified. It changes nothing here.
    pub fn verify_config(
        &self,
        envelope: &Signed,
        certificate: &Signed,
        document: &[u8],
    ) -> Result<ConfigStatement, Untrusted> {
        let server = self.inner.server();
        let (config, certificate) = server.certified::<ConfigStatement>(envelope, certificate)?;
        self.inner.names(&server, (&config.server, &config.agent, &config.org))?;
        self.inner.in_its_time(&certificate, config.server_time)?;
        if config.document_sha256 != digest(Sha256::of(document)) {
            return Err(Untrusted::Params);
        }
        Ok(config)
    }

    /// The server has a result durably: forget it. Repetitions change nothing.
    pub async fn acknowledge(
        &self,
        envelope: Signed,
        certificate: Signed,
    ) -> Result<CommandId, AckError> {
        self.blocking(move |inner| inner.acknowledge(&envelope, &certificate)).await
    }

    /// Commands that are over and not acknowledged, in the agent's order: send the result of each
    /// when a stream begins.
    pub fn unacknowledged(&self) -> Vec<CommandId> {
        self.inner.books().finished()
    }

    /// The result of a command that is over and not acknowledged.
    pub async fn result(&self, id: CommandId) -> Result<Option<FinishedCommand>, JournalError> {
        self.blocking(move |inner| {
            let record = inner.parts.journal.get(&id)?;
            Ok(record.and_then(|record| match record.state {
                RecordState::Finished(finished) => Some(FinishedCommand::new(record.id, finished)),
                RecordState::Received(_)
                | RecordState::Started(_)
                | RecordState::Acknowledged(_) => None,
            }))
        })
        .await
    }

    /// Commands that were started and are not over.
    pub fn running(&self) -> Vec<CommandId> {
        self.inner.books().running()
    }

    /// The statement that opens a stream; `session_sha256` is the digest of the session token.
    /// A new stream also forgets that the agent was busy: the server sends again from the
    /// high-water mark that this names.
    pub fn hello(&self, session_sha256: Bytes32) -> Signed {
        self.inner.books().held_back = None;
        let Inner { parts, .. } = &*self.inner;
        let statement = HelloStatement {
            agent: parts.agent.clone(),
            session_sha256,
            journal_id: parts.journal.id().clone(),
            high_water: parts.journal.high_water(),
        };
        Signed::new(&parts.keys.identity(), &statement)
    }

    /// The server's time as a verified handshake challenge says it, just now. Without it, commands
    /// from before a reboot wait, because nobody can say whether they are still wanted.
    pub fn observe_server_time(&self, at: Timestamp) {
        let since_boot = self.inner.parts.clock.since_boot();
        self.inner.books().server_time.observe(at, since_boot);
        self.inner.wake.notify_one();
    }

    /// The server's time as far as it is known.
    pub fn server_time(&self) -> Option<Timestamp> {
        let since_boot = self.inner.parts.clock.since_boot();
        self.inner.books().server_time.at(since_boot)
    }

    /// The server as it is known since the last handshake.
    pub fn trust(&self, server: ServerIdentity) {
        *self.inner.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// The host's policy as it stands now. Blocks for as long as the disk does.
    pub fn policy(&self) -> LoadedPolicy {
        self.inner.parts.policy.load()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> T {
        blocking(&self.inner, work).await
    }
}

impl Inner {
    fn server(&self) -> ServerIdentity {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // The books are repaired from the journal at the next start at the latest.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deciding(&self) -> MutexGuard<'_, ()> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, event: EngineEvent) {
        // Nobody reads: the next stream asks for everything anyway.
        if self.events.try_send(event).is_err() {
            tracing::debug!("an event of the command engine was not read");
        }
    }

    /// The journal failed: nothing can be promised any more.
    fn fail(&self, error: JournalError) {
        tracing::error!(error = &error as &dyn std::error::Error, "the journal failed");
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.wake.notify_one();
    }

    fn failure(&self) -> Option<JournalError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The end of a command with the agent's signed word about it.
    fn finished(
        &self,
        (id, params_sha256): (&CommandId, Bytes32),
        started_at: Option<Timestamp>,
        policy_sha256: Sha256,
        ending: Ending,
    ) -> Finished {
        let Ending { outcome, payload } = ending;
        let statement = ReceiptStatement {
            agent: self.parts.agent.clone(),
            command_id: id.clone(),
            params_sha256,
            outcome: outcome.as_str().to_owned(),
            result_sha256: digest(Sha256::of(&payload)),
            policy_sha256: digest(policy_sha256),
            started_at,
            ended_at: self.parts.clock.now(),
            boot_id: self.parts.boot.as_str().to_owned(),
            journal_id: self.parts.journal.id().clone(),
        };
        let receipt = Signed::new(&self.parts.keys.identity(), &statement);
        Finished { outcome, payload, receipt }
    }

    fn acknowledge(&self, envelope: &Signed, certificate: &Signed) -> Result<CommandId, AckError> {
        let (parts, server) = (&self.parts, self.server());
        let server_now = self.books().server_time.at(parts.clock.since_boot());
        let ack: ResultAckStatement = server.verify(envelope, certificate, server_now)?;
        if ack.server != *server.thumbprint() {
            return Err(Untrusted::Server.into());
        }
        if ack.agent != parts.agent {
            return Err(Untrusted::Agent.into());
        }
        let _one_at_a_time = self.deciding();
        let Some(record) = parts.journal.get(&ack.command_id)? else {
            return Err(Untrusted::UnknownCommand.into());
        };
        if let RecordState::Acknowledged(_) = record.state {
            return Ok(record.id);
        }
        // Ids are forgotten by the server's time, so they are remembered by it.
        let at = server_now.unwrap_or_else(|| parts.clock.now());
        let state = record.state.acknowledge(&ack.result_sha256, at)?;
        let record = CommandRecord { state, ..record };
        parts.journal.update(&record)?;
        self.books().forget(record.sequence);
        Ok(record.id)
    }
}

#[cfg(test)]
mod tests;
