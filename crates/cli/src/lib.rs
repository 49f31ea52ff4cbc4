//! `argosy`, the operator's command line: a client of the REST interface and nothing more.
//!
//! *Invariant:* this crate decides nothing that the server decides; it asks, shows and explains.
//! No secret is printed except the one that a command has just created, no key is ever part of a
//! URL, and a key that was stored for one server is sent to no other.

pub mod args;
pub mod client;
pub mod commands;
pub mod error;
pub mod feed;
pub mod key;
pub mod output;
pub mod profile;
pub mod start;
pub mod target;
pub mod terminal;
