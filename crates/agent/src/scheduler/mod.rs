//! The scheduler: runs the subsystems of this host by their schedules.
//!
//! Each subsystem has its own task: a slow one delays no other, and a run that takes too long is
//! stopped. What came of the latest run of each waits in the [`Mailbox`] until somebody can send it.
//!
//! *Invariant:* one run of a subsystem at a time, on command or by schedule; no subsystem runs that
//! is disabled or that the host's policy does not list; a breaker that rests stops scheduled runs
//! and never a command.

mod mailbox;
mod run;
mod runner;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use argosy_domain::{
    entropy::Entropy,
    subsystem::{Schedule, Subsystem},
    time::Clock,
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

pub use mailbox::{InventoryOutcome, Mailbox};
pub use run::RunError;
pub use runner::SubsystemRunner;

use crate::{
    backoff::jitter, bounds::Bounds, policy_file::PolicyFile, recorder::Recorder,
    subsystem::Collector,
};
use run::{Station, told};

/// Between the first runs of two subsystems, so that they do not load the host at once.
const FIRST_RUN_STAGGER: Duration = Duration::from_millis(200);
/// What a command's run may take beyond the subsystem's own timeout.
const COMMAND_SLACK: Duration = Duration::from_secs(10);

/// What a scheduler is made of.
pub struct SchedulerParts {
    /// One for each subsystem; one that is missing here never runs.
    pub collectors: Vec<Box<dyn Collector>>,
    /// When each runs; a subsystem that is missing here has its default.
    pub schedules: BTreeMap<Subsystem, Schedule>,
    /// What the host's owner allows.
    pub policy: PolicyFile,
    /// Boot clock for breakers, wall clock for what reports say.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Where outcomes are told.
    pub recorder: Recorder,
    /// What runs may make of the process.
    pub bounds: Bounds,
}

/// The scheduler. Clones share one.
#[derive(Clone)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

struct Shared {
    stations: BTreeMap<Subsystem, Station>,
    policy: PolicyFile,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    recorder: Recorder,
    bounds: Bounds,
    mailbox: Mailbox,
}

impl Scheduler {
    /// A scheduler and the mailbox that it fills. Nothing runs before [`Self::run`].
    pub fn new(parts: SchedulerParts) -> (Self, Mailbox) {
        let SchedulerParts { collectors, schedules, policy, clock, entropy, recorder, bounds } =
            parts;
        let stations = collectors.into_iter().map(|collector| {
            let subsystem = collector.subsystem();
            let default = || subsystem.default_schedule();
            let schedule = schedules.get(&subsystem).copied().unwrap_or_else(default);
            (subsystem, Station::new(collector, schedule))
        });
        let mailbox = Mailbox::default();
        let stations = stations.collect();
        let shared =
            Shared { stations, policy, clock, entropy, recorder, bounds, mailbox: mailbox.clone() };
        (Self { shared: Arc::new(shared) }, mailbox)
    }

    /// Runs every subsystem by its schedule until `stop`. The first runs begin at once, so that a
    /// new host shows itself within seconds.
    pub async fn run(&self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for subsystem in self.shared.stations.keys() {
            let (shared, subsystem, at) = (Arc::clone(&self.shared), *subsystem, tasks.len());
            let stagger = FIRST_RUN_STAGGER * u32::try_from(at).unwrap_or(0);
            tasks.spawn(async move { shared.keep_running(subsystem, stagger).await });
        }
        // Leaving drops the tasks, and with them the runs that are under way. No task ends by
        // itself, and collectors are contained: a panic here is the scheduler's own.
        tokio::select! {
            () = stop.cancelled() => {}
            Some(Err(error)) = tasks.join_next(), if !tasks.is_empty() => {
                if error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }

    /// From now on subsystems run by these schedules; one that is missing keeps what it has.
    pub fn reschedule(&self, schedules: &BTreeMap<Subsystem, Schedule>) {
        for (subsystem, schedule) in schedules {
            if let Some(station) = self.shared.stations.get(subsystem) {
                station.reschedule(*schedule);
            }
        }
    }

    /// When a subsystem runs; none where this agent has no collector for it.
    pub fn schedule(&self, subsystem: Subsystem) -> Option<Schedule> {
        self.shared.stations.get(&subsystem).map(Station::schedule)
    }

    /// Runs a subsystem now, whatever its breaker says, and returns its report as JSON. The report
    /// goes to the mailbox too.
    pub async fn run_now(&self, subsystem: Subsystem) -> Result<Vec<u8>, RunError> {
        self.shared.run_once(subsystem).await
    }

    /// How long [`Self::run_now`] may take: the run itself, and the one that may be under way.
    pub fn command_timeout(&self, subsystem: Subsystem) -> Duration {
        let timeout = |station: &Station| station.schedule().timeout * 2 + COMMAND_SLACK;
        self.shared.stations.get(&subsystem).map_or(COMMAND_SLACK, timeout)
    }
}

impl Shared {
    /// Runs a subsystem by its schedule, for ever.
    async fn keep_running(&self, subsystem: Subsystem, stagger: Duration) {
        let Some(station) = self.stations.get(&subsystem) else { return };
        tokio::time::sleep(stagger).await;
        loop {
            let began = Instant::now();
            if scheduled(&station.schedule())
                && station.admits(self.clock.since_boot())
                && let Err(error) = self.run_once(subsystem).await
            {
                tracing::warn!(subsystem = subsystem.as_str(), "no report: {}", told(&error));
            }
            self.rest(station, began).await;
        }
    }

    /// Waits for the next turn of a subsystem whose last one was at `began`, by the schedule as it
    /// stands meanwhile.
    async fn rest(&self, station: &Station, began: Instant) {
        let factor = jitter(self.entropy.as_ref());
        loop {
            let schedule = station.schedule();
            let turn = began + schedule.interval.mul_f64(factor);
            tokio::select! {
                () = tokio::time::sleep_until(turn), if scheduled(&schedule) => return,
                () = station.changed.notified() => {}
            }
        }
    }

    async fn run_once(&self, subsystem: Subsystem) -> Result<Vec<u8>, RunError> {
        let station = self.stations.get(&subsystem).ok_or(RunError::Disabled)?;
        if !station.schedule().enabled {
            return Err(RunError::Disabled);
        }
        self.allowed(subsystem).await?;
        let (outcome, result) = station.run(&*self.clock, &self.bounds).await;
        self.recorder.outcome(&outcome);
        self.mailbox.post(outcome);
        result
    }

    async fn allowed(&self, subsystem: Subsystem) -> Result<(), RunError> {
        let policy = self.policy.clone();
        let loaded = tokio::task::spawn_blocking(move || policy.load()).await;
        // Not to know the policy is to be refused; it happens only while the process ends.
        let loaded = loaded.map_err(|_| RunError::Disabled)?;
        Ok(loaded.allows_subsystem(subsystem)?)
    }
}

fn scheduled(schedule: &Schedule) -> bool {
    schedule.enabled && schedule.auto_run
}

#[cfg(test)]
mod tests;
