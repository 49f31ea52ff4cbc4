//! Fuzz targets: every decoder of what comes from a network, with what must hold for any bytes.
//!
//! A target is a function of bytes that panics when something does not hold. Two drivers call it:
//! `tests/brief.rs`, part of the ordinary tests, plays the seeds and mutates them by a fixed seed;
//! the program `argosy-fuzz` is LLVM's libFuzzer, which looks for new paths as long as it is let
//! (`make fuzz`). What that found is kept in `corpus/`, and is played in every run of the tests.
//!
//! *Invariant:* a target asserts more than the absence of a crash: what was read writes itself as
//! the same bytes, what was not signed is not accepted, and memory is bounded by the input.
#![expect(clippy::unwrap_used, reason = "a fuzz target fails by panicking")]

pub mod mutate;
pub mod seeds;
mod targets;

pub use targets::TARGETS;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts what is allocated, so that a target can hold it against the size of its input.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Longest input that is tried: enough for the limits of single fields, little enough to be quick.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;
/// What a pure decoder may allocate for an empty input, all told.
const ALLOCATED_BASE: usize = 1024 * 1024;
/// What it may allocate for each byte of its input, all told.
const ALLOCATED_PER_BYTE: usize = 1024;

/// A decoder, or a family of them.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on the command line and in `corpus/`.
    pub name: &'static str,
    /// Valid and nearly valid inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What must hold for any input. Panics where it does not.
    pub check: fn(&[u8]),
    /// Whether memory is counted: not where a server works in other threads at the same time.
    pub counted: bool,
    /// Mutated inputs of a brief run.
    pub tries: u32,
}

impl Target {
    /// The target of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Plays the seeds without counting, so that what is made once is there when it counts.
    pub fn warm(&self) {
        for input in seeds::all(self) {
            (self.check)(&input);
        }
    }

    /// Tries one input.
    pub fn run(&self, input: &[u8]) {
        let input = &input[..input.len().min(INPUT_BYTES_MAX)];
        let region = Region::new(ALLOCATOR);
        (self.check)(input);
        let allocated = region.change().bytes_allocated;
        let limit = ALLOCATED_BASE + ALLOCATED_PER_BYTE * input.len();
        assert!(
            !self.counted || allocated <= limit,
            "{allocated} bytes were allocated for an input of {}, more than {limit}",
            input.len()
        );
    }
}
