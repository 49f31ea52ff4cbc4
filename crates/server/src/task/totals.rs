//! The installation is counted for metrics.

use tokio_util::sync::CancellationToken;

use super::{Ticks, report};
use crate::app::{App, totals::COUNT_EVERY};

/// Runs until `shutdown`.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let mut ticks = Ticks::every(COUNT_EVERY, shutdown);
    while ticks.next().await {
        report("count the installation", app.count_totals().await);
    }
}
