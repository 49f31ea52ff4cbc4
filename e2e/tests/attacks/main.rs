//! What must fail, tried for real: through the sockets, on both databases.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent_keys;
mod check_ins;
mod clocks;
mod commands;
mod configuration;
mod databases;
mod enrolment;
mod events;
mod feed;
mod gateway;
mod handshake;
mod hosts;
mod identity;
mod impostor;
mod jws;
mod proofs;
mod queues;
mod relay;
mod replicas;
mod rotation;
mod service;
mod sessions;
mod sockets;
mod streams;
mod succession;
mod versions;
