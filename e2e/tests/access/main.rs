//! Who gets what: every route and every RPC called by every kind of caller, and the interface
//! description held against the server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod callers;
mod console;
mod description;
mod elevation;
mod fuzz;
mod matrix;
mod oddities;
mod routes;
mod rpcs;
mod targets;
mod tenants;
