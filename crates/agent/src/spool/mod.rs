//! The spool: measured values and events that wait for the server, in the journal's database.
//!
//! *Invariant:* what waits is bounded by bytes, number and age. When there is no room the oldest
//! telemetry goes first and events go last, and what went is counted until it has been told.
//! An entry leaves when the server has it durably, or is counted as lost.

mod head;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use argosy_domain::{
    id::{BatchId, EventId, IdSource},
    limits::SPOOL_BYTES_MAX,
    telemetry::Severity,
    time::Timestamp,
};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::journal::{Journal, JournalError, corrupt, failed};
use head::{Head, Slot};

/// What waits, by the order in which it came.
const SPOOL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("spool");
/// `telemetry` and `events`: how many entries were lost and not told yet.
const LOST: TableDefinition<'_, &str, u64> = TableDefinition::new("spool_lost");

/// Bytes that are read out at once.
const READ_BYTES_MAX: u64 = 512 * 1024;

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Such as `memory_used_bytes`.
    pub metric: String,
    /// Of which part of the host; empty for all of it.
    pub label: String,
    /// How much.
    pub value: f64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Under which the server knows it.
    pub id: EventId,
    /// When, by the host's clock.
    pub at: Timestamp,
    /// Such as `breaker.opened`.
    pub kind: String,
    /// The name of a [`Severity`].
    pub severity: String,
    /// In words.
    pub message: String,
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Values that were measured together.
    Telemetry(Vec<Measured>),
    /// Events.
    Events(Vec<Told>),
}

/// The kinds of [`Load`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Goes first when there is no room.
    Telemetry,
    /// Goes last.
    Events,
}

impl Kind {
    /// Both, in the order in which they are given up.
    pub const ALL: [Self; 2] = [Self::Telemetry, Self::Events];

    fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Events => "events",
        }
    }
}

/// A batch that waits for the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Under which the server counts it once.
    pub batch: BatchId,
    /// By the host's clock.
    pub captured_at: Timestamp,
    /// What it holds.
    pub load: Load,
}

impl Entry {
    fn kind(&self) -> Kind {
        match self.load {
            Load::Telemetry(_) => Kind::Telemetry,
            Load::Events(_) => Kind::Events,
        }
    }
}

/// What waits on disk. Calls block for as long as the disk does.
#[derive(Debug)]
pub struct Spool {
    db: Arc<Database>,
    ids: IdSource,
    bytes_max: u64,
    /// As committed. Held while writing.
    head: Mutex<Head>,
    filled: Notify,
}

impl Spool {
    /// The spool in a journal's database, made at first use.
    pub fn beside(journal: &Journal, ids: IdSource) -> Result<Self, JournalError> {
        Self::bounded(journal, ids, SPOOL_BYTES_MAX)
    }

    fn bounded(journal: &Journal, ids: IdSource, bytes_max: u64) -> Result<Self, JournalError> {
        let db = journal.database();
        let tx = db.begin_write().map_err(failed("opened"))?;
        let mut head = Head::default();
        {
            let lost = tx.open_table(LOST).map_err(failed("opened"))?;
            for kind in Kind::ALL {
                let count = lost.get(kind.as_str()).map_err(failed("read"))?;
                head.lost.insert(kind, count.map_or(0, |count| count.value()));
            }
            let mut spool = tx.open_table(SPOOL).map_err(failed("opened"))?;
            // What cannot be read any more is lost, and no reason for the agent not to work.
            spool
                .retain(|key, bytes| match parse(key, bytes) {
                    Ok(entry) => head.add(key, Slot::of(&entry, bytes.len())),
                    Err(_) => head.lose(Kind::Telemetry),
                })
                .map_err(failed("read"))?;
        }
        tx.commit().map_err(failed("written"))?;
        Ok(Self { db, ids, bytes_max, head: Mutex::new(head), filled: Notify::new() })
    }

    /// Keeps values that were measured together at `at`.
    pub fn measured(&self, at: Timestamp, values: Vec<Measured>) -> Result<(), JournalError> {
        let entry =
            Entry { batch: self.ids.fresh(), captured_at: at, load: Load::Telemetry(values) };
        self.put(at, &entry)
    }

    /// Keeps an event.
    pub fn told(
        &self,
        at: Timestamp,
        kind: &str,
        severity: Severity,
        message: String,
    ) -> Result<(), JournalError> {
        let entry = self.event(at, kind, severity, message);
        self.put(at, &entry)
    }

