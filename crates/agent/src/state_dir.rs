//! The state directory: where an agent keeps what must survive it.
//!
//! Every file is reached through the directory that was opened and checked, never by a path that
//! could be swapped meanwhile.
//!
//! *Invariant:* the directory is 0700 and its files are 0600, owned by the user that runs the
//! agent; symbolic links are never followed; one process holds a directory; a file that is written
//! is, after a power cut, either the old one or the new one.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
    process::geteuid,
};
use zeroize::Zeroizing;

use crate::failpoint::failpoint;

/// Taken by the process that holds the directory; holds that process's id.
const LOCK_FILE: &str = "lock";
/// The journal.
const JOURNAL_FILE: &str = "journal.redb";
/// A file that is being written begins with this.
const TMP_PREFIX: &str = ".tmp-";
/// Read, write and search for the owner and for nobody else.
const DIR_MODE: u32 = 0o700;
/// Bits of a mode that concern anybody but the owner.
const OTHERS: u32 = 0o077;
/// The largest file that is read into memory.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// There is none.
    #[error("there is no state directory {}", .0.display())]
    Missing(PathBuf),
    /// It, or a file in it, is a symbolic link.
    #[error("{} is a symbolic link; state is never reached through one", .0.display())]
    Symlink(PathBuf),
    /// It is no directory, or a file in it is no regular file.
    #[error("{} is not what the agent put there", .0.display())]
    WrongKind(PathBuf),
    /// Group or others may reach it.
    #[error("{} is open to other users (mode {mode:o}); run: chmod go= {}", path.display(), path.display())]
    Exposed {
        /// The directory or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user.
    #[error("{} belongs to user {owner}, and this process runs as user {user}", path.display())]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// Another process holds it.
    #[error("{} is held by process {}", path.display(), holder.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string()))]
    Held {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, where it wrote its id.
        holder: Option<u32>,
    },
    /// A file is larger than anything that the agent writes.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// The operating system refused.
    #[error("{} could not be {action}", path.display())]
    Io {
        /// What was tried, such as `written`.
        action: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

/// A state directory that this process holds.
#[derive(Debug)]
pub struct StateDir {
    files: Files,
    /// Held for as long as it is open (flock(2)).
    _lock: File,
}

/// A state directory that somebody else may hold: only read, never changed.
#[derive(Debug)]
pub struct Peek {
    files: Files,
}

impl StateDir {
    /// Opens the directory, makes it where there is none, checks it and takes its lock. Remains of
    /// writes that a crash cut short are removed.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        create(path)?;
        let files = Files::open(path)?;
        files.owned_by(&files.dir, path)?;
        let lock = files.lock()?;
        files.remove_leftovers()?;
        for name in [LOCK_FILE, JOURNAL_FILE] {
            files.open_existing(name, OFlags::RDONLY)?;
        }
        Ok(Self { files, _lock: lock })
    }

    /// Opens the directory for reading, whoever holds it.
    pub fn peek(path: &Path) -> Result<Peek, StateDirError> {
        Ok(Peek { files: Files::open(path)? })
    }

    /// Leaves a file for the process that holds the directory, or for the next one that does.
    pub fn leave(path: &Path, name: &str, bytes: &[u8]) -> Result<(), StateDirError> {
        let files = Files::open(path)?;
        files.owned_by(&files.dir, path)?;
        files.write(name, bytes)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.files.path
    }

    /// The content of a file; none where there is no such file.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateDirError> {
        self.files.read(name)
    }

    /// Replaces a file: durable, and whole, when this returns.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateDirError> {
        self.files.write(name, bytes)
    }

    /// Removes a file, where there is one; durable when this returns.
    pub fn remove(&self, name: &str) -> Result<(), StateDirError> {
        match unlinkat(&self.files.dir, name, AtFlags::empty()) {
            Ok(()) => self.files.sync(),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.files.io("removed", name, error)),
        }
    }

    /// Removes the journal of an agent that the server will not have any more.
    pub fn forget_journal(&self) -> Result<(), StateDirError> {
        self.remove(JOURNAL_FILE)
    }

    /// A file for a new journal, under a name that a restart removes; none where there is a journal.
    pub(crate) fn journal_draft(&self) -> Result<Option<File>, StateDirError> {
        if self.files.open_existing(JOURNAL_FILE, OFlags::RDONLY)?.is_some() {
            return Ok(None);
        }
        let tmp = format!("{TMP_PREFIX}{JOURNAL_FILE}");
        // A failed attempt of this process may have left it.
        let _ = unlinkat(&self.files.dir, &tmp, AtFlags::empty());
        self.files.create_new(&tmp).map(Some)
    }

    /// The draft is whole: it is the journal from now on, durably.
    pub(crate) fn journal_made(&self) -> Result<(), StateDirError> {
        let tmp = format!("{TMP_PREFIX}{JOURNAL_FILE}");
        if let Some(draft) = self.files.open_existing(&tmp, OFlags::RDWR)? {
            draft.sync_all().map_err(|error| self.files.io("synced", &tmp, error))?;
        }
        renameat(&self.files.dir, &tmp, &self.files.dir, JOURNAL_FILE)
            .map_err(|error| self.files.io("replaced", JOURNAL_FILE, error))?;
        self.files.sync()
    }

    /// The journal's file, made where there is none.
    pub(crate) fn journal_file(&self) -> Result<File, StateDirError> {
        if let Some(file) = self.files.open_existing(JOURNAL_FILE, OFlags::RDWR)? {
            return Ok(file);
        }
        let file = self.files.create_new(JOURNAL_FILE)?;
        self.files.sync()?;
        Ok(file)
    }
}

