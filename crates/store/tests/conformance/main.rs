//! The conformance suite: what the store promises, asserted on SQLite and on PostgreSQL alike.
//! Run it under `scripts/with-postgres`; without a PostgreSQL server its half fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod agent_keys;
mod agents;
mod approvals;
mod chain;
mod commands;
mod commands_together;
mod common;
mod database;
mod discovery;
mod fan_outs;
mod feed;
mod handshakes;
mod idempotency;
mod overview;
mod packages;
mod replicas;
mod reports;
mod schema;
mod searches;
mod security;
mod syncs;
mod telemetry;
mod ways;
