//! Power cuts: programs under a library that remembers what they wrote and did not sync
//! (`e2e/power/unsynced.c`), and the end of that.
//!
//! `kill -9` alone keeps the page cache and so everything that was written. After it, [`Power::cut`] takes
//! back what no sync made durable, wholly or in part, as disks do.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::Read as _,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::process::root;

/// What the disk writes whole.
const SECTOR_BYTES: usize = 512;

/// The disk under one folder.
pub struct Power {
    root: PathBuf,
    journals: PathBuf,
    library: PathBuf,
    full: PathBuf,
    slow: PathBuf,
}

/// What becomes of a write that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It never reached the disk.
    Lost,
    /// It did.
    Kept,
    /// Its first half did, to the sector.
    Torn,
}

/// One change, as the library keeps it.
struct Change {
    offset: u64,
    file_bytes: u64,
    truncated_to: Option<u64>,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Power {
    /// A disk for what programs keep below `folder`; the library and its journals lie beside it.
    pub fn under(folder: &Path) -> Self {
        let own = folder.with_extension("power");
        let journals = own.join("journals");
        fs::create_dir_all(&journals).unwrap();
        let library = own.join("unsynced.so");
        let source = root().join("e2e/power/unsynced.c");
        let compiled = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .output()
            .expect("gcc is installed: this workspace needs it to build");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let parent = fs::canonicalize(folder.parent().unwrap()).unwrap();
        let (full, slow) = (own.join("full"), own.join("slow"));
        Self { root: parent.join(folder.file_name().unwrap()), journals, library, full, slow }
    }

    /// What a program is started with to be on this disk, and to have it cut.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = self.bare_variables();
        variables.push(("ARGOSY_POWER_JOURNALS", text(&self.journals)));
        variables
    }

    /// The same without what a cut needs.
    pub fn bare_variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", text(&self.library)),
            ("ARGOSY_POWER_ROOT", text(&self.root)),
            ("ARGOSY_POWER_FULL", text(&self.full)),
            ("ARGOSY_POWER_SLOW", text(&self.slow)),
        ]
    }

    /// From now on there is no room left.
    pub fn fill(&self) {
        File::create(&self.full).unwrap();
    }

    /// There is room again.
    pub fn make_room(&self) {
        fs::remove_file(&self.full).unwrap();
    }

    /// From now on each sync takes at least this long.
    pub fn slow_down(&self, sync: Duration) {
        fs::write(&self.slow, sync.as_millis().to_string()).unwrap();
    }

    /// Syncs take as long as they take again.
    pub fn hurry(&self) {
        fs::remove_file(&self.slow).unwrap();
    }

    /// Undoes what was not synced, but for what `fate` says of each write. The programs have ended.
    /// Answers how many writes were not synced.
    pub fn cut(&self, mut fate: impl FnMut() -> Fate) -> usize {
        let mut files = HashMap::new();
        find(&self.root, &mut files);
        let mut unsynced = 0;
        for entry in fs::read_dir(&self.journals).unwrap() {
            let journal = entry.unwrap().path();
            let changes = read(&journal);
            let inode: u64 = journal.file_name().unwrap().to_str().unwrap().parse().unwrap();
            // What was removed meanwhile is not there to be undone.
            if let Some(path) = files.get(&inode) {
                let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
                changes.iter().rev().for_each(|change| change.undo(&file));
                changes.iter().for_each(|change| change.redo(&file, fate()));
                unsynced += changes.len();
            }
            fs::remove_file(journal).unwrap();
        }
        unsynced
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

impl Change {
    fn undo(&self, file: &File) {
        file.set_len(self.file_bytes).unwrap();
        file.write_all_at(&self.old, self.offset).unwrap();
    }

    fn redo(&self, file: &File, fate: Fate) {
        let some = match fate {
            Fate::Lost => return,
            Fate::Kept => self.new.len(),
            Fate::Torn => self.new.len() / 2 / SECTOR_BYTES * SECTOR_BYTES,
        };
        match self.truncated_to {
            Some(length) => file.set_len(length).unwrap(),
            None => file.write_all_at(&self.new[..some], self.offset).unwrap(),
        }
    }
}

/// Files by their inodes.
fn find(folder: &Path, files: &mut HashMap<u64, PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            find(&path, files);
        } else if meta.is_file() {
            files.insert(meta.ino(), path);
        }
    }
}

/// The changes in a journal; the last one may be cut off, and was then never made.
fn read(journal: &Path) -> Vec<Change> {
    let mut bytes = Vec::new();
    File::open(journal).unwrap().read_to_end(&mut bytes).unwrap();
    let mut rest = bytes.as_slice();
    let mut changes = Vec::new();
    while let Some(change) = next(&mut rest) {
        changes.push(change);
    }
    changes
}

fn next(rest: &mut &[u8]) -> Option<Change> {
    let mut number = || Some(u64::from_ne_bytes(*rest.split_off(..8)?.first_chunk()?));
    let (offset, file_bytes) = (number()?, number()?);
    let (old_bytes, new_bytes, truncated_to) = (number()?, number()?, number()?);
    let mut part = |length: u64| Some(rest.split_off(..usize::try_from(length).ok()?)?.to_vec());
    let (old, new) = (part(old_bytes)?, part(new_bytes)?);
    let truncated_to = (truncated_to != u64::MAX).then_some(truncated_to);
    Some(Change { offset, file_bytes, truncated_to, old, new })
}
