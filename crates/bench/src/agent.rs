//! A simulated agent: the real agent's keys, proofs, handshake, engine and frames over its real
//! transport; only its journal is in memory, or the generator's disk would be measured.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use argosy_agent::{
    boot::BootId,
    credentials::Registered,
    deps::Deps,
    engine::{CommandRunner, Engine, EngineEvent, EngineParts, Probed, RunOutcome},
    enrol::{Machine, Pin, register},
    journal::Journal,
    keys::Keys,
    packages::Request,
    policy_file::PolicyFile,
    session::{Applicant, handshake},
    stream::frames,
    transport::{CallError, Carrier, Link, Prover, Session},
};
use argosy_config::host::{OsEntropy, SystemClock};
use argosy_domain::{
    command::{CommandKind, CommandParams},
    configuration::Generation,
    id::{AccountId, CommandId, IdSource},
};
use argosy_wire::{
    rpc::gateway::{
        __buffa::view::ControlStreamResponseView,
        AGENT_GATEWAY_SERVICE_CONTROL_STREAM_SPEC as CONTROL_STREAM, ControlStreamRequest,
        control_stream_response::Frame,
    },
    statement::ServerPin,
    token::TokenString,
};
use connectrpc::client::{BidiRecvHalf, BidiSendHalf, ClientTransport};
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::Outcome;

/// How long a simulated command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts at a stream: a nonce may have to be learnt.
const ATTEMPTS: u32 = 2;

/// The host's own clock and randomness.
pub(crate) fn deps() -> Deps {
    Deps { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) }
}

/// Carries every command out by doing nothing.
struct Idle;

impl CommandRunner for Idle {
    fn run<'a>(
        &'a self,
        _id: &'a CommandId,
        _params: CommandParams,
        _request: Option<Request>,
    ) -> BoxFuture<'a, RunOutcome> {
        Box::pin(async { RunOutcome::Succeeded { report: b"{}".to_vec() } })
    }

    fn timeout(&self, _params: &CommandParams) -> Duration {
        COMMAND_TIMEOUT
    }

    fn probe(&self, _id: &CommandId, _kind: CommandKind) -> Probed {
        Probed::Unknown
    }
}

/// An enrolled agent.
pub(crate) struct SimAgent {
    deps: Deps,
    keys: Arc<Keys>,
    prover: Prover,
    /// Takes its commands.
    pub(crate) engine: Engine,
    registered: Mutex<Registered>,
    session: Mutex<Option<Session>>,
}

