//! Jobs that nobody went on with, and what is forgotten of discovery.

use argosy_domain::{
    discovery::SyncStatus,
    limits::{PURGE_ROWS_MAX, SYNC_HISTORY_KEPT, SYNC_SILENCE_MAX, SYNC_WAIT_MAX},
};

use super::super::{App, error::AppResult};

/// Jobs in one transaction.
const TOGETHER: u32 = 100;

impl App {
    /// Fails runs that their agents dropped, and jobs that nobody took; answers how many.
    pub async fn fail_dropped_syncs(&self) -> AppResult<u64> {
        let now = self.now();
        let mut failed = 0;
        loop {
            let mut tx = self.store().write("discovery.reap").await?;
            let (silent, waiting) = (now.minus(SYNC_SILENCE_MAX), now.minus(SYNC_WAIT_MAX));
            let dropped = tx.sync_jobs().dropped(silent, waiting, TOGETHER).await?;
            let count = dropped.len();
            for mut job in dropped {
                let why = match job.status {
                    SyncStatus::Pending => "no agent took it",
                    SyncStatus::Running
                    | SyncStatus::Completed
                    | SyncStatus::Partial
                    | SyncStatus::Failed => "the agent did not go on with it",
                };
                job.fail(why, now);
                tx.sync_jobs().save(&job).await?;
            }
            tx.commit().await?;
            failed += u64::try_from(count).unwrap_or(0);
            if u32::try_from(count).unwrap_or(u32::MAX) < TOGETHER {
                return Ok(failed);
            }
        }
    }

    /// Forgets old changes of resources, and old jobs to which nothing refers; answers how many rows.
    pub async fn purge_discovery(&self) -> AppResult<u64> {
        let before = self.now().minus(SYNC_HISTORY_KEPT);
        let mut tx = self.store().write("discovery.purge").await?;
        let changes = tx.resources().purge_changes(before, PURGE_ROWS_MAX).await?;
        let jobs = tx.sync_jobs().purge(before, PURGE_ROWS_MAX).await?;
        tx.commit().await?;
        Ok(changes + jobs)
    }
}
