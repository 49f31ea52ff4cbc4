//! Settings that were changed through another replica are taken up.

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::report;
use crate::app::{App, settings::REREAD_EVERY};

/// Runs until `shutdown`.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(REREAD_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        report("take up changed settings", app.refresh_settings().await);
    }
}
