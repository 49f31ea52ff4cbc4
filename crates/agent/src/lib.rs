//! The agent: enrols a machine, keeps one outbound connection to its server, looks at its host and
//! carries out signed commands.
//!
//! | part | modules |
//! |---|---|
//! | what the host says | [`config`], [`policy_file`], [`host`], [`server_url`] |
//! | the way to the server | [`transport`], [`trust`], [`enrol`], [`session`], [`stream`] |
//! | what survives a restart | [`state_dir`], [`keys`], [`credentials`], [`journal`] |
//! | what is done here | [`engine`], [`scheduler`], [`subsystem`], [`packages`] |
//! | all of it together | [`run`], [`status`], [`cli`] |
//!
//! *Invariant:* the agent opens no listening port. It believes only the server that it pinned,
//! obeys only what that server signed and the host's policy allows, and logs no token, key or body.

pub mod backoff;
mod blocking;
pub mod boot;
pub mod bounds;
pub mod cli;
pub mod command;
pub mod config;
pub mod configuration;
pub mod courier;
pub mod credentials;
pub mod crew;
pub mod deps;
pub mod discovery;
pub mod engine;
pub mod enrol;
pub mod error;
mod failpoint;
pub mod forget;
mod hand_over;
pub mod host;
pub mod journal;
pub mod key_rotation;
pub mod keys;
pub mod own;
pub mod packages;
pub mod policy_file;
pub mod recorder;
pub mod repin;
pub mod run;
pub mod scheduler;
pub mod server_url;
pub mod session;
pub mod spool;
pub mod state_dir;
pub mod status;
pub mod stream;
pub mod subsystem;
pub mod transport;
pub mod trust;
pub mod upload;
