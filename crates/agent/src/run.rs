//! The running agent: everything that enrols, connects, looks and carries out, wired together.
//!
//! *Invariant:* the parts share nothing but what is passed to them here, and none blocks another:
//! a long scan delays no heartbeat, a dead server delays no scan.

mod writer;

use std::sync::Arc;

use argosy_domain::id::IdSource;
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    boot::BootId,
    config::{AgentConfig, AgentSettings},
    credentials::{Credentials, Registered},
    crew::{AfterPanic, Crew},
    engine::{CAPACITY_DEFAULT, CONCURRENCY_DEFAULT, Engine, EngineEvent, EngineParts},
    enrol::{EnrolError, Enrolled, Enrolment},
    error::AgentError,
    host,
    journal::Journal,
    keys::Keys,
    policy_file::PolicyFile,
    scheduler::{Mailbox, Scheduler, SchedulerParts, SubsystemRunner},
    server_url::ServerUrl,
    session::{Place, Refusals, SessionKeeper, Sessions},
    state_dir::StateDir,
    status::{Connection, StatusBoard},
    stream::StreamParts,
    subsystem,
    transport::{Link, Prover},
    upload::Uploader,
};
use argosy_domain::subsystem::Subsystem;
use tokio::sync::mpsc;
use writer::StatusWriter;

pub use crate::deps::Deps;

/// Runs an agent until `shutdown`, or until something on its own host fails. Enrols by itself where
/// a token is configured and nothing is enrolled yet.
pub async fn run(
    settings: AgentSettings,
    deps: Deps,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    run_and_tell(settings, deps, shutdown, || {}).await
}

/// The same; `ready` is called once the state directory is held and the work begins.
pub async fn run_and_tell(
    settings: AgentSettings,
    deps: Deps,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), AgentError> {
    let config = settings.check()?;
    drop(settings);
    let home = Home::open(&config, &deps)?;
    ready();
    tracing::info!(
        version = crate::host::VERSION,
        state_dir = %config.state_dir.display(),
        "agent started"
    );
    if config.labels.iter().next().is_some() {
        tracing::warn!("labels of the configuration are not reported yet; set them on the server");
    }
    let writer = StatusWriter::new(&home, PolicyFile::at(&config.policy_file), deps.clone());
    let outcome = tokio::select! {
        outcome = live(config, &home, &deps, &shutdown, &writer) => outcome,
        never = writer.keep() => match never {},
    };
    let why = outcome.as_ref().err().map(chain);
    home.board.connection(Connection::Stopped(why));
    writer.write().await;
    outcome
}

