//! How a run ended, and the result document that says so.
//!
//! Documents are JSON: `{"report": …}`, or `{"error": "…", "code": "…"}`; at most 1 MiB.

use argosy_domain::{
    command::Outcome,
    limits::{ERROR_TEXT_CHARS_MAX, PAYLOAD_BYTES_MAX},
    text::clip,
};
use serde::{Serialize, de::IgnoredAny};

/// How a runner's work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// Done.
    Succeeded {
        /// What came of it: one JSON value.
        report: Vec<u8>,
    },
    /// Tried, and it did not work.
    Failed {
        /// A stable name for it.
        code: &'static str,
        /// Why, in one sentence.
        error: String,
    },
    /// Not begun, because somebody on this host does not allow it.
    Rejected {
        /// A stable name for it.
        code: &'static str,
        /// The rule, in one sentence.
        error: String,
    },
    /// Stopped because it took too long.
    TimedOut {
        /// What took too long, in one sentence.
        error: String,
    },
}

/// An end and the document about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) payload: Vec<u8>,
}

impl Ending {
    /// An end without a report.
    pub(super) fn error(outcome: Outcome, code: &str, error: &str) -> Self {
        #[derive(Serialize)]
        struct Document<'a> {
            error: &'a str,
            code: &'a str,
        }
        let error = clip(error, ERROR_TEXT_CHARS_MAX);
        // Two texts always serialise.
        let payload = serde_json::to_vec(&Document { error: &error, code }).unwrap_or_default();
        Self { outcome, payload }
    }

    fn report(report: &[u8]) -> Self {
        let payload = [b"{\"report\":", report, b"}"].concat();
        if payload.len() > PAYLOAD_BYTES_MAX {
            let error = format!("the report is larger than {PAYLOAD_BYTES_MAX} bytes");
            return Self::error(Outcome::Failed, "result_too_large", &error);
        }
        if serde_json::from_slice::<IgnoredAny>(report).is_err() {
            return Self::error(Outcome::Failed, "invalid_report", "the report is not JSON");
        }
        Self { outcome: Outcome::Succeeded, payload }
    }
}

impl From<RunOutcome> for Ending {
    fn from(run: RunOutcome) -> Self {
        match run {
            RunOutcome::Succeeded { report } => Self::report(&report),
            RunOutcome::Failed { code, error } => Self::error(Outcome::Failed, code, &error),
            RunOutcome::Rejected { code, error } => Self::error(Outcome::Rejected, code, &error),
            RunOutcome::TimedOut { error } => Self::error(Outcome::TimedOut, "timed_out", &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_report_is_wrapped_as_it_is() {
        let ending = Ending::from(RunOutcome::Succeeded { report: b"{\"load\":1.0}".to_vec() });
        assert_eq!(ending.payload, b"{\"report\":{\"load\":1.0}}");
        assert_eq!(ending.outcome, Outcome::Succeeded);
    }

    #[test]
    fn what_is_too_large_or_no_json_fails_by_name() {
        let large = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX)).into_bytes();
        let cases = [(large, "result_too_large"), (b"}, {".to_vec(), "invalid_report")];
        for (report, code) in cases {
            let ending = Ending::from(RunOutcome::Succeeded { report });
            let document: serde_json::Value = serde_json::from_slice(&ending.payload).unwrap();
            assert_eq!((ending.outcome, document["code"].as_str()), (Outcome::Failed, Some(code)));
        }
    }

    proptest! {
        #[test]
        fn every_document_is_json_within_its_limit(error in "\\PC{0,6000}") {
            let ending = Ending::from(RunOutcome::Failed { code: "x", error });
            prop_assert!(ending.payload.len() <= PAYLOAD_BYTES_MAX);
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&ending.payload).is_ok());
        }
    }
}