/// What an engine says while it works.
pub(crate) type Events = mpsc::Receiver<EngineEvent>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimAgent {
    /// Enrols a machine with fresh keys.
    pub(crate) async fn enrol(
        link: &Link,
        token: &TokenString,
        name: String,
    ) -> Outcome<(Self, Events)> {
        let (deps, keys) = (deps(), Arc::new(Keys::generate(&OsEntropy)));
        let thumbprint = token.pin.ok_or("a token without a pin")?;
        let pin = Pin { thumbprint, named: ServerPin::Pinned(thumbprint) };
        let machine = Machine {
            name,
            account: AccountId::DEFAULT,
            machine_id: None,
            hostname: "simulated".to_owned(),
            platform: "linux-amd64".to_owned(),
        };
        let begun = machine.apply(link, &keys, (token, &pin), &OsEntropy);
        let (registered, approved) = register(link, &keys, &begun, false).await?;
        if !approved {
            return Err("the server did not approve".into());
        }
        let ids = IdSource::new(Arc::clone(&deps.clock), Arc::clone(&deps.entropy));
        let (engine, events) = Engine::new(EngineParts {
            journal: Arc::new(Journal::in_memory(&ids)?),
            policy: PolicyFile::defaults(),
            runner: Arc::new(Idle),
            clock: Arc::clone(&deps.clock),
            keys: Arc::clone(&keys),
            agent: registered.agent_id.clone(),
            org: None,
            server: registered.server(),
            boot: BootId::new("bench"),
            capacity: argosy_agent::engine::CAPACITY_DEFAULT,
            concurrency: argosy_agent::engine::CONCURRENCY_DEFAULT,
        })?;
        let prover = Prover::new(Arc::clone(&keys), deps.clone(), None);
        let (registered, session) = (Mutex::new(registered), Mutex::default());
        Ok((Self { deps, keys, prover, engine, registered, session }, events))
    }

    /// A handshake: the next session.
    pub(crate) async fn shake(&self, link: &Link) -> Outcome<()> {
        let registered = lock(&self.registered).clone();
        let applicant = Applicant { registered: &registered, keys: &self.keys, machine_id: None };
        let opened = handshake(link, &applicant, &self.deps).await?;
        let next = Registered { continuation: Some(opened.continuation), ..registered };
        *lock(&self.registered) = next.knowing(&opened.server);
        self.engine.trust(opened.server);
        self.engine.observe_server_time(opened.server_time);
        self.prover.learn(&opened.dpop_nonce);
        *lock(&self.session) = Some(opened.session);
        Ok(())
    }

    /// Its id.
    pub(crate) fn id(&self) -> String {
        lock(&self.registered).agent_id.to_string()
    }

    fn session(&self) -> Outcome<Session> {
        lock(&self.session).clone().ok_or_else(|| "there is no session".into())
    }

    /// Opens a control stream under the present session.
    pub(crate) async fn open(&self, link: &Link) -> Outcome<Stream> {
        let session = self.session()?;
        for _ in 0..ATTEMPTS {
            let options = self.prover.options(link, CONTROL_STREAM, &session)?;
            let stream = link.streams().control_stream_with_options(options).await;
            let (mut send, mut recv) = stream.map_err(CallError::from)?.into_split();
            let hello = self.engine.hello(session.sha256());
            let policy = self.engine.policy().sha256.0;
            let hello = frames::hello(hello, &self.engine.running(), policy, Generation(0));
            // Where this fails, the reason comes with the first message.
            let sent = send.send(hello).await;
            match recv.message().await {
                Ok(Some(first)) => {
                    sent.map_err(CallError::from)?;
                    let Some(Frame::Accepted(_)) = first.to_owned_message().frame else {
                        return Err("a stream that does not begin with accepted".into());
                    };
                    return Ok(Stream { send, incoming: Incoming(recv) });
                }
                Ok(None) => return Err("the server closed the stream".into()),
                Err(error) if self.prover.observe_error(&error) => {}
                Err(error) => return Err(CallError::from(error).into()),
            }
        }
        Err("the server asks for its nonce again and again".into())
    }

    /// The frame that takes a stream into the present session.
    pub(crate) fn renewal(&self, link: &Link) -> Outcome<ControlStreamRequest> {
        let session = self.session()?;
        let proof = self.prover.proof(link, CONTROL_STREAM, &session)?;
        Ok(frames::renew(session.token(), proof))
    }

    /// Learns the nonce of a renewed stream.
    pub(crate) fn learn(&self, nonce: &str) {
        self.prover.learn(nonce);
    }

    /// A sign of life.
    pub(crate) fn heartbeat(&self) -> ControlStreamRequest {
        frames::heartbeat(self.deps.clock.now())
    }

    /// What to answer to a configuration: it is taken where its signature is good.
    pub(crate) fn configured(
        &self,
        config: argosy_wire::rpc::gateway::Config,
    ) -> Outcome<ControlStreamRequest> {
        let (envelope, document, certificate) =
            frames::config(config).ok_or("a configuration without envelope or certificate")?;
        let statement = self.engine.verify_config(&envelope, &certificate, &document)?;
        Ok(frames::in_force(statement.generation, ""))
    }
}

/// The half of a control stream that sends.
pub(crate) type SendHalf = BidiSendHalf<ControlStreamRequest>;
type Body = <Carrier as ClientTransport>::ResponseBody;

/// The half of a control stream that is read.
pub(crate) struct Incoming(BidiRecvHalf<Body, ControlStreamResponseView<'static>>);

/// An open control stream.
pub(crate) struct Stream {
    /// To the server.
    pub(crate) send: SendHalf,
    /// From the server.
    pub(crate) incoming: Incoming,
}

/// Sends a frame.
pub(crate) async fn send(half: &mut SendHalf, frame: ControlStreamRequest) -> Outcome<()> {
    Ok(half.send(frame).await.map_err(CallError::from)?)
}

impl Incoming {
    /// The next frame of the server.
    pub(crate) async fn next(&mut self) -> Outcome<Frame> {
        loop {
            let message = self.0.message().await.map_err(CallError::from)?;
            let message = message.ok_or("the server closed the stream")?;
            if let Some(frame) = message.to_owned_message().frame {
                return Ok(frame);
            }
        }
    }
}
