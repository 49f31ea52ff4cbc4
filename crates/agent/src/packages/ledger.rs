//! What the helper remembers: which commands it has begun, and what came of them.
//!
//! *Invariant:* a command is in the ledger, durably, before anything is done for it, and stays there
//! for longer than it could be brought again.

use std::{fs, path::Path};

use argosy_domain::{id::CommandId, limits::COMMAND_MEMORY, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::{Answer, Fault};
use crate::state_dir::{StateDir, StateDirError};

/// What the server showed, and below which nothing is believed any more.
const SEEN_FILE: &str = "seen.json";
/// What the helper remembers of a command is in a file that begins so.
const PREFIX: &str = "command-";

/// What the server showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    /// The latest time that it signed.
    pub(super) server_time: Timestamp,
    /// The highest serial of its command keys.
    pub(super) command_serial: i64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { server_time: Timestamp::from_micros(0), command_serial: 0 }
    }
}

impl Seen {
    fn with(self, other: Self) -> Self {
        Self {
            server_time: self.server_time.max(other.server_time),
            command_serial: self.command_serial.max(other.command_serial),
        }
    }
}

/// What is remembered of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// When it was begun.
    pub(super) at: Timestamp,
    /// What came of it; none while it is under way.
    pub(super) answer: Option<Answer>,
}

/// The ledger, held by this process.
#[derive(Debug)]
pub(super) struct Ledger {
    dir: StateDir,
}

fn trouble(error: &StateDirError) -> Answer {
    let fault = match error {
        StateDirError::Held { .. } => Fault::Busy,
        StateDirError::Missing(_)
        | StateDirError::Symlink(_)
        | StateDirError::WrongKind(_)
        | StateDirError::Exposed { .. }
        | StateDirError::Foreign { .. }
        | StateDirError::TooLarge(_)
        | StateDirError::Io { .. } => Fault::Helper,
    };
    Answer::Failed(fault, error.to_string())
}

impl Ledger {
    /// Opens and holds it; another helper that works makes this fail.
    pub(super) fn open(path: &Path) -> Result<Self, Answer> {
        StateDir::open(path).map(|dir| Self { dir }).map_err(|error| trouble(&error))
    }

    /// What the server showed so far.
    pub(super) fn seen(&self) -> Result<Seen, Answer> {
        Ok(self.read(SEEN_FILE)?.unwrap_or_default())
    }

    /// Remembers what the server showed; answers what stands now.
    pub(super) fn show(&self, shown: Seen) -> Result<Seen, Answer> {
        let before = self.seen()?;
        let after = before.with(shown);
        if after != before {
            self.write(SEEN_FILE, &after)?;
        }
        Ok(after)
    }

    /// What is remembered of a command.
    pub(super) fn entry(&self, id: &CommandId) -> Result<Option<Entry>, Answer> {
        self.read(&name(id))
    }

    /// Remembers a command; durable when this returns.
    pub(super) fn put(&self, id: &CommandId, entry: &Entry) -> Result<(), Answer> {
        self.write(&name(id), entry)
    }

    /// Forgets commands that nobody can bring any more.
    pub(super) fn purge(&self, now: Timestamp) -> Result<(), Answer> {
        let failed = |error: std::io::Error| Answer::Failed(Fault::Helper, error.to_string());
        for file in fs::read_dir(self.dir.path()).map_err(failed)? {
            let name = file.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let old = |entry: Entry| entry.at.plus(COMMAND_MEMORY) < now;
            if self.read::<Entry>(name)?.is_some_and(old) {
                self.dir.remove(name).map_err(|error| trouble(&error))?;
            }
        }
        Ok(())
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>, Answer> {
        let Some(bytes) = self.dir.read(name).map_err(|error| trouble(&error))? else {
            return Ok(None);
        };
        // What cannot be read may say that something was begun: it is no absence.
        let broken = |_| Answer::Failed(Fault::Helper, format!("{name} cannot be read"));
        serde_json::from_slice(&bytes).map(Some).map_err(broken)
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Answer> {
        // Plain values always serialise.
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        self.dir.write(name, &bytes).map_err(|error| trouble(&error))
    }
}

fn name(id: &CommandId) -> String {
    format!("{PREFIX}{id}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_only_rises_and_old_commands_are_forgotten() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("ledger");
        let ledger = Ledger::open(&path).unwrap();
        let at = Timestamp::from_seconds;
        let shown = |s, command_serial| Seen { server_time: at(s), command_serial };
        assert_eq!(ledger.show(shown(50, 2)).unwrap(), shown(50, 2));
        assert_eq!(ledger.show(shown(40, 3)).unwrap(), shown(50, 3));
        assert!(Ledger::open(&path).is_err(), "one at a time");
        let id: CommandId = "c:1".parse().unwrap();
        ledger.put(&id, &Entry { at: at(50), answer: None }).unwrap();
        drop(ledger);
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.seen().unwrap(), shown(50, 3));
        ledger.purge(at(50).plus(COMMAND_MEMORY)).unwrap();
        assert!(ledger.entry(&id).unwrap().is_some());
        ledger.purge(at(51).plus(COMMAND_MEMORY)).unwrap();
        assert_eq!(ledger.entry(&id).unwrap(), None);
    }
}
