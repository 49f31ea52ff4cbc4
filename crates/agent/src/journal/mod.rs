//! The journal: the agent's durable memory of commands.
//!
//! Commands that are not over for both sides are in one table, acknowledged ones in another, where
//! their ids are remembered for 90 days. A command and the high-water mark that it raises become
//! durable in one transaction.
//!
//! *Invariant:* every change is on disk (fsync) before a method returns; the high-water mark never
//! falls; an id is in one table at most; the journal's own id is made once.

mod encoding;
mod memory;
mod record;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argosy_domain::{
    command::CommandSeq,
    id::{CommandId, IdSource, JournalId, OrgId},
    limits::COMMAND_MEMORY,
    time::Timestamp,
};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
    backends::FileBackend,
};

pub use record::{
    Acknowledged, CommandRecord, Finished, InvalidStep, NotAcknowledged, Received, RecordState,
    Started, Window,
};

use crate::{
    failpoint::failpoint,
    state_dir::{StateDir, StateDirError},
};

/// `journal_id`, `high_water`, `org`.
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// Commands that are not over for both sides, by id.
const OPEN: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("commands_open");
/// Commands that are, by id.
const ENDED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("commands_ended");

const JOURNAL_ID: &str = "journal_id";
const HIGH_WATER: &str = "high_water";
const ORG: &str = "org";

/// Memory that the database may use for caching.
const CACHE_BYTES_MAX: usize = 512 * 1024;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be reached.
    #[error("the journal is out of reach")]
    StateDir(#[from] StateDirError),
    /// The file cannot be opened, or the disk refuses; it may be damaged or full.
    #[error("the journal cannot be {action}")]
    Database {
        /// What was tried, such as `written`.
        action: &'static str,
        /// The database's reason.
        source: Box<redb::Error>,
    },
    /// Something in it is not what the agent wrote.
    #[error("the journal's record of {what} is damaged")]
    CorruptRecord {
        /// Which one: a command's id or a name of the journal's own.
        what: String,
    },
    /// A command is to be taken whose sequence is not above the high-water mark, or whose id is
    /// known.
    #[error("the journal already holds {id} or something after it")]
    AlreadyTaken {
        /// The command.
        id: CommandId,
    },
    /// A command is to be changed that is not there.
    #[error("the journal does not hold {id}")]
    Unknown {
        /// The command.
        id: CommandId,
    },
}

impl JournalError {
    /// Whether the disk is at fault. Then the database takes nothing more before it is opened again, even
    /// when the disk is well: the process must end.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::StateDir(_) | Self::Database { .. })
    }
}

/// The agent's durable memory of commands. Calls block for as long as the disk does.
#[derive(Debug)]
pub struct Journal {
    db: Arc<Database>,
    id: JournalId,
    /// As committed. Held while writing, so that what is checked still holds when it is written.
    head: Mutex<Head>,
}

/// What every command is measured by.
#[derive(Debug, Clone)]
struct Head {
    high_water: CommandSeq,
    org: Option<OrgId>,
}

impl Journal {
    /// The journal of a state directory, made at first use.
    pub fn open(dir: &StateDir, ids: &IdSource) -> Result<Self, JournalError> {
        if let Some(draft) = dir.journal_draft()? {
            // Made whole before it has its name: half a database, which a crash left behind, would
            // never open again.
            let backend = FileBackend::new(draft).map_err(failed("opened"))?;
            drop(builder().create_with_backend(backend).map_err(failed("opened"))?);
            failpoint("journal", "drafted");
            dir.journal_made()?;
        }
        let backend = FileBackend::new(dir.journal_file()?).map_err(failed("opened"))?;
        let db = builder().create_with_backend(backend).map_err(failed("opened"))?;
        Self::start(db, ids)
    }

    /// A journal that is gone with the process, for simulated agents.
    pub fn in_memory(ids: &IdSource) -> Result<Self, JournalError> {
        let backend = memory::SparseMemory::default();
        let db = builder().create_with_backend(backend).map_err(failed("opened"))?;
        Self::start(db, ids)
    }

