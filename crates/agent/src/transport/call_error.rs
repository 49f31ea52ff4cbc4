//! What a failed call means: the server's own refusal, or no answer at all.
//!
//! The server's problem code travels in the metadata `argosy-code`, in headers and trailers. An
//! error without one did not come from an Argosy server but from something on the way, whatever
//! its status says.

use std::time::Duration;

use argosy_wire::problem::Code;
use connectrpc::{ConnectError, ErrorCode};

use super::FetchError;

/// Metadata with the problem code.
const CODE_HEADER: &str = "argosy-code";
/// Metadata with the seconds to wait.
const RETRY_AFTER_HEADER: &str = "retry-after";
/// The longest wait that an answer can ask for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server said no.
    #[error("the server refused: {message} ({})", code.as_str())]
    Refused {
        /// Its stable code.
        code: Code,
        /// Its sentence.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// No answer, or an answer that is not the server's.
    #[error("the server cannot be reached: {message}")]
    Unreachable {
        /// What was noticed.
        message: String,
        /// How long something on the way asks to wait.
        retry_after: Option<Duration>,
    },
    /// The server answered what this version cannot use.
    #[error("the server answered something that this agent does not understand: {0}")]
    Protocol(&'static str),
}

impl CallError {
    /// The server's code, where it gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable { .. } | Self::Protocol(_) => None,
        }
    }

    /// Whether no answer of the server came, so that another channel may do better.
    pub fn is_on_the_way(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Protocol(_) => true,
            Self::Refused { .. } => false,
        }
    }

    /// Whether the server will never take what was sent, however often it is sent again.
    pub fn is_final(&self) -> bool {
        matches!(self.code(), Some(Code::Invalid | Code::Malformed | Code::TooLarge))
    }

    /// How long the answer asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::Unreachable { retry_after, .. } => {
                *retry_after
            }
            Self::Protocol(_) => None,
        }
    }
}

/// The value of a metadata key: headers, then trailers.
pub(super) fn metadata<'e>(error: &'e ConnectError, key: &str) -> Option<&'e str> {
    let value = error.response_headers().get(key).or_else(|| error.trailers().get(key))?;
    value.to_str().ok()
}

impl From<ConnectError> for CallError {
    fn from(error: ConnectError) -> Self {
        let retry_after = metadata(&error, RETRY_AFTER_HEADER)
            .and_then(|seconds| seconds.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        let named = metadata(&error, CODE_HEADER)
            .and_then(|name| Code::ALL.iter().find(|code| code.as_str() == name));
        let message = error.message.clone().unwrap_or_else(|| error.code.as_str().to_owned());
        match named {
            Some(code) => Self::Refused { code: *code, message, retry_after },
            None if error.code == ErrorCode::DeadlineExceeded => {
                Self::Unreachable { message: "no answer in time".into(), retry_after }
            }
            None => Self::Unreachable { message: cause(&error).unwrap_or(message), retry_after },
        }
    }
}

impl From<FetchError> for CallError {
    fn from(error: FetchError) -> Self {
        Self::Unreachable { message: error.to_string(), retry_after: None }
    }
}

/// The innermost cause, which is what people can act upon: `Connection refused`.
fn cause(error: &ConnectError) -> Option<String> {
    let source = error.source_arc()?;
    let mut cause: &(dyn std::error::Error + 'static) = source.as_ref();
    while let Some(next) = cause.source() {
        cause = next;
    }
    Some(cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};

    fn with(code: &'static str, retry_after: &'static str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(CODE_HEADER, HeaderValue::from_static(code));
        map.insert(RETRY_AFTER_HEADER, HeaderValue::from_static(retry_after));
        map
    }

    #[test]
    fn a_refusal_is_known_by_its_code_in_headers_or_trailers() {
        let error = || ConnectError::resource_exhausted("slow down");
        for error in [
            error().with_headers(with("rate_limited", "7")),
            error().with_trailers(with("rate_limited", "7")),
        ] {
            let error = CallError::from(error);
            assert_eq!(error.code(), Some(Code::RateLimited));
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
    }

    #[test]
    fn a_status_without_code_is_something_on_the_way() {
        let error = CallError::from(ConnectError::unauthenticated("proxy says no"));
        assert_eq!(error.code(), None);
        assert!(matches!(error, CallError::Unreachable { .. }));
    }

    #[test]
    fn nobody_can_send_the_agent_away_for_a_day() {
        let error = ConnectError::unavailable("x").with_headers(with("unavailable", "86400"));
        assert_eq!(CallError::from(error).retry_after(), Some(RETRY_AFTER_MAX));
    }
}
