//! What is remembered in memory of what waits on disk, and what goes when there is no room.

use std::collections::BTreeMap;

use argosy_domain::{limits::SPOOL_AGE_MAX, time::Timestamp};

use super::{Entry, Kind};

/// Entries at most, so that what is remembered of them in memory is bounded too.
const ENTRIES_MAX: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) slots: BTreeMap<u64, Slot>,
    pub(super) bytes: u64,
    pub(super) lost: BTreeMap<Kind, u64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) kind: Kind,
    pub(super) bytes: u64,
    at: Timestamp,
}

impl Slot {
    pub(super) fn of(entry: &Entry, bytes: usize) -> Self {
        Self { kind: entry.kind(), bytes: bytes as u64, at: entry.captured_at }
    }
}

impl Head {
    /// Answers whether it is kept, which it is.
    pub(super) fn add(&mut self, key: u64, slot: Slot) -> bool {
        self.bytes += slot.bytes;
        self.slots.insert(key, slot);
        true
    }

    /// Answers whether it is kept, which it is not.
    pub(super) fn lose(&mut self, kind: Kind) -> bool {
        *self.lost.entry(kind).or_default() += 1;
        false
    }

    pub(super) fn remove(&mut self, key: u64) {
        if let Some(slot) = self.slots.remove(&key) {
            self.bytes -= slot.bytes;
        }
    }

    pub(super) fn next_key(&self) -> u64 {
        self.slots.last_key_value().map_or(0, |(key, _)| key + 1)
    }

    /// What has to go so that `more` bytes find room: what is too old, then the oldest of what
    /// matters least.
    pub(super) fn victims(&self, now: Timestamp, more: u64, bytes_max: u64) -> Vec<u64> {
        let too_old = |slot: &Slot| now.since(slot.at) > SPOOL_AGE_MAX;
        let mut gone: Vec<u64> = Vec::new();
        let (mut bytes, mut count) = (self.bytes + more, self.slots.len() + 1);
        let mut take = |key: u64, slot: &Slot| {
            bytes -= slot.bytes;
            count -= 1;
            gone.push(key);
            bytes <= bytes_max && count <= ENTRIES_MAX
        };
        let mut room = self.bytes + more <= bytes_max && self.slots.len() < ENTRIES_MAX;
        for (key, slot) in self.slots.iter().filter(|(_, slot)| too_old(slot)) {
            room = take(*key, slot);
        }
        for kind in Kind::ALL {
            let others = self.slots.iter().filter(|(_, slot)| slot.kind == kind && !too_old(slot));
            for (key, slot) in others {
                if room {
                    return gone;
                }
                room = take(*key, slot);
            }
        }
        gone
    }

    pub(super) fn lost_with(&self, gone: &[u64]) -> BTreeMap<Kind, u64> {
        let mut lost = self.lost.clone();
        for slot in gone.iter().filter_map(|key| self.slots.get(key)) {
            *lost.entry(slot.kind).or_default() += 1;
        }
        lost
    }
}
