//! The rules of the house that a machine can check: length of files, what each begins with, what
//! none may hold. Lints check the rest (`clippy.toml`, `[workspace.lints]`).

use std::{fs, process::Command};

use super::root;

/// Lines of a file without its inline tests ("about 400" in CONTRIBUTING.md).
const FILE_LINES_MAX: usize = 420;
/// Where generated code lies.
const GENERATED: &str = "crates/wire/src/gen/";
/// Words that put off what has to be done now. Written apart, so that this file holds none.
const PUT_OFF: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// Every file that git knows with one of these endings.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let listed = Command::new("git").arg("ls-files").current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    let ours = names.lines().filter(|name| !name.starts_with(GENERATED));
    let wanted = ours.filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
    // A file that is deleted and not committed yet is still listed.
    let read = |name: &str| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?));
    let found: Vec<_> = wanted.filter_map(read).collect();
    assert!(!found.is_empty(), "no files with {endings:?}");
    found
}

/// What breaks a rule in a file of Rust.
fn wrong(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    let own = text.find("#[cfg(test)]\nmod tests {").map_or(lines, |at| text[..at].lines().count());
    if own > FILE_LINES_MAX {
        wrong.push(format!("{name} has {own} lines without its tests, of {FILE_LINES_MAX}"));
    }
    if !text.starts_with("//!") {
        wrong.push(format!("{name} does not begin by saying what it is for (//!)"));
    }
    for (number, line) in text.lines().enumerate() {
        let allows = line.trim_start();
        if allows.starts_with("#[allow") || allows.starts_with("#![allow") {
            wrong.push(format!("{name}:{}: expect a lint with its reason", number + 1));
        }
    }
    wrong
}

fn put_off(name: &str, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate();
    let found = lines.filter(|(_, line)| PUT_OFF.iter().any(|word| line.contains(word)));
    found.map(|(number, line)| format!("{name}:{}: {}", number + 1, line.trim())).collect()
}

#[test]
fn files_keep_to_the_rules_of_the_house() {
    let rust = files(&[".rs"]);
    let mut all: Vec<String> = rust.iter().flat_map(|(name, text)| wrong(name, text)).collect();
    let texts = files(&[".rs", ".py", ".sh", ".sql", ".proto", ".toml", ".yaml", ".yml"]);
    all.extend(texts.iter().flat_map(|(name, text)| put_off(name, text)));
    assert!(all.is_empty(), "see CONTRIBUTING.md, house style:\n{}", all.join("\n"));
}

#[test]
fn scripts_end_at_the_first_failure() {
    for entry in fs::read_dir(root().join("scripts")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let shell = text.starts_with("#!/usr/bin/env bash");
        let only_execs = text.lines().any(|line| line.starts_with("exec "));
        let strict = text.contains("set -euo pipefail") || only_execs;
        assert!(!shell || strict, "{} lacks set -euo pipefail", path.display());
    }
}

#[test]
fn the_checker_sees_what_breaks_a_rule() {
    assert_eq!(wrong("a.rs", "//! Fine.\n"), [""; 0]);
    let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(FILE_LINES_MAX));
    assert_eq!(wrong("a.rs", &long).len(), 1);
    let tests = format!("//! Short.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(500));
    assert_eq!(wrong("a.rs", &tests), [""; 0]);
    assert_eq!(wrong("a.rs", "use std::fmt;\n").len(), 1);
    assert_eq!(wrong("a.rs", "//! Lenient.\n    #[allow(dead_code)]\nfn f() {}\n").len(), 1);
    assert_eq!(put_off("a.rs", &format!("// {}: later", PUT_OFF[0])).len(), 1);
}
