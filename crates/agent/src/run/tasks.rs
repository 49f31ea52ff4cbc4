//! The tasks of a running agent, each as the crew starts it.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Deps, Home};
use crate::{
    boot::BootId,
    config::AgentConfig,
    courier::Courier,
    credentials::Registered,
    crew::{AfterPanic, Crew},
    engine::{CAPACITY_DEFAULT, CONCURRENCY_DEFAULT, Engine, EngineEvent, EngineParts},
    error::AgentError,
    journal::Journal,
    policy_file::PolicyFile,
    recorder::{self, Inbox},
    scheduler::{Scheduler, SubsystemRunner},
    session::SessionKeeper,
    spool::Spool,
    stream::StreamParts,
    upload::Uploader,
};

pub(super) fn start_sessions(crew: &mut Crew, keeper: SessionKeeper, stop: &CancellationToken) {
    let (keeper, until) = (Arc::new(keeper), stop.clone());
    crew.start("session keeper", AfterPanic::Restart, move || {
        let (keeper, stop) = (Arc::clone(&keeper), until.clone());
        async move {
            match stop.run_until_cancelled(keeper.keep()).await {
                None => Ok(()),
                Some(never) => match never {},
            }
        }
    });
}

pub(super) fn start_engine(
    config: &AgentConfig,
    home: &Home,
    deps: &Deps,
    registered: &Registered,
    scheduler: &Scheduler,
    journal: Arc<Journal>,
) -> Result<(Engine, mpsc::Receiver<EngineEvent>), AgentError> {
    let parts = EngineParts {
        journal,
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

pub(super) fn start_uploads(
    crew: &mut Crew,
    uploader: Uploader,
    courier: Courier,
    stop: &CancellationToken,
) {
    let (uploader, until) = (Arc::new(uploader), stop.clone());
    crew.start("uploader", AfterPanic::Restart, move || {
        let (uploader, stop) = (Arc::clone(&uploader), until.clone());
        async move {
            stop.run_until_cancelled(uploader.keep()).await;
            Ok(())
        }
    });
    let (courier, until) = (Arc::new(courier), stop.clone());
    crew.start("courier", AfterPanic::Restart, move || {
        let (courier, stop) = (Arc::clone(&courier), until.clone());
        async move {
            stop.run_until_cancelled(courier.keep()).await;
            Ok(())
        }
    });
}

pub(super) fn start_recorder(
    crew: &mut Crew,
    inbox: Inbox,
    spool: Arc<Spool>,
    home: &Home,
    deps: &Deps,
    stop: &CancellationToken,
) {
    let board = Arc::clone(&home.board);
    let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
    let (clock, stop) = (Arc::clone(&deps.clock), stop.clone());
    crew.start("recorder", AfterPanic::Restart, move || {
        let (inbox, spool) = (Arc::clone(&inbox), Arc::clone(&spool));
        let (clock, board, stop) = (Arc::clone(&clock), Arc::clone(&board), stop.clone());
        async move {
            let mut inbox = inbox.lock().await;
            stop.run_until_cancelled(recorder::keep(&mut inbox, &spool, &clock, &board)).await;
            Ok(())
        }
    });
}

pub(super) fn start_stream(
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

pub(super) fn start_local(
    crew: &mut Crew,
    engine: Engine,
    scheduler: Scheduler,
    stop: CancellationToken,
) {
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
