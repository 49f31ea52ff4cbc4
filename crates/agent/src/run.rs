//! The running agent: everything that enrols, connects, looks and carries out, wired together.
//!
//! *Invariant:* the parts share nothing but what is passed to them here, and none blocks another:
//! a long scan delays no heartbeat, a dead server delays no scan.

mod tasks;
mod writer;

use std::{sync::Arc, time::Duration};

use argosy_domain::id::IdSource;
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    bounds::Bounds,
    config::{AgentConfig, AgentSettings},
    configuration::{self, Configurator},
    courier::Courier,
    credentials::{Credentials, Registered},
    crew::Crew,
    discovery,
    enrol::{EnrolError, Enrolled, Enrolment},
    error::AgentError,
    hand_over::bring_key,
    host,
    journal::Journal,
    keys::Keys,
    own::AgentRunner,
    packages::client::PackageHelper,
    policy_file::PolicyFile,
    recorder::{Clerk, Recorder},
    scheduler::{Scheduler, SchedulerParts, SubsystemRunner},
    server_url::ServerUrl,
    session::{Place, Refusals, SessionKeeper, Sessions},
    spool::Spool,
    state_dir::StateDir,
    status::{Connection, StatusBoard},
    stream::StreamParts,
    subsystem,
    transport::{Link, Prover},
    upload::{Uploader, Way},
};
use argosy_domain::{subsystem::Subsystem, telemetry::Severity};
use writer::StatusWriter;

pub use crate::deps::Deps;

/// Why an agent that is well has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// A command asked for a new start.
    ToRestart,
}

/// Runs an agent until `shutdown`, until a command asks for a new start, or until something on its own
/// host fails. Enrols by itself where a token is configured and nothing is enrolled yet.
pub async fn run(
    settings: AgentSettings,
    deps: Deps,
    shutdown: CancellationToken,
) -> Result<Ended, AgentError> {
    run_and_tell(settings, deps, shutdown, || {}).await
}

