//! What several projects or subscriptions hold, put together region by region.
//!
//! *Invariant:* a region counts as read whole only where all of them were read: the server keeps one
//! set of resources for an account and a region, whichever of them they lie in.

use std::collections::BTreeMap;

use argosy_wire::rest::discovery::IngestResource;
use tokio::sync::mpsc;

use super::{Failure, Reading};

/// What is known of one region.
#[derive(Debug, Default)]
pub(super) struct Region {
    /// What is there, as far as it was read.
    pub(super) found: Vec<IngestResource>,
    /// Why not everything was.
    pub(super) failure: Option<Failure>,
}

/// By the names of regions. One that is empty is there too.
pub(super) type Regions = BTreeMap<String, Region>;

/// Puts together what was read, and why some was not.
fn together(holdings: Vec<Result<Regions, Failure>>) -> (Regions, Option<Failure>) {
    let (mut regions, mut lost) = (Regions::new(), None::<Failure>);
    for holding in holdings {
        match holding {
            Ok(held) => {
                for (name, region) in held {
                    let known = regions.entry(name).or_default();
                    known.found.extend(region.found);
                    known.failure = known.failure.take().or(region.failure);
                }
            }
            Err(failure) => match &mut lost {
                Some(lost) => lost.error = format!("{}; {}", lost.error, failure.error),
                None => lost = Some(failure),
            },
        }
    }
    if let Some(lost) = &lost {
        for region in regions.values_mut() {
            region.failure.get_or_insert_with(|| lost.clone());
        }
    }
    (regions, lost)
}

/// Sends it on: what was found, and for each region whether that is everything.
pub(super) async fn send(
    provider: &'static str,
    holdings: Vec<Result<Regions, Failure>>,
    out: &mpsc::Sender<Reading>,
) {
    let reading =
        |region: &str, found| Reading { member: None, provider, region: region.to_owned(), found };
    let (regions, lost) = together(holdings);
    let mut readings: Vec<_> = lost.map(|lost| reading("", Err(lost))).into_iter().collect();
    for (name, Region { found, failure }) in regions {
        // A region that failed once in a run has failed, whatever else is said of it.
        let some = failure.is_none() || !found.is_empty();
        readings.extend(failure.map(|failure| reading(&name, Err(failure))));
        if some {
            readings.push(reading(&name, Ok(found)));
        }
    }
    for reading in readings {
        // Nobody listens any more once the run is over.
        let _ = out.send(reading).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(region: &str, id: &str) -> IngestResource {
        IngestResource {
            provider: "gcp".into(),
            region: region.into(),
            resource_type: "vpc".into(),
            resource_id: id.into(),
            name: String::new(),
            cidr: None,
            parent_resource_id: None,
            metadata: None,
        }
    }

    fn failure(error: &str) -> Failure {
        Failure { error: error.into(), call: None, permission: None }
    }

    fn region(name: &str, ids: &[&str], why: Option<&str>) -> (String, Region) {
        let found = ids.iter().map(|id| one(name, id)).collect();
        (name.to_owned(), Region { found, failure: why.map(failure) })
    }

    async fn sent(holdings: Vec<Result<Regions, Failure>>) -> Vec<(String, Result<usize, String>)> {
        let (out, mut readings) = mpsc::channel(100);
        send("gcp", holdings, &out).await;
        drop(out);
        let mut all = Vec::new();
        while let Some(Reading { region, found, .. }) = readings.recv().await {
            all.push((region, found.map(|found| found.len()).map_err(|why| why.error)));
        }
        all
    }

    #[tokio::test]
    async fn a_region_is_whole_where_everyone_was_read() {
        let one = Regions::from([region("a", &["1"], None), region("b", &[], None)]);
        let two = Regions::from([region("a", &["2", "3"], Some("away")), region("c", &[], None)]);
        let all = sent(vec![Ok(one), Ok(two)]).await;
        let named = |name: &str| name.to_owned();
        let expected = [
            (named("a"), Err(named("away"))),
            (named("a"), Ok(3)),
            (named("b"), Ok(0)),
            (named("c"), Ok(0)),
        ];
        assert_eq!(all, expected);
    }

    #[tokio::test]
    async fn one_that_was_not_read_leaves_no_region_whole() {
        let one = Regions::from([region("a", &["1"], None), region("b", &[], None)]);
        let all = sent(vec![Err(failure("x")), Ok(one), Err(failure("y"))]).await;
        let lost = || Err("x; y".to_owned());
        let at = |name: &str, what| (name.to_owned(), what);
        assert_eq!(all, [at("", lost()), at("a", lost()), at("a", Ok(1)), at("b", lost())]);
    }
}
