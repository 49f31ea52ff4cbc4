//! libFuzzer on one target, named by the variable `ARGOSY_FUZZ_TARGET`.
//!
//! `make fuzz` builds this with the counters of libFuzzer in our own code. With `ARGOSY_FUZZ_SEEDS`
//! set to a folder it writes the seeds of every target there, one folder each, and ends.
#![no_main]
#![expect(clippy::unwrap_used, reason = "a fuzzer fails by panicking")]

use std::{path::Path, sync::OnceLock};

use argosy_fuzz::{TARGETS, Target, seeds};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn begin() {
    if let Some(folder) = std::env::var_os("ARGOSY_FUZZ_SEEDS") {
        for target in TARGETS {
            seeds::write(target, &Path::new(&folder).join(target.name));
            println!("{}", target.name);
        }
        std::process::exit(0);
    }
    let name = std::env::var("ARGOSY_FUZZ_TARGET").expect("ARGOSY_FUZZ_TARGET names a target");
    let target = Target::named(&name).unwrap_or_else(|| panic!("no target {name}"));
    target.warm();
    TARGET.set(target).unwrap();
}

libfuzzer_sys::fuzz_target!(init: begin(), |input: &[u8]| TARGET.get().unwrap().run(input));
