//! The command runner of `subsystem.run`.

use std::time::Duration;

use argosy_domain::{command::CommandParams, id::CommandId};
use futures::future::BoxFuture;

use super::{RunError, Scheduler, told};
use crate::engine::{CommandRunner, RunOutcome};

/// Carries out commands by the scheduler's subsystems.
#[derive(Clone)]
pub struct SubsystemRunner {
    scheduler: Scheduler,
}

impl SubsystemRunner {
    /// A runner on a scheduler.
    pub fn new(scheduler: Scheduler) -> Self {
        Self { scheduler }
    }
}

impl CommandRunner for SubsystemRunner {
    fn run<'a>(&'a self, _id: &'a CommandId, params: CommandParams) -> BoxFuture<'a, RunOutcome> {
        Box::pin(async move {
            let CommandParams::SubsystemRun { subsystem } = params;
            match self.scheduler.run_now(subsystem).await {
                Ok(report) => RunOutcome::Succeeded { report },
                Err(error) => failure(&error),
            }
        })
    }

    fn timeout(&self, params: &CommandParams) -> Duration {
        let CommandParams::SubsystemRun { subsystem } = params;
        self.scheduler.command_timeout(*subsystem)
    }
}

fn failure(error: &RunError) -> RunOutcome {
    let code = match error {
        RunError::TimedOut(_) => return RunOutcome::TimedOut { error: told(error) },
        RunError::Disabled => "subsystem_disabled",
        RunError::Refused(_) => "refused_by_policy",
        RunError::Collect(_) => "collection_failed",
        RunError::Panicked => "panicked",
        RunError::OutOfBounds(_) => "invalid_report",
    };
    RunOutcome::Failed { code, error: told(error) }
}
