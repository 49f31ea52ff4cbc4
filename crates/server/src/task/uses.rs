//! Uses of keys and sessions are written down.

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::report;
use crate::app::{App, uses::WRITE_EVERY};

/// Runs until `shutdown`, and once more then.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(WRITE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let over = tokio::select! {
            () = shutdown.cancelled() => true,
            _ = ticks.tick() => false,
        };
        report("write down uses", app.flush_uses().await);
        if over {
            return;
        }
    }
}
