//! Measured values, events of agents, and batches that count once.

use argosy_domain::{
    id::AgentId,
    telemetry::{BUCKETS_MAX, MetricName, Resolution, Sample, Severity, Summary},
    time::Timestamp,
};
use argosy_store::{AgentEventFilter, AgentEventRow, BucketRow, PageRequest};

use crate::common::{Db, at, conformance, id, insert_agents, org};

conformance!(
    a_batch_is_new_once,
    values_fall_into_one_bucket_of_each_resolution,
    an_agent_has_a_bounded_number_of_series,
    old_buckets_are_forgotten_by_resolution,
    events_are_filtered_and_come_once,
    an_agent_keeps_its_newest_events,
    whatever_is_measured_goes_with_its_agent,
);

const HOUR: i64 = 3600;

fn metric(name: &str) -> MetricName {
    MetricName::parse(name).unwrap()
}

fn sample(name: &str, label: &str, second: i64, value: f64) -> Sample {
    Sample { metric: metric(name), label: label.into(), at: at(second), value }
}

async fn add(db: &Db, agent: &str, samples: &[Sample]) {
    db.write(async |tx| tx.telemetry().add(&org(), &id(agent), samples, 5, at(0)).await).await;
}

async fn buckets(db: &Db, name: &str, resolution: Resolution) -> Vec<BucketRow> {
    let mut reader = db.store.read("buckets").await.unwrap();
    let span = (at(0), at(i64::MAX / 2_000_000));
    let agent: AgentId = id("a");
    reader.telemetry().buckets(&org(), &agent, &metric(name), resolution, span, 100).await.unwrap()
}

async fn a_batch_is_new_once(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let remember = async |agent: &str, batch: &str| {
        db.write(async |tx| tx.uploads().remember(&org(), &id(agent), &id(batch), at(9)).await)
            .await
    };
    assert!(remember("a", "1").await);
    assert!(!remember("a", "1").await);
    assert!(remember("b", "1").await, "another agent's batch is another batch");
    assert_eq!(db.write(async |tx| tx.uploads().purge(at(9)).await).await, 0);
    assert_eq!(db.write(async |tx| tx.uploads().purge(at(10)).await).await, 2);
    assert!(remember("a", "1").await);
}

async fn values_fall_into_one_bucket_of_each_resolution(db: Db) {
    insert_agents(&db, &["a"]).await;
    add(&db, "a", &[sample("load", "", 10, 3.0), sample("load", "", 20, 1.0)]).await;
    add(&db, "a", &[sample("load", "", 30, 2.5), sample("load", "", HOUR, 8.0)]).await;
    add(&db, "a", &[sample("load", "\0x", 40, -1.0), sample("free", "", 40, 1.0)]).await;
    let first = Summary { count: 3, low: 1.0, high: 3.0, total: 6.5 };
    let odd = BucketRow { label: "\u{fffd}x".into(), at: at(0), summary: Summary::of(-1.0) };
    let row = |second, summary| BucketRow { label: String::new(), at: at(second), summary };
    let fine = buckets(&db, "load", Resolution::FiveMinutes).await;
    assert_eq!(fine, [row(0, first), odd.clone(), row(HOUR, Summary::of(8.0))]);
    let day = buckets(&db, "load", Resolution::Day).await;
    assert_eq!(day, [row(0, first.and(Summary::of(8.0))), odd]);

    add(&db, "a", &[sample("load", "", 5, 99.0)]).await;
    let mut reader = db.store.read("series").await.unwrap();
    let series = reader.telemetry().series(&org(), &id("a")).await.unwrap();
    let told: Vec<_> = series.iter().map(|s| (s.metric.as_str(), s.value, s.at)).collect();
    let newest = ("load", 8.0, at(HOUR));
    assert_eq!(told, [("free", 1.0, at(40)), newest, ("load", -1.0, at(40))], "late is not newest");
}

async fn an_agent_has_a_bounded_number_of_series(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    add(&db, "a", &[sample("m4", "", 1, 1.0), sample("m5", "", 1, 1.0)]).await;
    let many: Vec<_> = (0..9).map(|n| sample(&format!("m{n}"), "", 2, 2.0)).collect();
    add(&db, "a", &many).await;
    add(&db, "b", &many[..1]).await;
    let mut reader = db.store.read("series").await.unwrap();
    let series = reader.telemetry().series(&org(), &id("a")).await.unwrap();
    let names: Vec<_> = series.iter().map(|s| (s.metric.as_str(), s.value)).collect();
    let wanted = ["m0", "m1", "m2", "m4", "m5"].map(|name| (name, 2.0));
    assert_eq!(names, wanted, "those that were there go on, and three more found room");
    assert_eq!(buckets(&db, "m8", Resolution::Hour).await, []);
    assert_eq!(reader.telemetry().series(&org(), &id("b")).await.unwrap().len(), 1);
}

