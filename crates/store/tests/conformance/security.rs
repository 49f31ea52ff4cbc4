//! Security events: folded, filtered, paged, bounded.

use argosy_domain::{
    id::OrgId,
    security::SecurityKind::{self, BruteForce, CloneDetected},
};
use argosy_store::{PageRequest, SecurityEvent, SecurityFilter, SecurityRow};

use crate::common::{Db, at, conformance, id, org};

conformance!(
    repeats_are_one_row_with_a_count,
    events_are_filtered_and_paged_the_last_seen_first,
    what_is_old_or_too_much_goes,
);

fn event(name: &str, kind: SecurityKind, second: i64) -> SecurityEvent {
    SecurityEvent {
        id: name.into(),
        org: org(),
        fold_key: format!("{}-{name}", kind.as_str()),
        kind,
        agent: Some(id("gone")),
        source: Some("192.0.2.1".into()),
        detail: "{}".into(),
        first_at: at(second),
        last_at: at(second),
        times: 1,
    }
}

async fn keep(db: &Db, events: &[SecurityEvent]) {
    db.write(async |tx| {
        for event in events {
            tx.security().record(event).await?;
        }
        Ok(())
    })
    .await;
}

async fn listed(db: &Db, filter: SecurityFilter) -> Vec<SecurityRow> {
    let mut reader = db.store.read("test").await.unwrap();
    reader.security().list(&org(), &filter, &PageRequest::first(50)).await.unwrap().items
}

async fn repeats_are_one_row_with_a_count(db: Db) {
    let first = event("a", CloneDetected, 10);
    let again = SecurityEvent {
        id: "b".into(),
        detail: "{\"n\":2}".into(),
        last_at: at(30),
        times: 4,
        ..first.clone()
    };
    let late = SecurityEvent { id: "c".into(), last_at: at(20), ..first.clone() };
    keep(&db, &[first, again, late]).await;
    let rows = listed(&db, SecurityFilter::default()).await;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.id.as_str(), row.times), ("a", 6));
    assert_eq!((row.first_at, row.last_at), (at(10), at(30)));
    assert_eq!(row.kind, "clone_detected");
    assert_eq!(row.agent.as_deref(), Some("gone"), "an event outlives its agent");
}

async fn events_are_filtered_and_paged_the_last_seen_first(db: Db) {
    let other: OrgId = id("other");
    db.write(async |tx| tx.orgs().create(&other, "Other", at(1)).await).await;
    let foreign = SecurityEvent { org: other, ..event("x", CloneDetected, 9) };
    let nobody = SecurityEvent { agent: None, ..event("c", BruteForce, 3) };
    let events = [event("a", CloneDetected, 1), event("b", CloneDetected, 2), nobody, foreign];
    keep(&db, &events).await;
    let names = |rows: Vec<SecurityRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    let all = SecurityFilter::default();
    assert_eq!(names(listed(&db, all.clone()).await), ["c", "b", "a"]);
    let kind = SecurityFilter { kind: Some(BruteForce), ..all.clone() };
    assert_eq!(names(listed(&db, kind).await), ["c"]);
    let agent = SecurityFilter { agent: Some(id("gone")), ..all.clone() };
    assert_eq!(names(listed(&db, agent).await), ["b", "a"]);
    let since = SecurityFilter { since: Some(at(2)), ..all.clone() };
    assert_eq!(names(listed(&db, since).await), ["c", "b"]);
    let mut reader = db.store.read("test").await.unwrap();
    let first = reader.security().list(&org(), &all, &PageRequest::first(2)).await.unwrap();
    let request = PageRequest { limit: 2, after: first.next };
    let second = reader.security().list(&org(), &all, &request).await.unwrap();
    assert_eq!(names(second.items), ["a"]);
    assert!(second.next.is_none());
}

async fn what_is_old_or_too_much_goes(db: Db) {
    let names = ["a", "b", "c", "d", "e"];
    let events: Vec<_> =
        names.iter().zip(1..).map(|(name, second)| event(name, CloneDetected, second)).collect();
    keep(&db, &events).await;
    let gone = db.write(async |tx| tx.security().purge(at(2), 3).await).await;
    assert_eq!(gone, 2, "one is old, one is too much");
    let left: Vec<_> = listed(&db, SecurityFilter::default()).await;
    assert_eq!(left.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["e", "d", "c"]);
    assert_eq!(db.write(async |tx| tx.security().purge(at(2), 3).await).await, 0);
}