    /// The oldest entries of a kind: as many as may be sent together, by key.
    pub fn oldest(
        &self,
        kind: Kind,
        entries_max: usize,
    ) -> Result<Vec<(u64, Entry)>, JournalError> {
        let mut bytes = 0;
        let chosen: Vec<u64> = {
            let head = self.head();
            let of_kind = head.slots.iter().filter(|(_, slot)| slot.kind == kind);
            let fits = |(_, slot): &(&u64, &Slot)| {
                let first = bytes == 0;
                bytes += slot.bytes;
                first || bytes <= READ_BYTES_MAX
            };
            of_kind.take_while(fits).take(entries_max).map(|(key, _)| *key).collect()
        };
        let tx = self.db.begin_read().map_err(failed("read"))?;
        let table = tx.open_table(SPOOL).map_err(failed("read"))?;
        let mut entries = Vec::with_capacity(chosen.len());
        for key in chosen {
            // What made room for something else meanwhile is passed over.
            if let Some(bytes) = table.get(key).map_err(failed("read"))? {
                entries.push((key, parse(key, bytes.value())?));
            }
        }
        Ok(entries)
    }

    /// The server has these entries.
    pub fn delivered(&self, keys: &[u64]) -> Result<(), JournalError> {
        let mut head = self.head();
        let (gone, lost) = (keys.to_vec(), head.lost.clone());
        self.commit(&mut head, Change { gone, lost, coming: None })
    }

    /// The server will never take these entries: they are lost.
    pub fn give_up(&self, keys: &[u64]) -> Result<(), JournalError> {
        let mut head = self.head();
        let (gone, lost) = (keys.to_vec(), head.lost_with(keys));
        self.commit(&mut head, Change { gone, lost, coming: None })
    }

    /// Turns what was lost since the last time into an event that waits like any other.
    pub fn tell_losses(&self, now: Timestamp) -> Result<(), JournalError> {
        let mut head = self.head();
        let some = head.lost.iter().filter(|(_, count)| **count > 0);
        let parts: Vec<_> = some.map(|(kind, n)| format!("{n} of {}", kind.as_str())).collect();
        if parts.is_empty() {
            return Ok(());
        }
        let parts = parts.join(" and ");
        let message = format!("lost before the server had them: batches, {parts}");
        let coming = Coming::of(&self.event(now, "spool.lost", Severity::Warning, message))?;
        let change = Change { gone: Vec::new(), lost: BTreeMap::new(), coming: Some(coming) };
        self.commit(&mut head, change)
    }

    /// Waits until something waits for the server.
    pub async fn filled(&self) {
        loop {
            let filled = self.filled.notified();
            if !self.head().slots.is_empty() {
                return;
            }
            filled.await;
        }
    }

    /// How many entries wait, and their bytes.
    pub fn waiting(&self) -> (usize, u64) {
        let head = self.head();
        (head.slots.len(), head.bytes)
    }

    fn event(&self, at: Timestamp, kind: &str, severity: Severity, message: String) -> Entry {
        let told = Told {
            id: self.ids.fresh(),
            at,
            kind: kind.to_owned(),
            severity: severity.as_str().to_owned(),
            message,
        };
        Entry { batch: self.ids.fresh(), captured_at: at, load: Load::Events(vec![told]) }
    }

    fn put(&self, now: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        let coming = Coming::of(entry)?;
        let mut head = self.head();
        let gone = head.victims(now, coming.slot.bytes, self.bytes_max);
        let lost = head.lost_with(&gone);
        self.commit(&mut head, Change { gone, lost, coming: Some(coming) })?;
        drop(head);
        self.filled.notify_one();
        Ok(())
    }

    /// Makes a change durable, then known.
    fn commit(&self, head: &mut Head, change: Change) -> Result<(), JournalError> {
        let key = head.next_key();
        let tx = self.db.begin_write().map_err(failed("written"))?;
        {
            let mut spool = tx.open_table(SPOOL).map_err(failed("written"))?;
            for key in &change.gone {
                spool.remove(key).map_err(failed("written"))?;
            }
            if let Some(coming) = &change.coming {
                spool.insert(key, coming.json.as_slice()).map_err(failed("written"))?;
            }
            let mut lost = tx.open_table(LOST).map_err(failed("written"))?;
            for kind in Kind::ALL {
                let count = change.lost.get(&kind).copied().unwrap_or_default();
                lost.insert(kind.as_str(), count).map_err(failed("written"))?;
            }
        }
        tx.commit().map_err(failed("written"))?;
        for key in &change.gone {
            head.remove(*key);
        }
        if let Some(coming) = change.coming {
            head.add(key, coming.slot);
        }
        head.lost = change.lost;
        Ok(())
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        // Changed only after a commit, in steps that cannot fail.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one commit does.
struct Change {
    gone: Vec<u64>,
    /// The counts as they are afterwards.
    lost: BTreeMap<Kind, u64>,
    coming: Option<Coming>,
}

/// An entry on its way into the spool.
struct Coming {
    slot: Slot,
    json: Vec<u8>,
}

impl Coming {
    fn of(entry: &Entry) -> Result<Self, JournalError> {
        let json = serde_json::to_vec(entry).map_err(|_| corrupt("spool"))?;
        Ok(Self { slot: Slot::of(entry, json.len()), json })
    }
}

fn parse(key: u64, bytes: &[u8]) -> Result<Entry, JournalError> {
    serde_json::from_slice(bytes).map_err(|_| corrupt(&format!("spool entry {key}")))
}

#[cfg(test)]
mod tests;
