//! The state directory on a real file system: modes, links, locks.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

struct Place {
    _tmp: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a/state");
    Place { _tmp: tmp, path }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_directory_and_its_files_are_private_from_the_start() {
    let place = place();
    let dir = StateDir::open(&place.path).unwrap();
    dir.write("keys.json", b"secret").unwrap();
    dir.journal_file().unwrap();
    assert_eq!(mode(&place.path), 0o700);
    for name in ["lock", "keys.json", "journal.redb"] {
        assert_eq!(mode(&place.path.join(name)), 0o600, "{name}");
    }
}

#[test]
fn what_is_written_is_found_after_a_restart() {
    let place = place();
    let dir = StateDir::open(&place.path).unwrap();
    assert_eq!(dir.read("x.json").unwrap(), None);
    dir.write("x.json", b"one").unwrap();
    dir.write("x.json", b"two").unwrap();
    drop(dir);
    let dir = StateDir::open(&place.path).unwrap();
    assert_eq!(dir.read("x.json").unwrap().unwrap().as_slice(), b"two");
    dir.remove("x.json").unwrap();
    dir.remove("x.json").unwrap();
    assert_eq!(dir.read("x.json").unwrap(), None);
}

#[test]
fn one_process_holds_it_and_is_named_while_others_may_look() {
    let place = place();
    let dir = StateDir::open(&place.path).unwrap();
    dir.write("x.json", b"one").unwrap();
    let error = StateDir::open(&place.path).unwrap_err();
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    let peek = StateDir::peek(&place.path).unwrap();
    assert_eq!(peek.read("x.json").unwrap().unwrap().as_slice(), b"one");
    drop(dir);
    StateDir::open(&place.path).unwrap();
}

#[test]
fn looking_makes_nothing() {
    let place = place();
    let error = StateDir::peek(&place.path).unwrap_err();
    assert!(matches!(error, StateDirError::Missing(_)), "{error}");
    assert!(!place.path.exists());
}

#[test]
fn what_others_may_reach_is_refused_and_the_way_out_is_named() {
    let place = place();
    let dir = StateDir::open(&place.path).unwrap();
    dir.write("keys.json", b"secret").unwrap();
    chmod(&place.path.join("keys.json"), 0o640);
    let error = dir.read("keys.json").unwrap_err();
    assert!(error.to_string().contains("chmod go= "), "{error}");
    drop(dir);

    dir_with_exposed("lock");
    dir_with_exposed("journal.redb");

    chmod(&place.path, 0o750);
    for error in
        [StateDir::open(&place.path).unwrap_err(), StateDir::peek(&place.path).unwrap_err()]
    {
        assert!(matches!(error, StateDirError::Exposed { mode: 0o750, .. }), "{error}");
    }
}

fn dir_with_exposed(name: &str) {
    let place = place();
    StateDir::open(&place.path).unwrap().journal_file().unwrap();
    chmod(&place.path.join(name), 0o604);
    let error = StateDir::open(&place.path).unwrap_err();
    assert!(matches!(error, StateDirError::Exposed { mode: 0o604, .. }), "{error}");
}

#[test]
fn symbolic_links_are_refused_everywhere() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    fs::write(&target, "x").unwrap();
    chmod(&target, 0o600);

    for name in ["lock", "journal.redb"] {
        let place = place();
        drop(StateDir::open(&place.path).unwrap());
        let _ = fs::remove_file(place.path.join(name));
        symlink(&target, place.path.join(name)).unwrap();
        let error = StateDir::open(&place.path).unwrap_err();
        assert!(matches!(error, StateDirError::Symlink(_)), "{name}: {error}");
    }

    let place = place();
    let dir = StateDir::open(&place.path).unwrap();
    symlink(&target, place.path.join("keys.json")).unwrap();
    let error = dir.read("keys.json").unwrap_err();
    assert!(matches!(error, StateDirError::Symlink(_)), "{error}");
    // Writing replaces the link itself, not what it leads to.
    dir.write("keys.json", b"new").unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"x");
    drop(dir);

    let link = outside.path().join("link");
    symlink(&place.path, &link).unwrap();
    for error in [StateDir::open(&link).unwrap_err(), StateDir::peek(&link).unwrap_err()] {
        assert!(matches!(error, StateDirError::Symlink(_)), "{error}");
    }
    symlink(outside.path().join("nowhere"), outside.path().join("dangling")).unwrap();
    let error = StateDir::open(&outside.path().join("dangling")).unwrap_err();
    assert!(matches!(error, StateDirError::Symlink(_)), "{error}");
}

#[test]
fn what_is_no_file_is_refused_and_hangs_nothing() {
    let place = place();
    let dir = StateDir::open(&place.path).unwrap();
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mkfifoat(&dir.files.dir, "keys.json", mode).unwrap();
    let error = dir.read("keys.json").unwrap_err();
    assert!(matches!(error, StateDirError::WrongKind(_)), "{error}");

    let file = place.path.join("file");
    fs::write(&file, "").unwrap();
    let error = StateDir::open(&file).unwrap_err();
    assert!(matches!(error, StateDirError::WrongKind(_)), "{error}");
}

#[test]
fn remains_of_a_write_that_was_cut_short_are_removed() {
    let place = place();
    let dir = StateDir::open(&place.path).unwrap();
    dir.write("x.json", b"old").unwrap();
    fs::write(place.path.join(".tmp-x.json"), "ne").unwrap();
    drop(dir);
    let dir = StateDir::open(&place.path).unwrap();
    assert!(!place.path.join(".tmp-x.json").exists());
    assert_eq!(dir.read("x.json").unwrap().unwrap().as_slice(), b"old");
}

#[test]
fn a_file_that_cannot_be_the_agents_is_not_read_into_memory() {
    let place = place();
    let dir = StateDir::open(&place.path).unwrap();
    dir.write("x.json", b"").unwrap();
    let file = fs::OpenOptions::new().write(true).open(place.path.join("x.json")).unwrap();
    file.set_len(FILE_BYTES_MAX + 1).unwrap();
    let error = dir.read("x.json").unwrap_err();
    assert!(matches!(error, StateDirError::TooLarge(_)), "{error}");
}
