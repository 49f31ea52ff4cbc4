//! Moves fan-outs on: when something ended here, and every second for what ended elsewhere.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::report;
use crate::app::App;

/// How often fan-outs are looked at without being called.
const EVERY: Duration = Duration::from_secs(1);
/// The rest after a look, in lengths of the look itself: while thousands of commands end, each of which
/// calls, looks of less than a quarter of a second take a fifth of one core at most.
const REST: u32 = 4;

/// Runs until `shutdown`.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = app.fan_outs_called() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        let began = Instant::now();
        report("move fan-outs", app.move_fan_outs().await);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep((began.elapsed() * REST).min(EVERY)) => {}
        }
    }
}
