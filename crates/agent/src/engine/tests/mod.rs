//! An engine on real files, with a server that signs, a clock that is turned by hand and a runner
//! that does as it is told.

mod life;
mod refusals;
mod restarts;
mod withdrawals;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use argosy_config::host::OsEntropy;
use argosy_domain::{
    command::{CommandKind, CommandParams, CommandSeq, Outcome},
    id::IdSource,
    subsystem::Subsystem,
};
use argosy_wire::{
    bytes::Fixed,
    statement::{CommandStatement, KeyCertificate},
};
use ed25519_dalek::SigningKey;
use futures::future::BoxFuture;

use super::*;
use crate::{packages::Request, state_dir::StateDir};

/// A clock that somebody turns.
struct HandClock(Mutex<(Timestamp, Duration)>);

impl HandClock {
    fn pass(&self, seconds: u64) {
        let mut now = self.0.lock().unwrap();
        let span = Duration::from_secs(seconds);
        *now = (now.0.plus(span), now.1 + span);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn since_boot(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

/// `system` works, `storage` panics, `updates` never ends.
#[derive(Default)]
struct Pretender {
    runs: AtomicUsize,
    mark: Mutex<Option<Probed>>,
}

impl CommandRunner for Pretender {
    fn run<'a>(
        &'a self,
        _id: &'a CommandId,
        params: CommandParams,
        _request: Option<Request>,
    ) -> BoxFuture<'a, RunOutcome> {
        Box::pin(async move {
            self.runs.fetch_add(1, Ordering::SeqCst);
            let CommandParams::SubsystemRun { subsystem } = params else {
                return std::future::pending().await;
            };
            match subsystem {
                Subsystem::System => RunOutcome::Succeeded { report: b"{\"ok\":true}".to_vec() },
                Subsystem::Storage => panic!("on purpose"),
                Subsystem::Updates | Subsystem::Containers => std::future::pending().await,
            }
        })
    }

    fn timeout(&self, _params: &CommandParams) -> Duration {
        Duration::from_secs(60)
    }

    /// What the tests put here.
    fn probe(&self, _id: &CommandId, _kind: CommandKind) -> Probed {
        self.mark.lock().unwrap().clone().unwrap_or(Probed::Unknown)
    }
}

/// Everything but the engine, which tests start and end.
struct Rig {
    _tmp: tempfile::TempDir,
    state: PathBuf,
    policy: PathBuf,
    clock: Arc<HandClock>,
    runner: Arc<Pretender>,
    identity_key: SigningKey,
    command_key: SigningKey,
    keys: Arc<Keys>,
    capacity: usize,
    boot: &'static str,
}

/// An engine at work.
struct Running {
    engine: Engine,
    events: mpsc::Receiver<EngineEvent>,
    work: tokio::task::JoinHandle<Result<(), JournalError>>,
}

/// The server's clock when a test begins. The agent's is years off, and that does not matter.
const SERVER_NOW: i64 = 2_000_000_000;

fn public(key: &SigningKey) -> Bytes32 {
    Fixed(key.verifying_key().to_bytes())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn params(subsystem: &str) -> Vec<u8> {
    format!("{{\"subsystem\":\"{subsystem}\"}}").into_bytes()
}

impl Rig {
    fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        Self {
            state: tmp.path().join("state"),
            policy: tmp.path().join("policy.toml"),
            _tmp: tmp,
            clock: Arc::new(HandClock(Mutex::new((at(1_000), Duration::from_secs(500))))),
            runner: Arc::default(),
            identity_key: SigningKey::from_bytes(&[1; 32]),
            command_key: SigningKey::from_bytes(&[2; 32]),
            keys: Arc::new(Keys::generate(&OsEntropy)),
            capacity: CAPACITY_DEFAULT,
            boot: "boot-1",
        }
    }

    fn server(&self) -> ServerIdentity {
        ServerIdentity::new(public(&self.identity_key))
    }

    fn journal(&self) -> Journal {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let ids = IdSource::new(clock, Arc::new(OsEntropy));
        Journal::open(&StateDir::open(&self.state).unwrap(), &ids).unwrap()
    }

    /// An engine whose commands are taken and not carried out yet.
    fn idle(&self) -> (Engine, mpsc::Receiver<EngineEvent>) {
        let parts = EngineParts {
            journal: Arc::new(self.journal()),
            policy: PolicyFile::at(&self.policy),
            runner: Arc::clone(&self.runner) as _,
            clock: Arc::clone(&self.clock) as _,
            keys: Arc::clone(&self.keys),
            agent: "a1".parse().unwrap(),
            org: None,
            server: self.server(),
            boot: BootId::new(self.boot),
            capacity: self.capacity,
            concurrency: CONCURRENCY_DEFAULT,
        };
        Engine::new(parts).unwrap()
    }

    fn start(&self) -> Running {
        let (engine, events) = self.idle();
        let worker = engine.clone();
        let work = tokio::spawn(async move { worker.run(CancellationToken::new()).await });
        Running { engine, events, work }
    }

    fn certificate(&self) -> KeyCertificate {
        KeyCertificate {
            server: *self.server().thumbprint(),
            usage: "command".into(),
            public_key: public(&self.command_key),
            serial: 1,
            not_before: at(SERVER_NOW - 1_000),
            not_after: at(SERVER_NOW + 1_000_000),
        }
    }

    fn certified(&self) -> Signed {
        Signed::new(&self.identity_key, &self.certificate())
    }

    fn command(&self, sequence: i64, params: &[u8]) -> CommandStatement {
        CommandStatement {
            server: *self.server().thumbprint(),
            org: OrgId::default_org(),
            agent: "a1".parse().unwrap(),
            command_id: format!("c{sequence}").parse().unwrap(),
            kind: "subsystem.run".into(),
            params_sha256: digest(Sha256::of(params)),
            sequence: CommandSeq(sequence),
            not_before: at(SERVER_NOW),
            expires_at: at(SERVER_NOW + 3_600),
            server_time: at(SERVER_NOW),
        }
    }

    async fn offer_statement(
        &self,
        engine: &Engine,
        statement: &CommandStatement,
        params: &[u8],
    ) -> Offered {
        let envelope = Signed::new(&self.command_key, statement);
        engine.offer(envelope, params.to_vec(), self.certified()).await
    }

    async fn offer(&self, engine: &Engine, sequence: i64, subsystem: &str) -> Offered {
        let params = params(subsystem);
        self.offer_statement(engine, &self.command(sequence, &params), &params).await
    }

    fn ack_of(&self, finished: &FinishedCommand) -> ResultAckStatement {
        ResultAckStatement {
            server: *self.server().thumbprint(),
            agent: "a1".parse().unwrap(),
            command_id: finished.command_id.clone(),
            result_sha256: digest(Sha256::of(&finished.payload)),
        }
    }

    async fn acknowledge(
        &self,
        engine: &Engine,
        ack: &ResultAckStatement,
    ) -> Result<CommandId, AckError> {
        let envelope = Signed::new(&self.command_key, ack);
        engine.acknowledge(envelope, self.certified()).await
    }

    /// The receipt, verified as the server does it.
    fn receipt(&self, finished: &FinishedCommand) -> ReceiptStatement {
        let receipt: ReceiptStatement =
            finished.receipt.verify(&self.keys.identity_public()).unwrap();
        assert_eq!(receipt.outcome, finished.outcome.as_str());
        assert_eq!(receipt.result_sha256, digest(Sha256::of(&finished.payload)));
        assert_eq!(receipt.command_id, finished.command_id);
        receipt
    }

    fn runs(&self) -> usize {
        self.runner.runs.load(Ordering::SeqCst)
    }
}

impl Running {
    /// Waits until a command is over.
    async fn finished(&mut self, id: &str) -> FinishedCommand {
        let id: CommandId = id.parse().unwrap();
        self.event(EngineEvent::Finished(id.clone())).await;
        self.engine.result(id).await.unwrap().unwrap()
    }

    async fn event(&mut self, wanted: EngineEvent) {
        while self.events.recv().await.unwrap() != wanted {}
    }

    /// Ends the process, as far as the engine can tell.
    async fn crash(self) {
        self.work.abort();
        assert!(self.work.await.unwrap_err().is_cancelled());
    }
}

fn code(payload: &[u8]) -> String {
    let document: serde_json::Value = serde_json::from_slice(payload).unwrap();
    assert!(document["error"].as_str().is_some_and(|error| !error.is_empty()), "{document}");
    document["code"].as_str().unwrap().to_owned()
}
