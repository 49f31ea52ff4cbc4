//! The conformance suite: what the store promises, asserted on SQLite and on PostgreSQL alike.
//! Run it under `scripts/with-postgres`; without a PostgreSQL server its half fails.

mod agents;
mod common;
