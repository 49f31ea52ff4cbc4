//! The brief run of every fuzz target: seeds and corpus as they are, then as many changed ones as
//! the target says, the same in every run.
//!
//! A failure prints the input that was made small, and writes it to `target/fuzz/failed/`. It goes
//! into `fuzz/corpus/<target>/` with the fix, where every later run plays it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use argosy_fuzz::{TARGETS, Target, mutate, seeds};
use proptest::test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner};

fn keep(target: &Target, input: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz/failed");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{}-{}", target.name, seeds::name(input)));
    fs::write(&file, input).unwrap();
    file
}

fn brief(name: &str) {
    let target = Target::named(name).unwrap();
    let inputs = seeds::all(target);
    assert!(!inputs.is_empty(), "{name} begins with nothing");
    for input in &inputs {
        let check = || (target.check)(input);
        let outcome = catch_unwind(AssertUnwindSafe(check));
        assert!(outcome.is_ok(), "a seed fails: {}", keep(target, input).display());
    }
    inputs.iter().for_each(|input| target.run(input));
    let config = Config { cases: target.tries, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let outcome = TestRunner::new_with_rng(config, rng).run(&mutate::near(inputs), |input| {
        catch_unwind(AssertUnwindSafe(|| target.run(&input))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            TestCaseError::fail(text.unwrap_or_default())
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, input)) => {
            let shown = String::from_utf8_lossy(&input);
            panic!("{reason}\n{shown:?}\nkept as {}", keep(target, &input).display());
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            brief(stringify!($name));
        })*

        #[test]
        fn every_target_is_run() {
            let run = [$(stringify!($name)),*];
            assert_eq!(run.as_slice(), TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
        }
    };
}

targets! {
    statements envelopes texts policy dpop dpop_signed bodies reports audit_export messages trust
    commands session_tokens http stream
}
