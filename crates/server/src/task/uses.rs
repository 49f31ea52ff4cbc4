//! Uses of keys and sessions are written down.

use tokio_util::sync::CancellationToken;

use super::Ticks;
use crate::app::{App, uses::WRITE_EVERY};

/// Runs until `shutdown`, and once more then.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let mut ticks = Ticks::every(WRITE_EVERY, shutdown);
    let mut over = false;
    while !over {
        over = !ticks.next().await;
        if let Err(error) = app.flush_uses().await {
            tracing::warn!(%error, "uses of keys and sessions were not written; the next run tries again");
        }
    }
}