impl Peek {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.files.path
    }

    /// The content of a file; none where there is no such file.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateDirError> {
        self.files.read(name)
    }
}

/// Makes the directory (and those above it), private from its first moment.
fn create(path: &Path) -> Result<(), StateDirError> {
    let failed = |action| move |source| StateDirError::Io { action, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("looked at")(error)),
    }
    fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path).map_err(failed("made"))?;
    // What is made durable inside it is lost with its own name.
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed("made")),
        None => Ok(()),
    }
}

/// The checked directory, and what is done in it.
#[derive(Debug)]
struct Files {
    path: PathBuf,
    dir: File,
    /// Held while a file is replaced: two that replace the same one share a name until then.
    replacing: Mutex<()>,
}

impl Files {
    fn open(path: &Path) -> Result<Self, StateDirError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(dir) => File::from(dir),
            Err(Errno::NOENT) => return Err(StateDirError::Missing(path.to_owned())),
            // With O_DIRECTORY a symbolic link is reported as what it is not: a directory.
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(not_a_directory(path)),
            Err(error) => {
                let (path, source) = (path.to_owned(), error.into());
                return Err(StateDirError::Io { action: "opened", path, source });
            }
        };
        let files = Self { path: path.to_owned(), dir, replacing: Mutex::default() };
        files.private(&files.dir, path)?;
        Ok(files)
    }

    fn io(&self, action: &'static str, name: &str, error: impl Into<io::Error>) -> StateDirError {
        StateDirError::Io { action, path: self.path.join(name), source: error.into() }
    }

    /// Refuses what group or others may reach.
    fn private(&self, file: &File, path: &Path) -> Result<(), StateDirError> {
        let path = path.to_owned();
        match file.metadata() {
            Ok(meta) if meta.mode() & OTHERS == 0 => Ok(()),
            Ok(meta) => Err(StateDirError::Exposed { path, mode: meta.mode() & 0o7777 }),
            Err(source) => Err(StateDirError::Io { action: "looked at", path, source }),
        }
    }

    /// Refuses what belongs to another user: what this process would write there, its owner could
    /// not read later.
    fn owned_by(&self, file: &File, path: &Path) -> Result<(), StateDirError> {
        let (path, user) = (path.to_owned(), geteuid().as_raw());
        match file.metadata() {
            Ok(meta) if meta.uid() == user => Ok(()),
            Ok(meta) => Err(StateDirError::Foreign { path, owner: meta.uid(), user }),
            Err(source) => Err(StateDirError::Io { action: "looked at", path, source }),
        }
    }

    /// Opens a file that is there, and checks it.
    fn open_existing(&self, name: &str, access: OFlags) -> Result<Option<File>, StateDirError> {
        // Without O_NONBLOCK a pipe that somebody put here would hang the agent.
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(StateDirError::Symlink(self.path.join(name))),
            Err(error) => return Err(self.io("opened", name, error)),
        };
        let meta = file.metadata().map_err(|error| self.io("looked at", name, error))?;
        if !meta.is_file() {
            return Err(StateDirError::WrongKind(self.path.join(name)));
        }
        self.private(&file, &self.path.join(name))?;
        Ok(Some(file))
    }

    /// Makes a file that is not there yet.
    fn create_new(&self, name: &str) -> Result<File, StateDirError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat(&self.dir, name, flags | OFlags::NOFOLLOW, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| self.io("made", name, error))
    }

    fn lock(&self) -> Result<File, StateDirError> {
        let mut file = match self.open_existing(LOCK_FILE, OFlags::RDWR)? {
            Some(file) => file,
            None => match self.create_new(LOCK_FILE) {
                Ok(file) => file,
                // Another process was faster: it is there now.
                Err(error) => self.open_existing(LOCK_FILE, OFlags::RDWR)?.ok_or(error)?,
            },
        };
        let failed = |error| self.io("locked", LOCK_FILE, error);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // A holder that cannot be named is a holder all the same.
                let holder = file.read_to_string(&mut text).ok().and(text.trim().parse().ok());
                return Err(StateDirError::Held { path: self.path.clone(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(file)
    }

    fn remove_leftovers(&self) -> Result<(), StateDirError> {
        let listed =
            |source| StateDirError::Io { action: "listed", path: self.path.clone(), source };
        for entry in fs::read_dir(&self.path).map_err(listed)? {
            let name = entry.map_err(listed)?.file_name();
            if name.as_encoded_bytes().starts_with(TMP_PREFIX.as_bytes()) {
                unlinkat(&self.dir, &name, AtFlags::empty())
                    .map_err(|error| self.io("removed", &name.to_string_lossy(), error))?;
            }
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateDirError> {
        let Some(file) = self.open_existing(name, OFlags::RDONLY)? else { return Ok(None) };
        let failed = |error| self.io("read", name, error);
        let size = file.metadata().map_err(failed)?.len();
        if size > FILE_BYTES_MAX {
            return Err(StateDirError::TooLarge(self.path.join(name)));
        }
        // Whole from the start: growing would leave copies of secrets behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateDirError> {
        let _alone = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let tmp = format!("{TMP_PREFIX}{name}");
        // A failed write before this one may have left it.
        let _ = unlinkat(&self.dir, &tmp, AtFlags::empty());
        let mut file = self.create_new(&tmp)?;
        file.write_all(bytes).map_err(|error| self.io("written", name, error))?;
        failpoint("state_file", "before_sync");
        file.sync_all().map_err(|error| self.io("synced", name, error))?;
        failpoint("state_file", "before_rename");
        renameat(&self.dir, &tmp, &self.dir, name)
            .map_err(|error| self.io("replaced", name, error))?;
        failpoint("state_file", "after_rename");
        self.sync()
    }

    fn sync(&self) -> Result<(), StateDirError> {
        self.dir.sync_all().map_err(|error| self.io("synced", ".", error))
    }
}

fn not_a_directory(path: &Path) -> StateDirError {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => StateDirError::Symlink(path.to_owned()),
        _ => StateDirError::WrongKind(path.to_owned()),
    }
}

#[cfg(test)]
mod tests;
