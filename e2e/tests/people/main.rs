//! Users, their logins and their keys: attacks 17 and 18, and what an administrator does every day.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;
mod csrf;
mod guessing;
mod idempotency;
mod keys;
mod life;
mod limits;
mod organisations;
mod sessions;
