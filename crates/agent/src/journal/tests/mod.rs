//! What the journal remembers, and what it refuses.

mod power;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use argosy_config::host::{OsEntropy, SystemClock};
use argosy_domain::{command::Outcome, digest::Sha256};
use argosy_wire::{bytes::Fixed, sign::Signed};
use proptest::prelude::*;

use super::*;
use crate::boot::BootId;

fn ids() -> IdSource {
    IdSource::new(Arc::new(SystemClock), Arc::new(OsEntropy))
}

fn open(path: &Path) -> Journal {
    Journal::open(&StateDir::open(path).unwrap(), &ids()).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn received(id: &str, sequence: i64) -> CommandRecord {
    let window = Window {
        boot: BootId::new("b1"),
        opens: Duration::ZERO,
        closes: Duration::from_secs(60),
        not_before: at(0),
        expires_at: at(60),
    };
    CommandRecord {
        id: id.parse().unwrap(),
        org: OrgId::default_org(),
        sequence: CommandSeq(sequence),
        kind: "subsystem.run".into(),
        params_sha256: Fixed([3; 32]),
        state: RecordState::Received(Received { params: b"{}".to_vec(), window, order: None }),
    }
}

fn finish(state: RecordState) -> Option<RecordState> {
    let receipt = Signed { payload: b"{}".to_vec(), signature: Fixed([1; 64]) };
    let outcome = Outcome::Succeeded;
    state.finish(Finished { outcome, payload: b"done".to_vec(), receipt }).ok()
}

fn acknowledge(state: RecordState, seconds: i64) -> Option<RecordState> {
    state.acknowledge(&Fixed(Sha256::of(b"done").0), at(seconds)).ok()
}

fn acknowledged(id: &str, sequence: i64, seconds: i64) -> CommandRecord {
    let record = received(id, sequence);
    let state = finish(record.state).and_then(|state| acknowledge(state, seconds)).unwrap();
    CommandRecord { state, ..record }
}

#[test]
fn a_journal_knows_itself_and_a_new_one_is_another() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("state");
    let id = open(&path).id().clone();
    assert_eq!(*open(&path).id(), id);
    std::fs::remove_file(path.join("journal.redb")).unwrap();
    assert_ne!(*open(&path).id(), id);
}

#[test]
fn a_command_and_the_high_water_mark_are_one() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("state");
    let record = received("c1", 7);
    open(&path).take(&record).unwrap();
    let journal = open(&path);
    assert_eq!(journal.get(&record.id).unwrap(), Some(record.clone()));
    assert_eq!(journal.high_water(), CommandSeq(7));
    assert_eq!(journal.org(), Some(OrgId::default_org()));
    for again in [received("c1", 8), received("c2", 7), received("c3", 6)] {
        let error = journal.take(&again).unwrap_err();
        assert!(matches!(error, JournalError::AlreadyTaken { .. }), "{error}");
    }
    drop(journal);
    assert_eq!(open(&path).open_records().unwrap(), [record]);
}

#[test]
fn only_what_was_taken_is_updated() {
    let journal = Journal::in_memory(&ids()).unwrap();
    let error = journal.update(&received("c1", 1)).unwrap_err();
    assert!(matches!(error, JournalError::Unknown { .. }), "{error}");
    assert_eq!(journal.get(&"c1".parse().unwrap()).unwrap(), None);
}

#[test]
fn ids_are_remembered_for_90_days() {
    let journal = Journal::in_memory(&ids()).unwrap();
    let day = 24 * 3600;
    for (id, sequence, seconds) in [("old", 1, 0), ("young", 2, day)] {
        journal.take(&received(id, sequence)).unwrap();
        journal.update(&acknowledged(id, sequence, seconds)).unwrap();
    }
    journal.take(&received("open", 3)).unwrap();
    assert_eq!(journal.purge(at(90 * day)).unwrap(), 0);
    assert_eq!(journal.purge(at(90 * day + 1)).unwrap(), 1);
    assert_eq!(journal.get(&"old".parse().unwrap()).unwrap(), None);
    assert!(journal.get(&"young".parse().unwrap()).unwrap().is_some());
    assert!(journal.get(&"open".parse().unwrap()).unwrap().is_some());
    assert!(journal.take(&received("old", 1)).is_err(), "the high-water mark stands");
}

