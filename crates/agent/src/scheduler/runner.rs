//! The command runner of `subsystem.run`.

use std::time::Duration;

use argosy_domain::subsystem::Subsystem;

use super::{RunError, Scheduler, told};
use crate::engine::RunOutcome;

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

impl SubsystemRunner {
    /// Runs a subsystem now.
    pub async fn run(&self, subsystem: Subsystem) -> RunOutcome {
        match self.scheduler.run_now(subsystem).await {
            Ok(report) => RunOutcome::Succeeded { report },
            Err(error) => failure(&error),
        }
    }

    /// How long that may take.
    pub fn timeout(&self, subsystem: Subsystem) -> Duration {
        self.scheduler.command_timeout(subsystem)
    }
}

fn failure(error: &RunError) -> RunOutcome {
    let code = match error {
        RunError::TimedOut(_) => return RunOutcome::TimedOut { error: told(error) },
        RunError::Disabled => "subsystem_disabled",
        RunError::Refused(_) => "refused_by_policy",
        RunError::Exceeded(_) => "memory_exceeded",
        RunError::Collect(_) => "collection_failed",
        RunError::Panicked => "panicked",
        RunError::OutOfBounds(_) => "invalid_report",
    };
    RunOutcome::Failed { code, error: told(error) }
}
