//! Moves fan-outs on: when something ended here, and every second for what ended elsewhere.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::report;
use crate::app::App;

/// How often fan-outs are looked at without being called.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until `shutdown`.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = app.fan_outs_called() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        report("move fan-outs", app.move_fan_outs().await);
    }
}
