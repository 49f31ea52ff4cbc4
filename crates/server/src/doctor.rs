//! `argosyd doctor`: whether this host and its database are fit to serve. It looks, and changes nothing.

use std::{
    fmt,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use argosy_config::host::SystemClock;
use argosy_domain::time::{Clock as _, Timestamp};
use argosy_store::{Examination, Store, StoreError};
use rustix::{
    fs::statvfs,
    process::{Resource, getrlimit},
};
use serde::Serialize;

use crate::{config::Settings, start::target, tls};

/// Room below which the disk is about to be full.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// Room below which somebody should look.
const FREE_BYTES_GOOD: u64 = 2 * 1024 * 1024 * 1024;
/// A sync that takes longer holds every write up.
const SYNC_GOOD: Duration = Duration::from_millis(30);
/// Syncs of which the median counts.
const SYNCS: usize = 9;
/// Files that a server holds open beside the connections of agents.
const OWN_FILES: u64 = 100;
/// Below it a fleet does not fit.
const FILES_GOOD: u64 = 10_000;
/// How far the clocks of servers and their database may be apart.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(1);
/// An answer of the database that takes longer is felt in every call.
const ANSWER_GOOD: Duration = Duration::from_millis(10);
/// Connections that one server takes.
const CONNECTIONS: u64 = 10;
/// A key of the server that ends sooner should have been renewed.
const KEY_LEFT_MIN: Duration = Duration::from_secs(7 * 86_400);

/// A certificate that ends sooner should have been renewed.
const CERTIFICATE_LEFT_MIN: Duration = Duration::from_secs(14 * 86_400);

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// Somebody should look at it.
    Warn,
    /// The server does not serve, or does not keep what it acknowledges.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which one.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// That in words, and what to do.
    pub said: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        write!(f, "{state:4}  {:9}  {}", self.check, self.said)
    }
}

fn finding(check: &'static str, state: State, said: impl Into<String>) -> Finding {
    Finding { check, state, said: said.into() }
}

/// Looks at everything.
pub async fn examine(settings: &Settings) -> Vec<Finding> {
    let mut found = configuration(settings, SystemClock.now());
    found.push(files());
    let folder = &settings.data_dir;
    if folder.is_dir() {
        found.extend([permissions(settings), disk(folder), sync(folder)]);
    } else {
        let said = format!("{} is not there yet: the server makes it", folder.display());
        found.push(finding("data", State::Warn, said));
    }
    found.extend(database(settings).await);
    found
}

fn configuration(settings: &Settings, now: Timestamp) -> Vec<Finding> {
    let ends_at = match tls::check(settings) {
        Ok(ends_at) => ends_at,
        Err(error) => return vec![finding("settings", State::Fail, error.to_string())],
    };
    let mut found = vec![finding("settings", State::Ok, "valid; argosyd config check prints them")];
    found.extend(ends_at.map(|ends_at| certificate(ends_at, now)));
    found
}

/// A certificate from files, which somebody else renews.
fn certificate(ends_at: Timestamp, now: Timestamp) -> Finding {
    let day = day(ends_at);
    if ends_at <= now {
        let said = format!("the certificate ended {day}: put one that is good in its place");
        finding("tls", State::Fail, said)
    } else if ends_at < now.plus(CERTIFICATE_LEFT_MIN) {
        let said = format!("the certificate ends {day}: look at whatever renews it");
        finding("tls", State::Warn, said)
    } else {
        finding("tls", State::Ok, format!("the certificate ends {day}"))
    }
}

/// The server raises its own limit to the hard one.
fn files() -> Finding {
    let hard = getrlimit(Resource::Nofile).maximum;
    let Some(hard) = hard else { return finding("files", State::Ok, "no limit") };
    let agents = hard.saturating_sub(OWN_FILES);
    let state = if hard < FILES_GOOD { State::Warn } else { State::Ok };
    let advice = match state {
        State::Ok => "",
        State::Warn | State::Fail => "; raise it (LimitNOFILE= of the unit)",
    };
    finding("files", state, format!("{hard} at most, enough for some {agents} agents{advice}"))
}

fn permissions(settings: &Settings) -> Finding {
    let private =
        [settings.data_dir.clone(), settings.master_key(), settings.data_dir.join("admin.key")];
    let open = private
        .iter()
        .find(|path| path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0));
    match open {
        Some(path) => {
            let path = path.display();
            let said = format!("others can read {path}: chmod go= {path}, and think about who did");
            finding("secrets", State::Fail, said)
        }
        None => finding("secrets", State::Ok, "readable by their owner only"),
    }
}

fn disk(folder: &Path) -> Finding {
    let usage = match statvfs(folder) {
        Ok(usage) => usage,
        Err(error) => return finding("disk", State::Fail, error.to_string()),
    };
    let free = usage.f_bavail.saturating_mul(usage.f_frsize);
    let state = match free {
        ..FREE_BYTES_MIN => State::Fail,
        FREE_BYTES_MIN..FREE_BYTES_GOOD => State::Warn,
        FREE_BYTES_GOOD.. => State::Ok,
    };
    finding("disk", state, format!("{} MiB free for {}", free / (1024 * 1024), folder.display()))
}

