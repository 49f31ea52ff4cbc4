//! Refusals as gRPC statuses: the one function that turns an [`AppError`] into metadata.
//!
//! *Invariant:* nothing but code, detail, nonce and delay of an [`AppError`] leaves here; the
//! cause of a failure was logged where it became an answer.

use argosy_wire::problem::{Code, RpcStatus};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use connectrpc::{ConnectError, ErrorCode};

use crate::app::error::AppError;

/// Metadata with the stable code of a refusal.
pub(super) const CODE: HeaderName = HeaderName::from_static("argosy-code");
/// Metadata with the nonce for the next proof (RFC 9449, section 8).
pub(super) const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// Metadata with the seconds to wait.
pub(super) const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");

/// The library's name of a status.
fn status(code: Code) -> ErrorCode {
    match code.rpc() {
        RpcStatus::InvalidArgument => ErrorCode::InvalidArgument,
        RpcStatus::NotFound => ErrorCode::NotFound,
        RpcStatus::PermissionDenied => ErrorCode::PermissionDenied,
        RpcStatus::ResourceExhausted => ErrorCode::ResourceExhausted,
        RpcStatus::FailedPrecondition => ErrorCode::FailedPrecondition,
        RpcStatus::Unimplemented => ErrorCode::Unimplemented,
        RpcStatus::Internal => ErrorCode::Internal,
        RpcStatus::Unavailable => ErrorCode::Unavailable,
        RpcStatus::Unauthenticated => ErrorCode::Unauthenticated,
    }
}

/// The answer to whoever is refused. Metadata stands in headers and trailers, because clients look
/// in either.
pub(super) fn refuse(error: AppError) -> ConnectError {
    let mut metadata = HeaderMap::new();
    metadata.insert(CODE, HeaderValue::from_static(error.code.as_str()));
    if let Some(nonce) = error.dpop_nonce.and_then(|nonce| nonce.parse().ok()) {
        metadata.insert(NONCE, nonce);
    }
    if let Some(seconds) = error.retry_after_s {
        metadata.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    ConnectError::new(status(error.code), error.detail)
        .with_headers(metadata.clone())
        .with_trailers(metadata)
}

/// The library refused a message (too large, not protobuf): the same answer with our metadata.
pub(super) fn unreadable(error: &ConnectError) -> AppError {
    if error.code == ErrorCode::ResourceExhausted {
        AppError::new(Code::TooLarge)
    } else {
        AppError::new(Code::Malformed)
    }
}

/// Names fields as the contract does where REST has another name for them.
pub(super) fn with_field_names(mut error: AppError, names: &[(&str, &str)]) -> AppError {
    for problem in &mut error.fields {
        let Some((rest, rpc)) = names.iter().find(|(rest, _)| *rest == problem.field) else {
            continue;
        };
        if let Some(tail) = error.detail.strip_prefix(rest) {
            error.detail = format!("{rpc}{tail}");
        }
        problem.field = (*rpc).to_owned();
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_status_of_the_table_and_its_name_in_headers_and_trailers() {
        for code in Code::ALL {
            let refused = refuse(AppError::new(*code));
            assert_eq!(refused.code.grpc_code(), code.rpc() as u32, "{code:?}");
            assert_eq!(refused.message.as_deref(), Some(code.title()));
            for metadata in [refused.response_headers(), refused.trailers()] {
                assert_eq!(metadata[&CODE], code.as_str());
                assert!(!metadata.contains_key(&NONCE));
                assert!(!metadata.contains_key(&RETRY_AFTER));
            }
        }
    }

    #[test]
    fn nonce_and_delay_are_told_where_there_are_any() {
        let error = AppError { dpop_nonce: Some("n-1".to_owned()), ..AppError::rate_limited(7) };
        let refused = refuse(error);
        for metadata in [refused.response_headers(), refused.trailers()] {
            assert_eq!(metadata[&NONCE], "n-1");
            assert_eq!(metadata[&RETRY_AFTER], "7");
        }
    }

    #[test]
    fn the_cause_of_a_fault_stays_inside() {
        let refused = refuse(AppError::internal("SELECT secret FROM somewhere"));
        assert_eq!(refused.message.as_deref(), Some(Code::Internal.title()));
        assert!(refused.source_arc().is_none());
    }

    #[test]
    fn fields_have_the_names_of_the_contract() {
        let error = AppError::field("bootstrap_token", "differs from the signed statement");
        let renamed = with_field_names(error, &[("bootstrap_token", "enrollment_token")]);
        assert_eq!(renamed.detail, "enrollment_token differs from the signed statement");
        assert_eq!(renamed.fields[0].field, "enrollment_token");
    }
}
