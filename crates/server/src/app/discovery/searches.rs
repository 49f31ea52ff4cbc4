//! The index for searches in resources is brought up behind what comes in, in steps: each reads one
//! stretch beside everything else and writes it in one short transaction.

use std::time::Duration;

use argosy_domain::{id::OrgId, limits::PAGE_ITEMS_MAX};
use argosy_store::PageRequest;
use tokio::time::Instant;

use super::super::{App, error::AppResult};

/// Resources that are described together. As many at least are read row by row until they are.
const STRETCH_ROWS: u32 = 8_192;
/// What is newer may still be joined by rows of the same moment.
const SETTLES_AFTER: Duration = Duration::from_secs(2);
/// How many times its length a stretch may grow by what came late before it is cut.
const GROWTH_MAX: u32 = 4;

impl App {
    /// Describes what searches do not find by the index yet; answers how many steps that took. Rests
    /// after each step for as long as it lasted, so that whoever waits for the processor gets it.
    pub async fn index_resources(&self) -> AppResult<u64> {
        let (mut page, mut steps) = (PageRequest::first(PAGE_ITEMS_MAX), 0);
        loop {
            let mut reader = self.store().read("resources.index.orgs").await?;
            let orgs = reader.orgs().list(&page).await?;
            drop(reader);
            for org in &orgs.items {
                let mut began = Instant::now();
                while self.index_a_stretch(&org.id).await? {
                    steps += 1;
                    tokio::time::sleep(began.elapsed()).await;
                    began = Instant::now();
                }
            }
            match orgs.next {
                Some(next) => page.after = Some(next),
                None => return Ok(steps),
            }
        }
    }

    /// Returns when resources may have come that no index holds.
    pub async fn resources_arrived(&self) {
        self.inner.arrivals.notified().await;
    }

    /// One step; false when there is none left.
    async fn index_a_stretch(&self, org: &OrgId) -> AppResult<bool> {
        let mut reader = self.store().read("resources.index.read").await?;
        let rows_max = STRETCH_ROWS * GROWTH_MAX;
        if let Some(stretch) = reader.resources().read_stretch(org, rows_max).await? {
            drop(reader);
            let mut tx = self.store().write("resources.index.keep").await?;
            tx.resources().keep_stretch(org, stretch).await?;
            tx.commit().await?;
            return Ok(true);
        }
        let before = self.now().minus(SETTLES_AFTER);
        let next = reader.resources().next_stretch(org, STRETCH_ROWS, before).await?;
        drop(reader);
        if next.is_none() {
            return Ok(false);
        }
        let mut tx = self.store().write("resources.index.add").await?;
        let added = tx.resources().add_stretch(org, STRETCH_ROWS, before).await?;
        tx.commit().await?;
        Ok(added)
    }
}
