//! The RPC types and services, generated from `proto/` and committed.
//!
//! Nothing here is written by hand; `tests/generated.rs` says how to make it anew.

#[rustfmt::skip]
#[expect(missing_docs, unreachable_pub, clippy::allow_attributes, reason = "generated code")]
#[path = "gen/mod.rs"]
mod generated;

pub use generated::{agentadmin::v1 as admin, agentgateway::v1 as gateway};

/// The compiled contract, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptor.bin");
