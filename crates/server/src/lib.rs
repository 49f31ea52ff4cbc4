//! `argosyd`, the server of Argosy, as a library.
//!
//! Arrows inside: `http`, `rpc`, `console` and `task` call `app`; `app` calls the store. *Invariant:* nothing
//! but `app` and the start of the process names the store.

pub mod app;
pub mod combined;
pub mod config;
pub mod console;
pub mod doctor;
pub mod http;
pub mod otlp;
pub mod rotate;
pub mod rpc;
pub mod serve;
pub mod start;
mod task;
#[cfg(test)]
mod testing;
pub mod tls;
