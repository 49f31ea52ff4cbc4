//! Everything of Argosy that crosses a network: JSON shapes, generated RPC types, signed
//! statements, problem details.
//!
//! *Invariant:* this crate opens no connection and keeps nothing durable; it turns values into bytes and
//! bytes into checked values. Time and randomness are passed in.

pub mod audit;
pub mod bytes;
pub mod dpop;
#[cfg(feature = "tls")]
pub mod identity_tls;
pub mod machine;
pub mod problem;
pub mod report;
pub mod rest;
pub mod rpc;
pub mod sign;
pub mod statement;
pub mod succession;
pub mod token;
