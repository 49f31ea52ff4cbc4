//! Background tasks: each re-reads what is due and does it; none keeps state of its own.

mod audit;
mod keys;
mod replica;
mod security;
mod settings;
mod uses;

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::app::{App, error::AppResult};

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
        sweep(app.clone(), shutdown.clone())
    );
}

/// Ends what is over.
async fn sweep(app: App, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        app.failures().tidy();
        app.principals().tidy();
        if !app.leads() {
            continue;
        }
        report("expire registrations", app.expire_registrations().await);
        report("expire commands", app.expire_commands().await);
        report("purge", app.purge_expired().await);
        report("purge reports", app.purge_reports().await);
    }
}

fn report<T: std::fmt::Display + PartialOrd + Default>(task: &'static str, done: AppResult<T>) {
    match done {
        Ok(count) if count > T::default() => tracing::info!(task, %count, "done"),
        Ok(_) => {}
        Err(error) => tracing::warn!(task, %error, "failed; the next run tries again"),
    }
}
