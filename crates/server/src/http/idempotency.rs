//! `Idempotency-Key` of every write that has a caller: a request that comes again is answered
//! again, and nothing is done twice.
//!
//! Which routes take it is read from the document, so that what is described is what is served.

use std::{collections::BTreeSet, sync::Arc};

use argosy_domain::{
    digest::Sha256,
    limits::{
        BODY_BYTES_MAX, IDEMPOTENCY_KEY_CHARS_MAX, IDEMPOTENT_ANSWER_BYTES_MAX,
        INGEST_BODY_BYTES_MAX,
    },
};
use argosy_wire::problem::Code;
use axum::{
    body::{Body, HttpBody as _, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tracing::Instrument as _;
use utoipa::openapi::{
    OpenApi as Document, PathItem, RefOr, Required,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn},
    schema::{ObjectBuilder, Type},
};

use super::{
    answer::Refusal,
    extract::{Known, authenticate},
    trace,
};
use crate::app::{
    App,
    error::{AppError, AppResult},
    idempotency::{Admitted, Ended, KeptAnswer},
};

const HEADER: &str = "Idempotency-Key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The routes that take the key, as `METHOD path`.
pub(super) type Routes = Arc<BTreeSet<String>>;

fn parameter() -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let schema = text.min_length(Some(1)).max_length(Some(IDEMPOTENCY_KEY_CHARS_MAX));
    ParameterBuilder::new()
        .name(HEADER)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Chosen by the caller. The same request with the same key within 24 hours gets the \
             first answer again (`Idempotency-Replayed: true`), and nothing is done twice",
        ))
        .schema(Some(schema))
        .build()
}

fn takes_key(operation: &Operation) -> bool {
    let is_own = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) => parameter.name == HEADER,
        RefOr::Ref(_) => false,
    };
    let own = operation.parameters.iter().flatten().any(is_own);
    // Commands have a key of their own, which is kept for as long as they are.
    operation.security.is_some() && !own
}

fn writes(item: &mut PathItem) -> [(&'static str, &mut Option<Operation>); 4] {
    [
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ]
}

/// Describes the key at every write that has a caller, and says which they are.
pub(super) fn describe(document: &mut Document) -> Routes {
    let mut routes = BTreeSet::new();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in writes(item) {
            let Some(operation) = operation.as_mut().filter(|operation| takes_key(operation))
            else {
                continue;
            };
            operation.parameters.get_or_insert_default().push(RefOr::T(parameter()));
            routes.insert(format!("{method} {path}"));
        }
    }
    Arc::new(routes)
}

/// Whether a request is a write that takes the key, under either mount.
fn is_taken(routes: &Routes, request: &Request) -> bool {
    let Some(path) = request.extensions().get::<MatchedPath>() else { return false };
    let named = |path: &str| routes.contains(&format!("{} {path}", request.method()));
    named(path.as_str()) || named(&path.as_str().replacen("/api/v1/discovery/", "/api/v1/", 1))
}

/// Carries a write with a key out once. All other requests pass.
pub(super) async fn once(
    State((app, routes)): State<(App, Routes)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(key) = request.headers().get(HEADER).cloned() else {
        return next.run(request).await;
    };
    if !is_taken(&routes, &request) {
        return next.run(request).await;
    }
    let answered = admit(&app, request, &key, next).await;
    answered.unwrap_or_else(|refused| Refusal(refused).into_response())
}

/// Everything that a request says: method, path with query, and body.
fn digest(parts: &Parts, body: &[u8]) -> Sha256 {
    let mut said = format!("{} {}\0", parts.method, parts.uri).into_bytes();
    said.extend_from_slice(body);
    Sha256::of(&said)
}

async fn admit(app: &App, request: Request, key: &HeaderValue, next: Next) -> AppResult<Response> {
    let (mut parts, body) = request.into_parts();
    let caller = authenticate(&parts, app).await?;
    if caller.owes_password() {
        // Somebody else knows the password: what was answered before is not for whoever this is.
        parts.extensions.insert(Known(caller));
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let ingests = parts.uri.path().contains("/discovery/ingest");
    let limit = if ingests { INGEST_BODY_BYTES_MAX } else { BODY_BYTES_MAX };
    let arrived = tokio::time::timeout(super::extract::BODY_TIMEOUT, to_bytes(body, limit)).await;
    let late = |_| AppError::because(Code::Malformed, "the body did not arrive in time");
    let body = arrived.map_err(late)?.map_err(|_| AppError::new(Code::TooLarge))?;
    let key = key.to_str().unwrap_or_default();
    let claim = match app.claim_write(&caller, key, digest(&parts, &body)).await? {
        Admitted::Run(claim) => claim,
        Admitted::Repeat(kept) => return Ok(again(&kept)),
    };
    parts.extensions.insert(Known(caller));
    let request = Request::from_parts(parts, Body::from(body));
    let (app, span) = (app.clone(), tracing::Span::current());
    // Whoever asked may go away meanwhile: what was begun ends, and its answer waits.
    let run = trace::carried(async move {
        let response = app.under_claim(&claim, next.run(request)).await;
        let (response, ended) = judged(response).await;
        app.settle_write(&claim, ended).await;
        response
    });
    tokio::spawn(run.instrument(span)).await.map_err(AppError::internal)
}

/// A repeated answer.
fn again(kept: &KeptAnswer) -> Response {
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let mut response = (status, kept.body().unwrap_or_default()).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    if let Some(Ok(media_type)) = kept.content_type.as_deref().map(HeaderValue::from_str) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// How a write ended, as its answer tells.
async fn judged(response: Response) -> (Response, Ended) {
    let status = response.status();
    if !status.is_success() {
        let ended = if status.is_server_error() { Ended::Failed } else { Ended::Refused };
        return (response, ended);
    }
    let small = length(&response).is_some_and(|bytes| bytes <= IDEMPOTENT_ANSWER_BYTES_MAX);
    // A session that begins is for whoever began it.
    if !small || response.headers().contains_key(header::SET_COOKIE) {
        return (response, Ended::Unrepeatable);
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, IDEMPOTENT_ANSWER_BYTES_MAX).await else {
        let error = AppError::internal("the body of an answer broke off");
        return (Refusal(error).into_response(), Ended::Unrepeatable);
    };
    let media_type = parts.headers.get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let kept = KeptAnswer::new(status.as_u16(), media_type, &body);
    (Response::from_parts(parts, Body::from(body)), Ended::Answered(kept))
}

/// The length of an answer, where it is known before it is read.
fn length(response: &Response) -> Option<usize> {
    response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok())
}
