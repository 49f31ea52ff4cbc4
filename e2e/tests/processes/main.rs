//! The real programs: combined mode, crashes in the middle of a command, an agent in Python.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acknowledged;
mod by_hand;
mod clouds;
mod combined;
mod command_steps;
mod commands;
mod crashes;
mod disks;
mod failover;
mod fleet;
mod keys;
mod kills;
mod long_poll;
mod monitoring;
mod network;
mod outage;
mod own;
mod packages;
mod partitions;
mod power;
mod python;
mod recovery;
mod replicas;
mod schedules;
mod steps;
mod tls;
mod tls_self;
mod traces;
mod trio;
mod upgrades;
