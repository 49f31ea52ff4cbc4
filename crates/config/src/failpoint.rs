//! Named places at which a crash test ends the process.
//!
//! *Invariant:* without the cargo feature `failpoints`, which no shipped binary has, nothing here
//! reads the environment and every call is empty.

/// Ends the process as a power cut would, where a test asked for this place by
/// `ARGOSY_FAILPOINT=<step>.<moment>`.
#[cfg(feature = "failpoints")]
pub fn failpoint(step: &str, moment: &str) {
    if std::env::var("ARGOSY_FAILPOINT").is_ok_and(|asked| asked == format!("{step}.{moment}")) {
        std::process::abort();
    }
}

/// Does nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn failpoint(_step: &str, _moment: &str) {}
