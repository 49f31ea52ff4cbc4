//! Refusals as RFC 9457 problem details.

use std::collections::BTreeMap;

use argosy_wire::problem::{Code, PROBLEM_MEDIA_TYPE, Problem};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use utoipa::openapi::{Content, Ref, RefOr, Response as Described, response::ResponseBuilder};

use super::trace;
use crate::app::error::AppError;

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) AppError);

/// What handlers answer.
pub(super) type Answer<T> = Result<T, Refusal>;

impl From<AppError> for Refusal {
    fn from(error: AppError) -> Self {
        Self(error)
    }
}

/// The refusals that every route may answer, for the OpenAPI document.
pub(super) struct Problems;

impl utoipa::IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let mut titles = BTreeMap::<u16, Vec<&str>>::new();
        for code in Code::ALL {
            titles.entry(code.http()).or_default().push(code.as_str());
        }
        titles
            .into_iter()
            .map(|(status, codes)| {
                let content = Content::new(Some(Ref::from_schema_name("Problem")));
                let described = ResponseBuilder::new()
                    .description(format!("Problem: {}", codes.join(", ")))
                    .content(PROBLEM_MEDIA_TYPE, content);
                (status.to_string(), RefOr::T(described.build()))
            })
            .collect()
    }
}

/// The problem of an error.
fn problem(error: &AppError) -> Problem {
    let code = error.code;
    Problem {
        kind: format!("urn:argosy:problem:{}", code.as_str()),
        title: code.title().to_owned(),
        status: code.http(),
        detail: error.detail.clone(),
        error: error.detail.clone(),
        code: code.as_str().to_owned(),
        trace_id: trace::current(),
        errors: error.fields.clone(),
    }
}

fn challenge(code: Code) -> Option<&'static str> {
    if code == Code::UseDpopNonce {
        Some(r#"DPoP error="use_dpop_nonce""#)
    } else if code == Code::InvalidProof {
        Some(r#"DPoP error="invalid_dpop_proof""#)
    } else if [Code::InvalidSession, Code::ProofRequired].contains(&code) {
        Some(r#"DPoP error="invalid_token""#)
    } else {
        (code.http() == 401).then_some("Bearer")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = self.0;
        let status =
            StatusCode::from_u16(error.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem(&error)).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = challenge(error.code) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = error.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(nonce) = error.dpop_nonce.and_then(|nonce| nonce.parse().ok()) {
            headers.insert("dpop-nonce", nonce);
        }
        response
    }
}
