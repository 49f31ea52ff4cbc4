//! The server's own keys: taken up when rotated elsewhere, renewed in time, forgotten when over.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Ticks, report};
use crate::app::App;

/// How often rotations by other processes are looked for: well within the time for which a new
/// session secret is known before it signs.
const EVERY: Duration = Duration::from_secs(2);

/// Runs until `shutdown`.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let mut ticks = Ticks::every(EVERY, shutdown);
    while ticks.next().await {
        report("take up rotated keys", app.refresh_keys().await);
        report("renew keys", app.renew_keys().await);
        report("forget old keys", app.retire_keys().await);
    }
}