async fn old_buckets_are_forgotten_by_resolution(db: Db) {
    insert_agents(&db, &["a"]).await;
    add(&db, "a", &[sample("load", "", 0, 1.0)]).await;
    let days = |n: i64| at(n * 24 * HOUR);
    let purge =
        async |now: Timestamp| db.write(async |tx| tx.telemetry().purge(now, 100).await).await;
    assert_eq!(purge(days(2)).await, 0);
    assert_eq!(purge(days(3)).await, 1, "five minutes are kept for two days");
    assert_eq!(purge(days(61)).await, 1, "hours for sixty");
    assert_eq!(buckets(&db, "load", Resolution::Day).await.len(), 1);
    assert_eq!(purge(days(731)).await, 1, "days for two years");
    add(&db, "a", &[sample("load", "", 0, 1.0), sample("free", "", 0, 1.0)]).await;
    let forget =
        async |now: Timestamp| db.write(async |tx| tx.telemetry().forget_series(now).await).await;
    assert_eq!((forget(at(0)).await, forget(at(1)).await), (0, 2));
    let rows = db.write(async |tx| tx.telemetry().purge(days(800), 4).await).await;
    assert_eq!(rows, 4, "as many at once as may be");
    assert_eq!(purge(days(800)).await, 2);
    let late = [sample("load", "", 0, 1.0)];
    db.write(async |tx| tx.telemetry().add(&org(), &id("a"), &late, 5, days(61)).await).await;
    assert_eq!(buckets(&db, "load", Resolution::Hour).await, [], "nothing is kept that would go");
    assert_eq!(buckets(&db, "load", Resolution::Day).await.len(), 1);
    assert_eq!(BUCKETS_MAX, 2_746);
}

fn event(name: &str, kind: &str, severity: Severity, second: i64) -> AgentEventRow {
    AgentEventRow {
        id: id(name),
        agent: id("a"),
        kind: kind.into(),
        severity,
        message: format!("{name} happened"),
        at: at(second),
        received_at: at(second + 1),
    }
}

async fn events_are_filtered_and_come_once(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let events = [
        event("1", "agent.started", Severity::Info, 1),
        event("2", "breaker.opened", Severity::Error, 2),
        event("3", "breaker.closed", Severity::Info, 3),
    ];
    let add = async |events: &[AgentEventRow]| {
        db.write(async |tx| tx.agent_events().add(&org(), &id("a"), events, 9).await).await;
    };
    add(&events).await;
    add(&[AgentEventRow { message: "changed".into(), ..events[0].clone() }]).await;
    let list = async |filter: AgentEventFilter| {
        let mut reader = db.store.read("list").await.unwrap();
        let page = PageRequest::first(10);
        reader.agent_events().list(&org(), &filter, &page).await.unwrap().items
    };
    let all = AgentEventFilter::default();
    let newest_first: Vec<_> = events.iter().rev().cloned().collect();
    assert_eq!(list(all.clone()).await, newest_first);
    let of = |agent: &str| AgentEventFilter { agent: Some(id(agent)), ..all.clone() };
    assert_eq!(list(of("a")).await.len(), 3);
    assert_eq!(list(of("b")).await, []);
    let kind = AgentEventFilter { kind: Some("breaker.opened".into()), ..all.clone() };
    assert_eq!(list(kind).await, events[1..2]);
    let errors = AgentEventFilter { severity: Some(Severity::Error), ..all.clone() };
    assert_eq!(list(errors).await, events[1..2]);
    let late = AgentEventFilter { since: Some(at(3)), ..all };
    assert_eq!(list(late).await, events[2..]);
    assert_eq!(db.write(async |tx| tx.agent_events().purge(at(3)).await).await, 1);
}

async fn an_agent_keeps_its_newest_events(db: Db) {
    insert_agents(&db, &["a"]).await;
    // Also where all are of the same instant.
    for (n, second) in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (6, 3), (7, 3)] {
        let one = [event(&n.to_string(), "agent.started", Severity::Info, second)];
        db.write(async |tx| tx.agent_events().add(&org(), &id("a"), &one, 3).await).await;
    }
    let mut reader = db.store.read("list").await.unwrap();
    let all = AgentEventFilter::default();
    let page = reader.agent_events().list(&org(), &all, &PageRequest::first(10)).await.unwrap();
    let kept: Vec<_> = page.items.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(kept, ["7", "6", "5"]);
}

async fn whatever_is_measured_goes_with_its_agent(db: Db) {
    insert_agents(&db, &["a"]).await;
    add(&db, "a", &[sample("load", "", 0, 1.0)]).await;
    let one = [event("1", "agent.started", Severity::Info, 1)];
    db.write(async |tx| tx.agent_events().add(&org(), &id("a"), &one, 3).await).await;
    db.write(async |tx| tx.uploads().remember(&org(), &id("a"), &id("1"), at(1)).await).await;
    db.raw("DELETE FROM agents WHERE id = 'a'").await;
    assert_eq!(buckets(&db, "load", Resolution::Day).await, []);
}
