//! The console: its pages as a browser asks for them, and in a real browser.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod discovery;
mod entry;
mod fleet;
mod forms;
mod installation;
mod keyboard;
mod orders;
mod packages;
mod pages;
mod pictures;
mod reach;
mod story;
mod world;