/// An error and its causes in one line.
pub fn chain(error: &AgentError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Transparent errors say the same once more.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// What an agent has on its host.
pub(crate) struct Home {
    /// Held by this process.
    pub(crate) dir: Arc<StateDir>,
    /// Its keys.
    pub(crate) keys: Arc<Keys>,
    /// Where it shows itself.
    pub(crate) board: Arc<StatusBoard>,
}

impl Home {
    /// Takes the state directory. Blocks for as long as the disk does.
    pub(crate) fn open(config: &AgentConfig, deps: &Deps) -> Result<Self, AgentError> {
        let dir = StateDir::open(&config.state_dir)?;
        let keys = Keys::load_or_create(&dir, deps.entropy.as_ref())?;
        let board = StatusBoard::new(Arc::clone(&deps.clock));
        Ok(Self { dir: Arc::new(dir), keys: Arc::new(keys), board: Arc::new(board) })
    }
}

/// Enrols where that is needed, then works.
async fn live(
    mut config: AgentConfig,
    home: &Home,
    deps: &Deps,
    shutdown: &CancellationToken,
    writer: &StatusWriter,
) -> Result<(), AgentError> {
    let registered = match Credentials::load(&home.dir)? {
        Credentials::Registered(registered) => {
            if config.token.is_some() {
                tracing::info!(
                    "the enrolment token is not needed any more; remove it from the configuration"
                );
            }
            registered
        }
        state @ Credentials::AwaitingKey(_) => bring_key(&config, home, state)?,
        state @ (Credentials::NotEnrolled | Credentials::Enrolling(_)) => {
            tokio::select! {
                enrolled = enrol(&config, home, deps, state) => enrolled?,
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    };
    config.token = None;
    let url = server_of(&config, &registered)?;
    let link = Link::new(url, config.ca_file.as_deref())?;
    work(&config, home, deps, shutdown.child_token(), writer, registered, link).await
}

/// The key that an operator handed over in the settings, durable before it is used.
fn bring_key(
    config: &AgentConfig,
    home: &Home,
    state: Credentials,
) -> Result<Registered, AgentError> {
    let key = config.api_key.clone().ok_or(EnrolError::AwaitsKey)?;
    let state = state.keyed(key).map_err(|_| EnrolError::Stale)?;
    state.save(&home.dir)?;
    match state {
        Credentials::Registered(registered) => Ok(registered),
        Credentials::NotEnrolled | Credentials::Enrolling(_) | Credentials::AwaitingKey(_) => {
            Err(EnrolError::Stale.into())
        }
    }
}

/// Where the agent's server is: a setting may say that it has moved; its pin stays.
pub(crate) fn server_of(
    config: &AgentConfig,
    registered: &Registered,
) -> Result<ServerUrl, AgentError> {
    if let Some(url) = &config.server {
        return Ok(url.clone());
    }
    let kept = AgentSettings {
        server_url: Some(registered.server_url.clone()),
        allow_insecure_transport: config.allow_insecure_transport,
        state_dir: Some(config.state_dir.clone()),
        ..AgentSettings::default()
    };
    kept.check()?.server.ok_or(AgentError::Enrol(EnrolError::NoServer))
}

/// Registers this machine, as often as it takes.
async fn enrol(
    config: &AgentConfig,
    home: &Home,
    deps: &Deps,
    mut state: Credentials,
) -> Result<Registered, AgentError> {
    let enrolment = Enrolment { dir: &home.dir, keys: &home.keys, config, deps };
    let link = Link::new(enrolment.server(&state)?, config.ca_file.as_deref())?;
    let mut backoff = Backoff::new(Arc::clone(&deps.entropy));
    let mut refusals = Refusals::new(Arc::clone(&deps.entropy));
    loop {
        let error = match enrolment.attempt(&link, state).await {
            Ok(Enrolled { registered, approved, awaits_key, first_contact }) => {
                if first_contact {
                    let pin = registered.server_thumbprint;
                    tracing::warn!(%pin, "no pin was given: this server was trusted at first contact");
                }
                let (id, fingerprint) = (&registered.agent_id, registered.fingerprint);
                tracing::info!(agent = %id, %fingerprint, approved, "registered");
                return if awaits_key { Err(EnrolError::AwaitsKey.into()) } else { Ok(registered) };
            }
            Err(error) if error.is_transient() || error.is_refusal() => error,
            Err(error) => return Err(error.into()),
        };
        let (is_refusal, asked) = (error.is_refusal(), error.retry_after());
        let error = AgentError::from(error);
        let (why, advice) = (chain(&error), error.advice());
        let delay = if is_refusal {
            let delay = refusals.next_delay();
            tracing::error!(retry_in_ms = delay.as_millis(), "{why}: {advice}");
            home.board.connection(Connection::Refused { said: why, advice: advice.to_owned() });
            delay
        } else {
            let delay = backoff.next_delay_after(asked);
            tracing::warn!(retry_in_ms = delay.as_millis(), "{why}");
            home.board.connection(Connection::Enrolling(why));
            delay
        };
        tokio::time::sleep(delay).await;
        state = Credentials::load(&home.dir)?;
    }
}

/// Everything that runs while the agent is registered.
async fn work(
    config: &AgentConfig,
    home: &Home,
    deps: &Deps,
    stop: CancellationToken,
    writer: &StatusWriter,
    registered: Registered,
    link: Link,
) -> Result<(), AgentError> {
    let (scheduler, mailbox) = Scheduler::new(SchedulerParts {
        collectors: Subsystem::ALL.map(subsystem::collector).into(),
        schedules: Default::default(),
        policy: PolicyFile::at(&config.policy_file),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
    });
    let (engine, events) = start_engine(config, home, deps, &registered, &scheduler)?;
    writer.observe(engine.clone());
    let machine_id = registered.machine_id.and(host::machine_id(&registered.server_thumbprint));
    let prover = Arc::new(Prover::new(Arc::clone(&home.keys), deps.clone(), machine_id));
    let sessions = Arc::new(Sessions::default());
    let mut crew = Crew::new(stop.clone(), Arc::clone(&deps.entropy));
    let keeper = Arc::new(SessionKeeper {
        link: link.clone(),
        keys: Arc::clone(&home.keys),
        prover: Arc::clone(&prover),
        place: Arc::new(Place::new(Arc::clone(&home.dir), registered)),
        sessions: Arc::clone(&sessions),
        engine: engine.clone(),
        board: Arc::clone(&home.board),
        deps: deps.clone(),
    });
    let until = stop.clone();
    crew.start("session keeper", AfterPanic::Restart, move || {
        let (keeper, stop) = (Arc::clone(&keeper), until.clone());
        async move {
            match stop.run_until_cancelled(keeper.keep()).await {
                None => Ok(()),
                Some(never) => match never {},
            }
        }
    });
    let uploader = uploader(home, deps, &link, &prover, &sessions, mailbox);
    let until = stop.clone();
    crew.start("uploader", AfterPanic::Restart, move || {
        let (uploader, stop) = (Arc::clone(&uploader), until.clone());
        async move {
            stop.run_until_cancelled(uploader.keep()).await;
            Ok(())
        }
    });
    let stream = StreamParts {
        link,
        prover,
        sessions,
        engine: engine.clone(),
        board: Arc::clone(&home.board),
        heartbeat_interval: config.heartbeat_interval,
        deps: deps.clone(),
    };
    start_stream(&mut crew, stream, events, stop.clone());
    start_local(&mut crew, engine, scheduler, stop);
    crew.wait().await
}

fn start_engine(
    config: &AgentConfig,
    home: &Home,
    deps: &Deps,
    registered: &Registered,
    scheduler: &Scheduler,
) -> Result<(Engine, mpsc::Receiver<EngineEvent>), AgentError> {
    let ids = IdSource::new(Arc::clone(&deps.clock), Arc::clone(&deps.entropy));
    let parts = EngineParts {
        journal: Arc::new(Journal::open(&home.dir, &ids)?),
        policy: PolicyFile::at(&config.policy_file),
        runner: Arc::new(SubsystemRunner::new(scheduler.clone())),
        clock: Arc::clone(&deps.clock),
        keys: Arc::clone(&home.keys),
        agent: registered.agent_id.clone(),
        org: registered.org.clone(),
        server: registered.server(),
        boot: BootId::of_host()?,
        capacity: CAPACITY_DEFAULT,
        concurrency: CONCURRENCY_DEFAULT,
    };
    Ok(Engine::new(parts)?)
}

fn uploader(
    home: &Home,
    deps: &Deps,
    link: &Link,
    prover: &Arc<Prover>,
    sessions: &Arc<Sessions>,
    mailbox: Mailbox,
) -> Arc<Uploader> {
    Arc::new(Uploader {
        link: link.clone(),
        prover: Arc::clone(prover),
        sessions: Arc::clone(sessions),
        mailbox,
        board: Arc::clone(&home.board),
        deps: deps.clone(),
    })
}

fn start_stream(
    crew: &mut Crew,
    stream: StreamParts,
    events: mpsc::Receiver<EngineEvent>,
    stop: CancellationToken,
) {
    let events = Arc::new(tokio::sync::Mutex::new(events));
    crew.start("control stream", AfterPanic::Restart, move || {
        let (stream, events, stop) = (stream.clone(), Arc::clone(&events), stop.clone());
        async move {
            stream.keep(&mut *events.lock().await, &stop).await;
            Ok(())
        }
    });
}

fn start_local(crew: &mut Crew, engine: Engine, scheduler: Scheduler, stop: CancellationToken) {
    let until = stop.clone();
    crew.start("command engine", AfterPanic::End, move || {
        let (engine, stop) = (engine.clone(), until.clone());
        async move { Ok(engine.run(stop).await?) }
    });
    crew.start("scheduler", AfterPanic::Restart, move || {
        let (scheduler, stop) = (scheduler.clone(), stop.clone());
        async move {
            scheduler.run(stop).await;
            Ok(())
        }
    });
}
