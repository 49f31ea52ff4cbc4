//! The rules of Argosy: identifiers, states and their transitions, policies, decisions.
//!
//! *Invariant:* this crate performs no I/O, reads no clock, draws no randomness, runs nothing
//! asynchronous and knows neither SQL nor any transport. Everything it needs is passed in.

pub mod access;
pub mod account;
pub mod agent;
pub mod audit;
pub mod breaker;
pub mod chain;
pub mod command;
pub mod configuration;
pub mod digest;
pub mod discovery;
pub mod entropy;
pub mod fan_out;
pub mod id;
pub mod labels;
pub mod limits;
pub mod package;
pub mod policy;
pub mod resource;
pub mod review;
pub mod security;
pub mod settings;
pub mod subsystem;
pub mod telemetry;
pub mod text;
pub mod time;
pub mod token;
pub mod user;
pub mod version;
