//! The targets, by what they read.

mod commands;
mod http;
mod json;
mod messages;
mod proofs;
mod signed;
mod stream;
mod texts;
mod trust;

use crate::Target;

/// Mutated inputs of a brief run for a decoder that works in memory.
const TRIES: u32 = 8_000;
/// For one that verifies signatures.
const TRIES_SIGNED: u32 = 4_000;
/// For one behind a socket.
const TRIES_SERVED: u32 = 400;

const fn pure(
    name: &'static str,
    seeds: fn() -> Vec<Vec<u8>>,
    check: fn(&[u8]),
    tries: u32,
) -> Target {
    Target { name, seeds, check, counted: true, tries }
}

const fn served(name: &'static str, seeds: fn() -> Vec<Vec<u8>>, check: fn(&[u8])) -> Target {
    Target { name, seeds, check, counted: false, tries: TRIES_SERVED }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    pure("statements", signed::statement_seeds, signed::statement, TRIES_SIGNED),
    pure("envelopes", signed::envelope_seeds, signed::envelope, TRIES_SIGNED),
    pure("texts", texts::seeds, texts::check, TRIES),
    pure("policy", texts::policy_seeds, texts::policy, TRIES),
    pure("dpop", proofs::seeds, proofs::check, TRIES_SIGNED),
    pure("dpop_signed", proofs::signed_seeds, proofs::signed, TRIES_SIGNED),
    pure("bodies", json::body_seeds, json::body, TRIES),
    pure("reports", json::report_seeds, json::report, TRIES),
    pure("audit_export", json::export_seeds, json::export, TRIES_SIGNED),
    pure("messages", messages::seeds, messages::check, TRIES),
    pure("trust", trust::seeds, trust::check, TRIES_SIGNED),
    pure("commands", commands::seeds, commands::check, TRIES_SIGNED),
    served("session_tokens", http::token_seeds, http::token),
    served("http", http::seeds, http::check),
    served("stream", stream::seeds, stream::check),
];
