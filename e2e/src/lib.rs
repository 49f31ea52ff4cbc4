//! The harness of the whole-system tests: servers on both databases, agents that can misbehave,
//! and real processes.
//!
//! *Invariant:* everything goes through sockets on loopback; a test binds port 0, owns its
//! database, and waits for conditions, never for time to pass.
#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]

pub mod agent;
pub mod browser;
pub mod clock;
pub mod database;
pub mod http;
pub mod island;
pub mod postgres;
pub mod power;
pub mod process;
pub mod proxy;
pub mod rpc;
pub mod server;
pub mod user;
