//! The arrows between crates, and inside the server, are those of ARCHITECTURE.md and no others.
//!
//! Crates are read from `cargo metadata`, the inside of crates from the paths that their sources
//! name. *Invariant:* what is not listed here is refused; a new arrow begins with a line in this
//! file and in ARCHITECTURE.md.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod house;
mod paths;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Who may use which crates of the workspace; `None` may use any, and nobody may use it.
const CRATES: &[(&str, Option<&[&str]>)] = &[
    ("argosy-domain", Some(&[])),
    ("argosy-wire", Some(&["argosy-domain"])),
    ("argosy-store", Some(&["argosy-domain"])),
    ("argosy-config", Some(&["argosy-domain"])),
    ("argosy-agent", Some(&["argosy-config", "argosy-domain", "argosy-wire"])),
    ("argosy-cli", Some(&["argosy-config", "argosy-domain", "argosy-wire"])),
    (
        "argosy-server",
        Some(&["argosy-agent", "argosy-config", "argosy-domain", "argosy-store", "argosy-wire"]),
    ),
    ("argosy-bench", None),
    ("argosy-e2e", None),
    ("argosy-fuzz", None),
];

/// The one arrow to a crate that nobody else may use: fuzz targets behind a socket need a server.
const HARNESS: (&str, &str) = ("argosy-fuzz", "argosy-e2e");

/// What `domain` must do without: it performs no I/O and knows no executor.
const NOT_IN_DOMAIN: &[&[&str]] = &[
    &["async_std"],
    &["futures"],
    &["sqlx"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "process"],
    &["std", "thread"],
    &["tokio"],
];

/// What each layer of the server must do without, beside other layers.
const NOT_IN_LAYER: &[(&str, &[&[&str]])] = &[
    (
        "app",
        &[
            &["argosy_agent"],
            &["argosy_wire", "rpc"],
            &["axum"],
            &["buffa"],
            &["connectrpc"],
            &["http"],
            &["hyper"],
            &["sqlx"],
            &["tower"],
            &["tower_http"],
        ],
    ),
    ("http", TRANSPORT),
    ("rpc", TRANSPORT),
    ("console", TRANSPORT),
    ("task", TRANSPORT),
];
const TRANSPORT: &[&[&str]] = &[&["argosy_agent"], &["argosy_store"], &["sqlx"]];

/// The module of the server that only its unit tests are built with.
const TESTING: &str = "testing";

/// The layers that a layer may call, itself aside.
const LAYERS: &[(&str, &[&str])] = &[
    ("app", &[]),
    ("http", &["app"]),
    ("rpc", &["app"]),
    ("console", &["app"]),
    ("task", &["app"]),
];

/// The one file of the server that names the agent.
const COMBINED: &str = "combined.rs";

fn begins(path: &[String], with: &[&str]) -> bool {
    path.len() >= with.len() && path.iter().zip(with).all(|(a, b)| a == b)
}

/// Arrows between crates that are not allowed, from the packages of `cargo metadata`.
fn wrong_dependencies(packages: &[(String, Vec<String>)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, dependencies) in packages {
        let Some((_, allowed)) = CRATES.iter().find(|(known, _)| known == name) else {
            wrong.push(format!("{name} is a crate without a place in ARCHITECTURE.md"));
            continue;
        };
        for used in dependencies.iter().filter(|used| used.starts_with("argosy-")) {
            let nobodys = CRATES.iter().any(|(known, allowed)| known == used && allowed.is_none())
                && (name.as_str(), used.as_str()) != HARNESS;
            let listed = allowed.is_none_or(|allowed| allowed.contains(&used.as_str()));
            if nobodys || !listed {
                wrong.push(format!("{name} uses {used}"));
            }
        }
    }
    wrong
}

/// What a source file of `domain` names and must not.
fn wrong_in_domain(source: &str) -> Vec<String> {
    let named = paths::named(source);
    let wrong = named.iter().filter(|path| NOT_IN_DOMAIN.iter().any(|banned| begins(path, banned)));
    wrong.map(|path| path.join("::")).collect()
}

/// What a source file of the server names and must not. `file` is relative to `src`.
fn wrong_in_server(file: &Path, source: &str) -> Vec<String> {
    let place = module_of(file);
    let layer = place.first().map_or("", String::as_str);
    let named: Vec<_> =
        paths::named(source).into_iter().map(|path| absolute(&place, path)).collect();
    let Some((_, may_call)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        let agent = named.iter().filter(|path| begins(path, &["argosy_agent"]));
        let wrong = agent.filter(|_| file != Path::new(COMBINED));
        return wrong.map(|path| path.join("::")).collect();
    };
    let banned = NOT_IN_LAYER.iter().find(|(name, _)| *name == layer).map_or(&[][..], |(_, b)| *b);
    let wrong = named.iter().filter(|path| {
        let elsewhere = path.first().is_some_and(|first| first == "crate")
            && path.get(1).is_some_and(|to| {
                let to = to.as_str();
                to != layer && to != TESTING && !may_call.contains(&to)
            });
        elsewhere || banned.iter().any(|banned| begins(path, banned))
    });
    wrong.map(|path| path.join("::")).collect()
}

/// The module that a file is: `app/enrolment/mod.rs` is `[app, enrolment]`.
fn module_of(file: &Path) -> Vec<String> {
    let whole = file.with_extension("");
    let parts = whole.iter().map(|part| part.to_str().unwrap().to_owned());
    parts.filter(|part| !matches!(part.as_str(), "mod" | "lib" | "main")).collect()
}

