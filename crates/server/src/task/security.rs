//! Security events that wait in memory are written, twice a second.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Ticks;
use crate::app::App;

/// How often what waits is written.
const EVERY: Duration = Duration::from_millis(500);

/// Runs until `shutdown`, and once more then.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let mut ticks = Ticks::every(EVERY, shutdown);
    let mut over = false;
    while !over {
        over = !ticks.next().await;
        // What could not be written waits on, and the store itself has said why.
        if let Err(error) = app.flush_security().await {
            tracing::debug!(%error, "security events wait on");
        }
    }
}
