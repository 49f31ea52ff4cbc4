//! The tasks of a running agent, each as the crew starts it.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Deps, Home};
use crate::{
    boot::BootId,
    config::AgentConfig,
    credentials::Registered,
    crew::{AfterPanic, Crew},
    engine::{CAPACITY_DEFAULT, CONCURRENCY_DEFAULT, Engine, EngineEvent, EngineParts},
    error::AgentError,
    journal::Journal,
    own::AgentRunner,
    policy_file::PolicyFile,
    scheduler::Scheduler,
    stream::StreamParts,
};

pub(super) fn start_engine(
    config: &AgentConfig,
    home: &Home,
    deps: &Deps,
    registered: &Registered,
    runner: AgentRunner,
    journal: Arc<Journal>,
) -> Result<(Engine, mpsc::Receiver<EngineEvent>), AgentError> {
    let parts = EngineParts {
        journal,
        policy: PolicyFile::at(&config.policy_file),
        runner: Arc::new(runner),
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
