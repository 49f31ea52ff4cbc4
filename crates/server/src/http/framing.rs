//! Where one request ends and the next begins (RFC 9112, section 6): no room for two opinions.
//!
//! *Invariant:* after a request with a transfer coding nothing else on its connection is served. A proxy
//! in front that went by the length instead, where both were given, has nothing to smuggle.

use argosy_wire::problem::Code;
use axum::{
    extract::Request,
    http::{HeaderValue, Version, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::answer::Refusal;
use crate::app::error::AppError;

/// Refuses a request that shows both framings, and ends the connection after one with a transfer coding:
/// where the length came second, it is not shown.
pub(super) async fn plain(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let coded =
        request.version() < Version::HTTP_2 && headers.contains_key(header::TRANSFER_ENCODING);
    if !coded {
        return next.run(request).await;
    }
    let mut response = if headers.contains_key(header::CONTENT_LENGTH) {
        let detail = "a body has a length or a transfer coding, not both";
        Refusal(AppError::because(Code::Malformed, detail)).into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
