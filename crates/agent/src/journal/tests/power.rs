//! Power cuts: a disk that loses what was not synced.
//!
//! A killed process leaves the page cache behind and proves little; this disk keeps only what
//! `sync_data` was called for, and of the writes after that any subset, torn at any byte.

use std::{
    io,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use redb::StorageBackend;

use super::{acknowledge, at, builder, finish, ids, received};
use crate::journal::{CommandRecord, Journal, RecordState};

/// What is on the platters, and what is on its way there.
#[derive(Debug, Default)]
struct Platters {
    synced: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Change>,
    /// Changes and syncs until the power goes; afterwards nothing reaches the platters.
    power: Option<usize>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Platters>>);

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(len) => bytes.resize(*len, 0),
            Self::Write(at, data) => {
                // A write can reach the platters before the growth of the file does.
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

impl Platters {
    fn has_power(&mut self) -> bool {
        match &mut self.power {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

impl Disk {
    fn change(&self, change: Change) {
        let mut platters = self.0.lock().unwrap();
        change.apply(&mut platters.current);
        if platters.has_power() {
            platters.unsynced.push(change);
        }
    }

    fn cut_power_after(&self, changes: usize) {
        self.0.lock().unwrap().power = Some(changes);
    }

    /// The disk as the next boot finds it. `luck` says of each unsynced change how much of it
    /// arrived, in 255ths.
    fn after_power_cut(&self, luck: &[u8]) -> Self {
        let platters = self.0.lock().unwrap();
        let mut bytes = platters.synced.clone();
        for (change, luck) in platters.unsynced.iter().zip(luck.iter().cycle()) {
            match change {
                Change::Write(at, data) => {
                    let arrived = data.len() * usize::from(*luck) / 255;
                    Change::Write(*at, data[..arrived].to_vec()).apply(&mut bytes);
                }
                Change::Length(_) if *luck < 128 => {}
                Change::Length(_) => change.apply(&mut bytes),
            }
        }
        let platters = Platters { synced: bytes.clone(), current: bytes, ..Platters::default() };
        Self(Arc::new(Mutex::new(platters)))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        let platters = self.0.lock().unwrap();
        let bytes = platters.current.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platters = self.0.lock().unwrap();
        if platters.has_power() {
            platters.synced = platters.current.clone();
            platters.unsynced.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}

fn open(disk: &Disk) -> Journal {
    let db = builder().create_with_backend(disk.clone()).unwrap();
    Journal::start(db, &ids()).unwrap()
}

/// Takes a command as far as `steps` says, 1 to 4.
fn advance(journal: &Journal, number: i64, steps: u8) -> CommandRecord {
    let mut record = received(&format!("c{number}"), number);
    journal.take(&record).unwrap();
    let further: [fn(RecordState) -> Option<RecordState>; 3] =
        [|state| state.start(at(1)).ok(), finish, |state| acknowledge(state, 2)];
    for step in further.iter().take(usize::from(steps) - 1) {
        let state = step(record.state.clone()).unwrap();
        record = CommandRecord { state, ..record };
        journal.update(&record).unwrap();
    }
    record
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_disk_loses_no_promise_is_lost(
        rounds in proptest::collection::vec(
            (1u8..5, proptest::collection::vec(any::<u8>(), 1..9)), 1..6
        )
    ) {
        let mut disk = Disk::default();
        let mut promised: Vec<CommandRecord> = Vec::new();
        let mut journal_id = None;
        for (number, (steps, luck)) in (1i64..).zip(rounds) {
            let journal = open(&disk);
            prop_assert_eq!(journal_id.get_or_insert_with(|| journal.id().clone()), journal.id());
            prop_assert_eq!(journal.high_water().0, number - 1);
            for record in &promised {
                let kept = journal.get(&record.id).unwrap();
                prop_assert_eq!(kept.as_ref(), Some(record));
            }
            promised.push(advance(&journal, number, steps));
            // The power goes while the journal is open: nothing is tidied up.
            disk = disk.after_power_cut(&luck);
            drop(journal);
        }
    }

    #[test]
    fn a_cut_in_the_middle_leaves_the_old_or_the_new(
        changes in 0usize..30, luck in proptest::collection::vec(any::<u8>(), 1..9)
    ) {
        let disk = Disk::default();
        let journal = open(&disk);
        let before = advance(&journal, 1, 2);
        let next = CommandRecord { state: finish(before.state.clone()).unwrap(), ..before.clone() };
        disk.cut_power_after(changes);
        journal.update(&next).unwrap();
        let journal = open(&disk.after_power_cut(&luck));
        let kept = journal.get(&before.id).unwrap().unwrap();
        prop_assert!(kept == before || kept == next, "{kept:?}");
        prop_assert_eq!(journal.high_water().0, 1);
    }
}
