//! What waits, what goes first, and what survives.

use std::{path::Path, sync::Arc};

use argosy_config::host::{OsEntropy, SystemClock};
use argosy_domain::{id::IdSource, telemetry::Severity, time::Timestamp};

use super::{Entry, Kind, Load, Measured, Spool};
use crate::{journal::Journal, state_dir::StateDir};

fn ids() -> IdSource {
    IdSource::new(Arc::new(SystemClock), Arc::new(OsEntropy))
}

fn open(path: &Path, bytes_max: u64) -> Spool {
    let journal = Journal::open(&StateDir::open(path).unwrap(), &ids()).unwrap();
    Spool::bounded(&journal, ids(), bytes_max).unwrap()
}

fn in_memory(bytes_max: u64) -> Spool {
    Spool::bounded(&Journal::in_memory(&ids()).unwrap(), ids(), bytes_max).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(second)
}

fn measure(spool: &Spool, second: i64) {
    let value = Measured { metric: "load_1m".into(), label: String::new(), value: 0.5 };
    spool.measured(at(second), vec![value]).unwrap();
}

fn tell(spool: &Spool, second: i64, message: &str) {
    spool.told(at(second), "agent.started", Severity::Info, message.to_owned()).unwrap();
}

fn seconds(spool: &Spool, kind: Kind) -> Vec<i64> {
    let entries = spool.oldest(kind, 1_000).unwrap();
    entries.iter().map(|(_, entry)| entry.captured_at.as_seconds()).collect()
}

fn messages(spool: &Spool) -> Vec<String> {
    let entries = spool.oldest(Kind::Events, 1_000).unwrap();
    let told = |entry: Entry| match entry.load {
        Load::Events(events) => events.into_iter().map(|event| event.message).collect(),
        Load::Telemetry(_) => Vec::new(),
    };
    entries.into_iter().flat_map(|(_, entry)| told(entry)).collect()
}

#[test]
fn what_waits_survives_and_leaves_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let spool = open(&path, 1 << 20);
    measure(&spool, 1);
    tell(&spool, 2, "hello");
    measure(&spool, 3);
    let before = spool.oldest(Kind::Telemetry, 10).unwrap();
    drop(spool);

    let spool = open(&path, 1 << 20);
    let entries = spool.oldest(Kind::Telemetry, 10).unwrap();
    assert_eq!(entries, before, "under the same batch ids, so that the server counts them once");
    assert_eq!(spool.oldest(Kind::Telemetry, 1).unwrap(), before[..1]);
    spool.delivered(&[entries[0].0]).unwrap();
    spool.delivered(&[entries[0].0]).unwrap();
    drop(spool);

    let spool = open(&path, 1 << 20);
    assert_eq!(seconds(&spool, Kind::Telemetry), [3]);
    assert_eq!(messages(&spool), ["hello"]);
    measure(&spool, 4);
    assert_eq!(seconds(&spool, Kind::Telemetry), [3, 4]);
}

#[test]
fn telemetry_makes_room_first_and_events_last() {
    let spool = in_memory(2_000);
    (0..5).for_each(|second| tell(&spool, second, "an event"));
    let of_events = spool.waiting().1;
    for second in 10..40 {
        measure(&spool, second);
        assert!(spool.waiting().1 <= 2_000);
    }
    assert_eq!(spool.oldest(Kind::Events, 100).unwrap().len(), 5);
    let kept = seconds(&spool, Kind::Telemetry);
    assert_eq!(kept.last(), Some(&39), "the newest stays: {kept:?}");
    assert!(!kept.contains(&10), "the oldest went: {kept:?}");

    (50..70).for_each(|second| tell(&spool, second, "an event"));
    assert_eq!(seconds(&spool, Kind::Telemetry), [0i64; 0], "then all telemetry went");
    let events = seconds(&spool, Kind::Events);
    assert_eq!((events.first() > Some(&0), events.last()), (true, Some(&69)), "{events:?}");
    assert!(spool.waiting().1 <= 2_000 && of_events > 0);

    let lost_events = 25 - events.len();
    spool.tell_losses(at(80)).unwrap();
    spool.tell_losses(at(81)).unwrap();
    let told = messages(&spool).pop().unwrap();
    assert!(told.contains("30 of telemetry"), "{told}");
    assert!(told.contains(&format!("{lost_events} of events")), "{told}");
    assert_eq!(messages(&spool).iter().filter(|m| m.contains("lost")).count(), 1);
}

#[test]
fn what_is_too_old_goes_and_is_counted() {
    let spool = in_memory(1 << 20);
    tell(&spool, 0, "old");
    measure(&spool, 0);
    tell(&spool, 8 * 24 * 3600, "new");
    assert_eq!(messages(&spool), ["new"]);
    assert_eq!(seconds(&spool, Kind::Telemetry), [0i64; 0]);
    spool.tell_losses(at(8 * 24 * 3600)).unwrap();
    let told = messages(&spool).pop().unwrap();
    assert!(told.contains("1 of telemetry and 1 of events"), "{told}");
}

#[test]
fn what_the_server_never_takes_is_counted_as_lost() {
    let spool = in_memory(1 << 20);
    measure(&spool, 1);
    let (key, _) = spool.oldest(Kind::Telemetry, 1).unwrap().remove(0);
    spool.give_up(&[key]).unwrap();
    assert_eq!(spool.waiting(), (0, 0));
    spool.tell_losses(at(2)).unwrap();
    assert!(messages(&spool)[0].contains("1 of telemetry"));
}

#[tokio::test]
async fn whoever_waits_is_woken() {
    let spool = Arc::new(in_memory(1 << 20));
    let waiting = tokio::spawn({
        let spool = Arc::clone(&spool);
        async move { spool.filled().await }
    });
    tokio::task::yield_now().await;
    measure(&spool, 1);
    waiting.await.unwrap();
}
