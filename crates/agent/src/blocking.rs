//! Work that may block, off the threads that everything else runs on.

use std::sync::Arc;

/// Runs `work` where it may block. A panic of it is the caller's.
pub(crate) async fn blocking<P, T>(part: &Arc<P>, work: impl FnOnce(&P) -> T + Send + 'static) -> T
where
    P: Send + Sync + 'static,
    T: Send + 'static,
{
    let part = Arc::clone(part);
    match tokio::task::spawn_blocking(move || work(&part)).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is going down: whoever waits is dropped before it could notice.
        Err(_) => std::future::pending().await,
    }
}