fn sync(folder: &Path) -> Finding {
    match median_sync(folder) {
        Ok(took) => {
            let state = if took > SYNC_GOOD { State::Warn } else { State::Ok };
            let said =
                format!("a sync takes {:.1} ms (median of {SYNCS})", took.as_secs_f64() * 1e3);
            finding("sync", state, said)
        }
        Err(error) => finding("sync", State::Fail, format!("{}: {error}", folder.display())),
    }
}

fn median_sync(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    // Its place on the disk stays until it is closed; nobody finds it meanwhile.
    std::fs::remove_file(&path)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[0; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took[SYNCS / 2])
}

async fn database(settings: &Settings) -> Vec<Finding> {
    let file = settings.data_dir.join("argosy.db");
    if settings.database_url.is_none() && !file.exists() {
        let said = format!("{} is not there yet: the server makes it", file.display());
        return vec![finding("database", State::Warn, said)];
    }
    match look_at_database(settings).await {
        Ok(found) => found,
        Err(error) => {
            let why = std::error::Error::source(&error)
                .map_or_else(String::new, |why| format!(": {why}"));
            vec![finding("database", State::Fail, format!("{error}{why}"))]
        }
    }
}

async fn look_at_database(settings: &Settings) -> Result<Vec<Finding>, StoreError> {
    let store = Store::open(target(settings), argosy_store::Options::default()).await?;
    let missing = store.migrations_missing().await?;
    let told = store.examine().await?;
    let mut found = vec![match &told.damage {
        Some(damage) => finding("database", State::Fail, format!("damaged: {damage}")),
        None => finding("database", State::Ok, words(&store, &told)),
    }];
    found.push(match missing {
        0 => finding("schema", State::Ok, "every migration is applied"),
        count => {
            let said = format!(
                "{count} migrations are missing: the server applies them, or argosyd migrate up"
            );
            finding("schema", State::Warn, said)
        }
    });
    found.extend(durability(&told));
    found.extend(clock(&told));
    if missing == 0 {
        found.push(keys(&store).await?);
    }
    store.close().await;
    Ok(found)
}

fn words(store: &Store, told: &Examination) -> String {
    let version = setting(told, "server_version").unwrap_or("of unknown version");
    let took = told.answers_within.as_secs_f64() * 1e3;
    let slow = if told.answers_within > ANSWER_GOOD { ", which every call feels" } else { "" };
    format!("{} {version}, answers within {took:.1} ms{slow}", store.kind())
}

fn setting<'a>(told: &'a Examination, name: &str) -> Option<&'a str> {
    told.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// What decides whether what is acknowledged is kept, and for how many there is room.
fn durability(told: &Examination) -> Vec<Finding> {
    let mut found = Vec::new();
    let off: Vec<&str> = ["fsync", "full_page_writes", "synchronous_commit"]
        .into_iter()
        .filter(|name| setting(told, name) == Some("off"))
        .collect();
    if off.is_empty() {
        found.push(finding("durable", State::Ok, "what is acknowledged survives a crash"));
    } else {
        let said =
            format!("{} is off: what was acknowledged may be lost in a crash", off.join(", "));
        found.push(finding("durable", State::Fail, said));
    }
    let number = |name: &str| setting(told, name).and_then(|text| text.parse::<u64>().ok());
    if let Some(all) = number("max_connections") {
        let free = all.saturating_sub(number("superuser_reserved_connections").unwrap_or(0));
        let servers = free / CONNECTIONS;
        let state = if servers < 1 { State::Fail } else { State::Ok };
        found.push(finding(
            "room",
            state,
            format!("{free} connections, enough for {servers} servers"),
        ));
    }
    found
}

fn clock(told: &Examination) -> Option<Finding> {
    let (there, here) = (told.clock?, SystemClock.now());
    let apart = here.since(there).max(there.since(here));
    let said = format!("{:.3} s apart from the database's", apart.as_secs_f64());
    Some(if apart > CLOCK_SKEW_MAX {
        finding("clock", State::Warn, format!("{said}: let both follow the same time (NTP)"))
    } else {
        finding("clock", State::Ok, said)
    })
}

async fn keys(store: &Store) -> Result<Finding, StoreError> {
    let keys = store.read("doctor.keys").await?.server_keys().list().await?;
    let now = SystemClock.now();
    let newest = |key_use: &str| {
        let of_use = keys.iter().filter(|key| key.key_use == key_use);
        of_use.max_by_key(|key| key.serial).and_then(|key| key.not_after)
    };
    let mut uses: Vec<&str> = keys.iter().map(|key| key.key_use.as_str()).collect();
    uses.dedup();
    let ends = uses.into_iter().filter_map(|key_use| Some((newest(key_use)?, key_use)));
    Ok(match ends.min() {
        None => finding("keys", State::Ok, "there are none yet: the server makes them"),
        Some((end, key_use)) if end < now.plus(KEY_LEFT_MIN) => {
            let said =
                format!("the key for {key_use} ends {end}; a server that runs renews it before");
            finding("keys", State::Warn, said)
        }
        Some((end, key_use)) => {
            finding("keys", State::Ok, format!("the first to end is {key_use}'s, {}", day(end)))
        }
    })
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}
