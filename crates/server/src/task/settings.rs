//! Settings that were changed through another replica are taken up.

use tokio_util::sync::CancellationToken;

use super::{Ticks, report};
use crate::app::{App, settings::REREAD_EVERY};

/// Runs until `shutdown`.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let mut ticks = Ticks::every(REREAD_EVERY, shutdown);
    while ticks.next().await {
        report("take up changed settings", app.refresh_settings().await);
    }
}
