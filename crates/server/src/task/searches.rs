//! The index for searches in resources follows what comes in.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::report;
use crate::app::App;

/// How often it is looked for what another server took in, or what is too new to be described.
const EVERY: Duration = Duration::from_secs(15);
/// What comes shortly after something else is described with it.
const GATHER: Duration = Duration::from_secs(3);

/// Runs until `shutdown`. A step that is interrupted is made again after the next start.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let work = async {
        loop {
            if app.leads() {
                report("index resources", app.index_resources().await);
            }
            tokio::select! {
                () = app.resources_arrived() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    };
    shutdown.run_until_cancelled(Box::pin(work)).await;
}