/// A path with `self` and `super` resolved from `place`. Inner modules of a file are not counted,
/// so a `super` inside one seems to climb one module further than it does: never less.
fn absolute(place: &[String], path: Vec<String>) -> Vec<String> {
    let climbs = path.iter().take_while(|segment| *segment == "super").count();
    if climbs == 0 {
        return path;
    }
    let kept = place.len().saturating_sub(climbs);
    let head = std::iter::once("crate".to_owned()).chain(place.iter().take(kept).cloned());
    head.chain(path.into_iter().skip(climbs)).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(folder).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {}", folder.display());
    found
}

fn dependencies(package: &Value) -> (String, Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let used = package["dependencies"].as_array().unwrap();
    (text(&package["name"]), used.iter().map(|used| text(&used["name"])).collect())
}

fn none_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn crates_use_only_what_they_may() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages: Vec<_> =
        metadata["packages"].as_array().unwrap().iter().map(dependencies).collect();
    assert_eq!(packages.len(), CRATES.len(), "a crate is missing: {packages:?}");
    none_wrong(&wrong_dependencies(&packages));
}

#[test]
fn domain_performs_no_io() {
    let files = sources(&root().join("crates/domain/src"));
    let wrong = files.iter().flat_map(|(file, text)| {
        wrong_in_domain(text)
            .into_iter()
            .map(move |path| format!("{} names {path}", file.display()))
    });
    none_wrong(&wrong.collect::<Vec<_>>());
}

#[test]
fn inside_the_server_transports_call_app_and_app_calls_the_store() {
    let files = sources(&root().join("crates/server/src"));
    for layer in ["app", "http", "task"] {
        assert!(files.iter().any(|(file, _)| file.starts_with(layer)), "no {layer} to look at");
    }
    let wrong = files.iter().flat_map(|(file, text)| {
        let wrong = wrong_in_server(file, text);
        wrong.into_iter().map(move |path| format!("{} names {path}", file.display()))
    });
    none_wrong(&wrong.collect::<Vec<_>>());
}

#[test]
fn the_checker_sees_a_wrong_dependency() {
    let package = |name: &str, used: &[&str]| {
        (name.to_owned(), used.iter().map(|used| (*used).to_owned()).collect())
    };
    let fine = [
        package("argosy-server", &["argosy-store", "axum"]),
        package("argosy-e2e", &["argosy-store", "argosy-agent"]),
        package("argosy-fuzz", &["argosy-store", "argosy-e2e"]),
    ];
    assert_eq!(wrong_dependencies(&fine), [""; 0]);
    for (name, used) in [
        ("argosy-domain", "argosy-wire"),
        ("argosy-store", "argosy-wire"),
        ("argosy-agent", "argosy-store"),
        ("argosy-cli", "argosy-server"),
        ("argosy-bench", "argosy-e2e"),
        ("argosy-e2e", "argosy-fuzz"),
        ("argosy-server", "argosy-bench"),
    ] {
        assert_eq!(wrong_dependencies(&[package(name, &[used])]), [format!("{name} uses {used}")]);
    }
    assert_eq!(wrong_dependencies(&[package("argosy-new", &[])]).len(), 1);
}

#[test]
fn the_checker_sees_io_in_domain() {
    for source in [
        "use tokio::sync::mpsc;",
        "use std::{collections::BTreeMap, fs};",
        "fn f() { let _ = std::net::TcpStream::connect(\"a:1\"); }",
        "use sqlx as database;",
    ] {
        assert_eq!(wrong_in_domain(source).len(), 1, "{source}");
    }
    assert_eq!(wrong_in_domain("//! no tokio\nuse std::fmt;\nlet text = \"std::fs\";"), [""; 0]);
}

#[test]
fn the_checker_sees_a_wrong_call_inside_the_server() {
    for (file, source) in [
        ("http/agents.rs", "use argosy_store::Store;"),
        ("http/agents.rs", "fn f() { crate::rpc::gateway::mount() }"),
        ("http/agents.rs", "use crate::{app::App, task};"),
        ("http/agents.rs", "use super::super::start::Server;"),
        ("rpc/gateway.rs", "use argosy_store as records;"),
        ("task/mod.rs", "use super::http::router;"),
        ("app/agents.rs", "use axum::Json;"),
        ("app/agents.rs", "fn f() -> connectrpc::ConnectError {}"),
        ("app/agents.rs", "use argosy_wire::{rest, rpc::gateway};"),
        ("app/streams/mod.rs", "use super::super::super::http::Answer;"),
        ("app/mod.rs", "use crate::http;"),
        ("start.rs", "use argosy_agent::run;"),
        ("app/authn.rs", "use http::HeaderMap;"),
    ] {
        assert_eq!(wrong_in_server(Path::new(file), source).len(), 1, "{file}: {source}");
    }
    for (file, source) in [
        ("http/agents.rs", "use super::answer::Answer;\nuse crate::app::App;\nuse axum::Json;"),
        ("rpc/gateway.rs", "use connectrpc::Request;\nuse crate::app;"),
        ("app/agents.rs", "use argosy_store::Store;\nuse super::{App, error::AppError};"),
        ("start.rs", "use crate::{http, serve};\nuse argosy_store::Store;"),
        (COMBINED, "use argosy_agent::run;"),
    ] {
        assert_eq!(wrong_in_server(Path::new(file), source), [""; 0], "{file}: {source}");
    }
}
