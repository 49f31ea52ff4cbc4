//! A whole run in one request, however long: taken in part by part, so that neither memory nor the
//! time that others wait grows with it.

use std::collections::{BTreeMap, BTreeSet};

use argosy_domain::{
    access::Caller,
    limits::{INGEST_LINES_TOGETHER, INGEST_RESOURCES_MAX},
};
use argosy_store::UpsertCounts;
use argosy_wire::rest::discovery::{IngestResource, IngestScope};

use super::{
    super::{
        App,
        error::{AppError, AppResult},
    },
    delivery::{Delivery, Part},
    ingest::IngestOutcome,
};

impl App {
    /// Takes in what `next` hands over, at most as many resources as it is asked for at once, none at
    /// the end. `envelope` has one part without resources. One that is a chunk itself stays one.
    pub async fn ingest_lines(
        &self,
        caller: &Caller,
        envelope: Delivery,
        mut next: impl FnMut(usize) -> AppResult<Vec<IngestResource>> + Send,
    ) -> AppResult<IngestOutcome> {
        let Some(about) = envelope.parts.first().cloned() else {
            return Err(AppError::field("body", "is empty"));
        };
        if envelope.chunk.is_some() {
            let resources = next(INGEST_RESOURCES_MAX + 1)?;
            let parts = vec![Part { resources, ..about }];
            return self.ingest(caller, Delivery { parts, ..envelope }).await;
        }
        let (mut named, mut counts) = (BTreeMap::<_, BTreeSet<_>>::new(), UpsertCounts::default());
        let (mut job, mut first) = (envelope.job.clone(), 0);
        for number in 0.. {
            let resources = next(INGEST_LINES_TOGETHER)?;
            let (count, last) = (resources.len(), resources.len() < INGEST_LINES_TOGETHER);
            if envelope.names_scope {
                for resource in &resources {
                    let regions = named.entry(resource.provider.clone()).or_default();
                    regions.insert(resource.region.clone());
                }
            }
            let mut part = Part { resources, first, ..about.clone() };
            if !last {
                part.scope = Vec::new();
                part.failures = Vec::new();
            } else if envelope.names_scope {
                let scope = std::mem::take(&mut named).into_iter();
                let scope = scope.map(|(provider, regions)| IngestScope {
                    provider,
                    regions: regions.into_iter().collect(),
                });
                part.scope = scope.collect();
            }
            let delivery = Delivery {
                job: job.take(),
                chunk: Some(number),
                last,
                names_scope: false,
                parts: vec![part],
                ..envelope.clone()
            };
            let outcome = self.ingest(caller, delivery).await?;
            counts.add(outcome.counts);
            if last {
                return Ok(IngestOutcome { counts, ..outcome });
            }
            job = Some(outcome.job.to_string());
            first += count;
        }
        Err(AppError::field("body", "has too many lines"))
    }
}
