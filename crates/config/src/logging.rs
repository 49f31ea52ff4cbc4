//! Logging to standard error.
//!
//! *Invariant:* no header or body of a request is logged at any level: the HTTP libraries, which
//! would do so at `debug` and `trace`, are never heard below `info`.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, layer::SubscriberExt as _, registry,
    util::SubscriberInitExt as _,
};

/// Libraries that see what travels.
const WIRE_LIBRARIES: &[&str] =
    &["connectrpc", "h2", "hyper", "hyper_util", "reqwest", "rustls", "tower"];

/// Starts logging at `level` (`error`, `warn`, `info`, `debug`, `trace` or filter directives such
/// as `info,argosy_server::app=debug`), as text or, with `json`, one JSON object a line. A second
/// call changes nothing.
pub fn start(level: &str, json: bool) {
    start_with(level, json, None);
}

/// Starts logging like [`start`], and tells the same to somebody else.
pub fn start_with(level: &str, json: bool, also: Option<Box<dyn Layer<Registry> + Send + Sync>>) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = if json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.with_target(false).boxed()
    };
    let started =
        registry().with(also).with(filter).with(filter_fn(may_be_heard)).with(lines).try_init();
    // Already started: the first configuration stays in force.
    drop(started);
}

fn may_be_heard(metadata: &Metadata<'_>) -> bool {
    let library = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO || !WIRE_LIBRARIES.contains(&library)
}