/// The same; `ready` is called once the state directory is held and the work begins.
pub async fn run_and_tell(
    settings: AgentSettings,
    deps: Deps,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<Ended, AgentError> {
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
) -> Result<Ended, AgentError> {
    let registered = match Credentials::load(&home.dir)? {
        Credentials::Registered(registered) => {
            if config.token.is_some() {
                tracing::info!(
                    "the enrolment token is not needed any more; remove it from the configuration"
                );
            }
            registered
        }
        Credentials::AwaitingKey(_) => {
            tokio::select! {
                brought = bring_key(&config, home, deps) => brought?,
                () = shutdown.cancelled() => return Ok(Ended::Stopped),
            }
        }
        state @ (Credentials::NotEnrolled | Credentials::Enrolling(_)) => {
            tokio::select! {
                enrolled = enrol(&config, home, deps, state) => enrolled?,
                () = shutdown.cancelled() => return Ok(Ended::Stopped),
            }
        }
    };
    config.token = None;
    let link = link_of(&config, &registered)?;
    // A restart ends the work, and not whoever runs it.
    work(&config, home, deps, shutdown.child_token(), writer, registered, link).await?;
    Ok(if shutdown.is_cancelled() { Ended::Stopped } else { Ended::ToRestart })
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

/// The way to the server that an agent is registered with.
pub(crate) fn link_of(config: &AgentConfig, registered: &Registered) -> Result<Link, AgentError> {
    let pin = *registered.server().thumbprint();
    Ok(Link::new(server_of(config, registered)?, config.ca_file.as_deref(), Some(pin))?)
}

/// How long to wait before the next attempt to belong to a server.
pub(crate) struct Patience {
    /// Where something is in the way.
    pub(crate) backoff: Backoff,
    /// Where the answer was no.
    pub(crate) refusals: Refusals,
}

impl Patience {
    /// Says why there is no success yet, and answers when to try again.
    pub(crate) fn delay(
        &mut self,
        home: &Home,
        error: &AgentError,
        is_refusal: bool,
        asked: Option<Duration>,
    ) -> Duration {
        let (why, advice) = (chain(error), error.advice());
        if is_refusal {
            let delay = self.refusals.next_delay();
            tracing::error!(retry_in_ms = delay.as_millis(), "{why}: {advice}");
            home.board.connection(Connection::Refused { said: why, advice: advice.to_owned() });
            delay
        } else {
            let delay = self.backoff.next_delay_after(asked);
            tracing::warn!(retry_in_ms = delay.as_millis(), "{why}");
            home.board.connection(Connection::Enrolling(why));
            delay
        }
    }
}

/// Registers this machine, as often as it takes.
async fn enrol(
    config: &AgentConfig,
    home: &Home,
    deps: &Deps,
    mut state: Credentials,
) -> Result<Registered, AgentError> {
    let enrolment = Enrolment { dir: &home.dir, keys: &home.keys, config, deps };
    let link = enrolment.link(&state)?;
    let mut patience = Patience {
        backoff: Backoff::new(Arc::clone(&deps.entropy)),
        refusals: Refusals::new(Arc::clone(&deps.entropy)),
    };
    loop {
        let error = match enrolment.attempt(&link, state).await {
            Ok(Enrolled { registered, approved, awaits_key, first_contact }) => {
                if first_contact {
                    let pin = registered.server_thumbprint;
                    tracing::warn!(%pin, "no pin was given: this server was trusted at first contact");
                }
                let (id, fingerprint) = (&registered.agent_id, registered.fingerprint);
                tracing::info!(agent = %id, %fingerprint, approved, "registered");
                if awaits_key {
                    return bring_key(config, home, deps).await;
                }
                return Ok(registered);
            }
            Err(error) if error.is_transient() || error.is_refusal() => error,
            Err(error) => return Err(error.into()),
        };
        let (is_refusal, asked) = (error.is_refusal(), error.retry_after());
        let error = AgentError::from(error);
        tokio::time::sleep(patience.delay(home, &error, is_refusal, asked)).await;
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
    let (recorder, inbox) = Recorder::new();
    let (held, configuration) = configuration::load(&home.dir)?;
    let (scheduler, mailbox) = Scheduler::new(SchedulerParts {
        collectors: Subsystem::ALL.map(subsystem::collector).into(),
        schedules: configuration.schedules,
        policy: PolicyFile::at(&config.policy_file),
        clock: Arc::clone(&deps.clock),
        entropy: Arc::clone(&deps.entropy),
        recorder: recorder.clone(),
        bounds: Bounds::of_process(config.memory_max_mib),
    });
    let ids = IdSource::new(Arc::clone(&deps.clock), Arc::clone(&deps.entropy));
    let journal = Arc::new(Journal::open(&home.dir, &ids)?);
    let spool = Arc::new(Spool::beside(&journal, ids)?);
    let started = format!("version {}", host::VERSION);
    spool.told(deps.clock.now(), "agent.started", Severity::Info, started)?;
    let configurator = Configurator::new(Arc::clone(&home.dir), scheduler.clone(), held);
    let configurator = Arc::new(configurator);
    let machine_id = registered.machine_id.and(host::machine_id(&registered.server_thumbprint));
    let prover = Arc::new(Prover::new(Arc::clone(&home.keys), deps.clone(), machine_id));
    let sessions = Arc::new(Sessions::default());
    let way = Way {
        link: link.clone(),
        prover: Arc::clone(&prover),
        sessions: Arc::clone(&sessions),
        deps: deps.clone(),
    };
    let policy = PolicyFile::at(&config.policy_file);
    let discoverer = discovery::discoverer(&config.discovery, way.clone(), policy);
    let runner = AgentRunner {
        discoverer: Arc::clone(&discoverer),
        subsystems: SubsystemRunner::new(scheduler.clone()),
        dir: Arc::clone(&home.dir),
        keys: Arc::clone(&home.keys),
        configurator: Arc::clone(&configurator),
        packages: Arc::new(PackageHelper {
            socket: config.package_helper_socket.clone(),
            settings: config.package_helper_file.clone(),
            policy: PolicyFile::at(&config.policy_file),
            clock: Arc::clone(&deps.clock),
            turn: tokio::sync::Mutex::default(),
        }),
        restart: stop.clone(),
        marking: Arc::default(),
    };
    let (engine, events) = tasks::start_engine(config, home, deps, &registered, runner, journal)?;
    writer.observe(engine.clone(), Arc::clone(&spool));
    let mut crew = Crew::new(stop.clone(), Arc::clone(&deps.entropy), recorder.clone());
    let keeper = SessionKeeper {
        link: link.clone(),
        keys: Arc::clone(&home.keys),
        prover: Arc::clone(&prover),
        place: Arc::new(Place::new(Arc::clone(&home.dir), registered)),
        sessions: Arc::clone(&sessions),
        engine: engine.clone(),
        board: Arc::clone(&home.board),
        deps: deps.clone(),
    };
    crew.keep("session keeper", keeper, |keeper| async move {
        keeper.keep().await;
        Ok(())
    });
    let board = &home.board;
    let uploader = Uploader { way: way.clone(), mailbox, board: Arc::clone(board) };
    let courier = Courier { way, spool: Arc::clone(&spool), board: Arc::clone(board) };
    let clerk = Clerk::new(inbox, spool, Arc::clone(&deps.clock), Arc::clone(board));
    crew.keep("uploader", uploader, |uploader| async move {
        uploader.keep().await;
        Ok(())
    });
    crew.keep("courier", courier, |courier| async move { Ok(courier.keep().await?) });
    crew.keep("discovery", discoverer, |discoverer| async move {
        discoverer.keep().await;
        Ok(())
    });
    crew.keep("recorder", clerk, |clerk| async move { Ok(clerk.keep().await?) });
    let stream = StreamParts {
        configurator,
        link,
        prover,
        sessions,
        engine: engine.clone(),
        board: Arc::clone(&home.board),
        heartbeat_interval: config.heartbeat_interval,
        deps: deps.clone(),
    };
    tasks::start_stream(&mut crew, stream, events, stop.clone());
    tasks::start_local(&mut crew, engine, scheduler, stop);
    crew.wait().await
}
