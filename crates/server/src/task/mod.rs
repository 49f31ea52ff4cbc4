//! Background tasks: each re-reads what is due and does it; none keeps state of its own.

mod audit;
mod fan_outs;
mod keys;
mod replica;
mod searches;
mod security;
mod settings;
mod totals;
mod uses;

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::app::{App, error::AppResult};

/// The beat of a task: at once, then every so often, until the server shuts down.
pub(crate) struct Ticks {
    interval: Interval,
    shutdown: CancellationToken,
}

impl Ticks {
    /// A beat that has not begun.
    pub(crate) fn every(period: Duration, shutdown: CancellationToken) -> Self {
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { interval, shutdown }
    }

    /// Waits for the next beat; false once the server shuts down.
    pub(crate) async fn next(&mut self) -> bool {
        tokio::select! {
            () = self.shutdown.cancelled() => false,
            _ = self.interval.tick() => true,
        }
    }
}

/// How often what is over is looked for.
const EVERY: Duration = Duration::from_secs(30);

/// Runs until `shutdown`.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    tokio::join!(
        keys::run(app.clone(), shutdown.clone()),
        audit::run(app.clone(), shutdown.clone()),
        security::run(app.clone(), shutdown.clone()),
        settings::run(app.clone(), shutdown.clone()),
        replica::run(app.clone(), shutdown.clone()),
        shutdown.run_until_cancelled(app.run_feed()),
        uses::run(app.clone(), shutdown.clone()),
        fan_outs::run(app.clone(), shutdown.clone()),
        totals::run(app.clone(), shutdown.clone()),
        searches::run(app.clone(), shutdown.clone()),
        sweep(app.clone(), shutdown.clone())
    );
}

/// Ends what is over.
async fn sweep(app: App, shutdown: CancellationToken) {
    report("give agents their subsystems", app.ensure_subsystems().await);
    let mut ticks = Ticks::every(EVERY, shutdown);
    while ticks.next().await {
        app.failures().tidy();
        app.principals().tidy();
        if !app.leads() {
            continue;
        }
        report("expire registrations", app.expire_registrations().await);
        report("expire commands", app.expire_commands().await);
        report("give up commands", app.lose_commands().await);
        report("purge", app.purge_expired().await);
        report("purge idempotent writes", app.purge_idempotent_writes().await);
        report("purge reports", app.purge_reports().await);
        report("fail dropped syncs", app.fail_dropped_syncs().await);
        report("purge discovery", app.purge_discovery().await);
    }
}

fn report<T: std::fmt::Display + PartialOrd + Default>(task: &'static str, done: AppResult<T>) {
    match done {
        Ok(count) if count > T::default() => tracing::info!(task, %count, "done"),
        Ok(_) => {}
        Err(error) => tracing::warn!(task, %error, "failed; the next run tries again"),
    }
}
