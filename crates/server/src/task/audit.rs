//! The sealer: gives audit entries their places in the chain, within a second.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Ticks;
use crate::app::{App, audit::Sealed, error::AppResult};

/// How often entries without a place are looked for: two reads of an index that holds only those.
const EVERY: Duration = Duration::from_millis(500);

/// Runs until `shutdown`, and once more then. What is left is sealed after the next start.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let mut ticks = Ticks::every(EVERY, shutdown.clone());
    let (mut failing, mut over) = (false, false);
    while !over {
        over = !ticks.next().await;
        if app.leads() {
            let done = catch_up(&app, &shutdown).await;
            report(&done, &mut failing);
        }
    }
}

/// Round after round until nothing waits. Between two rounds everybody else has their turn.
async fn catch_up(app: &App, shutdown: &CancellationToken) -> AppResult<Sealed> {
    let mut all = Sealed::default();
    loop {
        let round = app.seal_audit().await?;
        all.entries += round.entries;
        all.more = round.more;
        if !round.more || shutdown.is_cancelled() {
            return Ok(all);
        }
        tokio::task::yield_now().await;
    }
}

/// A failure is told once, and so is its end: the sealer runs too often for more.
fn report(done: &AppResult<Sealed>, failing: &mut bool) {
    match done {
        Ok(sealed) => {
            if std::mem::take(failing) {
                tracing::info!(entries = sealed.entries, "audit entries are sealed again");
            }
        }
        Err(error) => {
            if !std::mem::replace(failing, true) {
                tracing::error!(%error, "audit entries are not sealed; it is tried again");
            }
        }
    }
}