#[test]
fn a_damaged_record_is_named() {
    let journal = Journal::in_memory(&ids()).unwrap();
    let other = serde_json::to_vec(&received("other", 1)).unwrap();
    for bytes in [&b"{\"id\":"[..], &other] {
        let tx = journal.db.begin_write().unwrap();
        tx.open_table(OPEN).unwrap().insert("c1", bytes).unwrap();
        tx.commit().unwrap();
        for error in
            [journal.get(&"c1".parse().unwrap()).unwrap_err(), journal.open_records().unwrap_err()]
        {
            assert_eq!(error.to_string(), "the journal's record of c1 is damaged");
        }
    }
}

#[test]
fn a_file_that_is_no_journal_is_an_error_and_is_left_alone() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("state");
    open(&path).take(&received("c1", 1)).unwrap();
    let file = path.join("journal.redb");
    let good = std::fs::read(&file).unwrap();
    let mut torn = good.clone();
    torn[..4096].fill(0xa5);
    for bytes in [b"not a journal at all".to_vec(), good[..5000].to_vec(), torn] {
        std::fs::write(&file, &bytes).unwrap();
        let error = Journal::open(&StateDir::open(&path).unwrap(), &ids()).unwrap_err();
        assert!(matches!(error, JournalError::Database { .. }), "{error}");
    }
    std::fs::write(&file, good).unwrap();
    assert_eq!(open(&path).high_water(), CommandSeq(1));
}

/// What may happen to one of five commands.
#[derive(Debug, Clone, Copy)]
enum Step {
    Take(i64),
    Start(i64),
    Finish(i64),
    Acknowledge(i64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1i64..6).prop_map(Step::Take),
        (1i64..6).prop_map(Step::Start),
        (1i64..6).prop_map(Step::Finish),
        (1i64..6).prop_map(Step::Acknowledge),
        Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..25)
}

/// The same step on the journal and on a map that forgets nothing.
fn apply(
    journal: &Journal,
    model: &mut BTreeMap<i64, CommandRecord>,
    number: i64,
    next: impl Fn(RecordState) -> Option<RecordState>,
) {
    let Some(record) = model.get(&number) else { return };
    let Some(state) = next(record.state.clone()) else { return };
    let changed = CommandRecord { state, ..record.clone() };
    if changed == *record {
        return;
    }
    journal.update(&changed).unwrap();
    model.insert(number, changed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_was_promised_is_there_after_every_restart(steps in steps()) {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state");
        let mut journal = open(&path);
        let mut model = BTreeMap::new();
        let mut high_water = 0;
        for step in steps {
            match step {
                Step::Take(number) => {
                    let record = received(&format!("c{number}"), number);
                    let taken = journal.take(&record).is_ok();
                    prop_assert_eq!(taken, number > high_water);
                    if taken {
                        high_water = number;
                        model.insert(number, record);
                    }
                }
                Step::Start(number) => {
                    apply(&journal, &mut model, number, |state| state.start(at(1)).ok());
                }
                Step::Finish(number) => apply(&journal, &mut model, number, finish),
                Step::Acknowledge(number) => {
                    apply(&journal, &mut model, number, |state| acknowledge(state, 2));
                }
                Step::Restart => {
                    drop(journal);
                    journal = open(&path);
                }
            }
            prop_assert_eq!(journal.high_water(), CommandSeq(high_water));
            for record in model.values() {
                let kept = journal.get(&record.id).unwrap();
                prop_assert_eq!(kept.as_ref(), Some(record));
            }
            let open: Vec<_> = model
                .values()
                .filter(|record| !matches!(record.state, RecordState::Acknowledged(_)))
                .cloned()
                .collect();
            prop_assert_eq!(journal.open_records().unwrap(), open);
        }
    }
}