    /// The database, for what shares the file.
    pub(crate) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.db)
    }

    /// The journal's own id. Another id proves a lost disk.
    pub fn id(&self) -> &JournalId {
        &self.id
    }

    /// The highest sequence that was taken.
    pub fn high_water(&self) -> CommandSeq {
        self.head().high_water
    }

    /// The tenant, once a command named it.
    pub fn org(&self) -> Option<OrgId> {
        self.head().org.clone()
    }

    /// What is remembered of a command.
    pub fn get(&self, id: &CommandId) -> Result<Option<CommandRecord>, JournalError> {
        let tx = self.db.begin_read().map_err(failed("read"))?;
        for table in [OPEN, ENDED] {
            let table = tx.open_table(table).map_err(failed("read"))?;
            if let Some(bytes) = table.get(id.as_str()).map_err(failed("read"))? {
                return parse(id.as_str(), bytes.value()).map(Some);
            }
        }
        Ok(None)
    }

    /// Takes a command: it, the high-water mark and the tenant become durable together.
    pub fn take(&self, record: &CommandRecord) -> Result<(), JournalError> {
        let mut head = self.head();
        let id = record.id.clone();
        if record.sequence <= head.high_water || self.get(&id)?.is_some() {
            return Err(JournalError::AlreadyTaken { id });
        }
        let next = Head { high_water: record.sequence, org: Some(record.org.clone()) };
        failpoint("received", "before");
        let tx = self.db.begin_write().map_err(failed("written"))?;
        put(&tx, record)?;
        next.write(&tx)?;
        failpoint("received", "before_commit");
        tx.commit().map_err(failed("written"))?;
        failpoint("received", "after");
        *head = next;
        Ok(())
    }

    /// Replaces what is remembered of a command that was taken.
    pub fn update(&self, record: &CommandRecord) -> Result<(), JournalError> {
        let _head = self.head();
        let step = record.state.as_str();
        failpoint(step, "before");
        let tx = self.db.begin_write().map_err(failed("written"))?;
        let known = tx
            .open_table(OPEN)
            .map_err(failed("written"))?
            .remove(record.id.as_str())
            .map_err(failed("written"))?
            .is_some();
        if !known {
            return Err(JournalError::Unknown { id: record.id.clone() });
        }
        put(&tx, record)?;
        failpoint(step, "before_commit");
        tx.commit().map_err(failed("written"))?;
        failpoint(step, "after");
        Ok(())
    }

    /// Every command that is not over for both sides, in the agent's order.
    pub fn open_records(&self) -> Result<Vec<CommandRecord>, JournalError> {
        let tx = self.db.begin_read().map_err(failed("read"))?;
        let table = tx.open_table(OPEN).map_err(failed("read"))?;
        let mut records = Vec::new();
        for row in table.iter().map_err(failed("read"))? {
            let (id, bytes) = row.map_err(failed("read"))?;
            records.push(parse(id.value(), bytes.value())?);
        }
        records.sort_by_key(|record: &CommandRecord| record.sequence);
        Ok(records)
    }

    /// Forgets the ids of commands that were acknowledged longer ago than ids are remembered.
    /// Says how many. The high-water mark still refuses them.
    pub fn purge(&self, now: Timestamp) -> Result<u64, JournalError> {
        let before = now.minus(COMMAND_MEMORY);
        let _head = self.head();
        let tx = self.db.begin_write().map_err(failed("purged"))?;
        let mut forgotten = 0;
        {
            let mut table = tx.open_table(ENDED).map_err(failed("purged"))?;
            table
                .retain(|id, bytes| {
                    let keep = match parse(id, bytes).map(|record| record.state) {
                        Ok(RecordState::Acknowledged(acknowledged)) => acknowledged.at >= before,
                        // Damaged: named when it is asked for, never silently dropped.
                        Ok(
                            RecordState::Received(_)
                            | RecordState::Started(_)
                            | RecordState::Finished(_),
                        )
                        | Err(_) => true,
                    };
                    forgotten += u64::from(!keep);
                    keep
                })
                .map_err(failed("purged"))?;
        }
        if forgotten > 0 {
            tx.commit().map_err(failed("purged"))?;
        }
        Ok(forgotten)
    }

    fn start(db: Database, ids: &IdSource) -> Result<Self, JournalError> {
        let tx = db.begin_write().map_err(failed("opened"))?;
        let (id, head) = {
            tx.open_table(OPEN).map_err(failed("opened"))?;
            tx.open_table(ENDED).map_err(failed("opened"))?;
            let mut meta = tx.open_table(META).map_err(failed("opened"))?;
            let text = |key: &str| -> Result<Option<String>, JournalError> {
                let value = meta.get(key).map_err(failed("read"))?;
                Ok(value.map(|value| value.value().to_owned()))
            };
            let (id, high_water, org) = (text(JOURNAL_ID)?, text(HIGH_WATER)?, text(ORG)?);
            let id = match id {
                Some(id) => id.parse().map_err(|_| corrupt(JOURNAL_ID))?,
                None => {
                    let fresh: JournalId = ids.fresh();
                    meta.insert(JOURNAL_ID, fresh.as_str()).map_err(failed("written"))?;
                    fresh
                }
            };
            let high_water = high_water.map(|text| text.parse().map_err(|_| corrupt(HIGH_WATER)));
            let org = org.map(|text| text.parse().map_err(|_| corrupt(ORG))).transpose()?;
            (id, Head { high_water: high_water.transpose()?.unwrap_or_default(), org })
        };
        tx.commit().map_err(failed("written"))?;
        Ok(Self { db: Arc::new(db), id, head: Mutex::new(head) })
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        // The head is replaced as a whole, after its commit: a panic elsewhere cannot break it.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Head {
    fn write(&self, tx: &WriteTransaction) -> Result<(), JournalError> {
        let mut meta = tx.open_table(META).map_err(failed("written"))?;
        let high_water = self.high_water.to_string();
        meta.insert(HIGH_WATER, high_water.as_str()).map_err(failed("written"))?;
        if let Some(org) = &self.org {
            meta.insert(ORG, org.as_str()).map_err(failed("written"))?;
        }
        Ok(())
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    // A damaged file must be an error here, not a panic later; the journal is small.
    builder.set_cache_size(CACHE_BYTES_MAX).set_check_integrity_on_open(true);
    builder
}

/// Writes a record to the table of its state.
fn put(tx: &WriteTransaction, record: &CommandRecord) -> Result<(), JournalError> {
    let table = match record.state {
        RecordState::Received(_) | RecordState::Started(_) | RecordState::Finished(_) => OPEN,
        RecordState::Acknowledged(_) => ENDED,
    };
    let json = serde_json::to_vec(record).map_err(|_| corrupt(record.id.as_str()))?;
    let mut table = tx.open_table(table).map_err(failed("written"))?;
    table.insert(record.id.as_str(), json.as_slice()).map_err(failed("written"))?;
    Ok(())
}

fn parse(id: &str, bytes: &[u8]) -> Result<CommandRecord, JournalError> {
    match serde_json::from_slice::<CommandRecord>(bytes) {
        Ok(record) if record.id.as_str() == id => Ok(record),
        Ok(_) | Err(_) => Err(corrupt(id)),
    }
}

pub(crate) fn corrupt(what: &str) -> JournalError {
    JournalError::CorruptRecord { what: what.to_owned() }
}

pub(crate) fn failed<E: Into<redb::Error>>(action: &'static str) -> impl Fn(E) -> JournalError {
    move |error| JournalError::Database { action, source: Box::new(error.into()) }
}

#[cfg(test)]
mod tests;
