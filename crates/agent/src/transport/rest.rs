//! REST calls: a JSON body out, a JSON body or a problem document back.
//!
//! *Invariant:* an answer is read up to a limit, and one without a problem code did not come from an
//! Argosy server, whatever its status says.

use std::time::Duration;

use argosy_wire::problem::{Code, Problem};
use http::{HeaderMap, header::RETRY_AFTER};
use serde::de::DeserializeOwned;

use super::{CONNECT_TIMEOUT, CallError, FetchError, Link, call_error::RETRY_AFTER_MAX};

/// The largest answer: commands of 1 MiB in base64, and what goes with them.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An answer that came, whatever it says.
pub(super) struct RestAnswer<A> {
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// What it says.
    pub(super) said: Result<A, CallError>,
}

impl Link {
    /// `POST` of a JSON body. Fails where no answer came within `patience`.
    pub(super) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<RestAnswer<A>, CallError> {
        let gone = |error: reqwest::Error| CallError::Unreachable {
            message: cause(&error.without_url()),
            retry_after: None,
        };
        let call = self.http()?.post(format!("{}{path}", self.url.origin()));
        let call = call.headers(headers).header("content-type", "application/json").body(body);
        let mut answer = call.timeout(patience).send().await.map_err(gone)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(gone)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(CallError::Protocol("more than fits an answer"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let said = if status.is_success() {
            // A page of something on the way, most likely.
            serde_json::from_slice(&bytes).map_err(|_| CallError::Unreachable {
                message: "something on the way answered in the server's place".into(),
                retry_after: None,
            })
        } else {
            Err(refusal(status.as_u16(), &headers, &bytes))
        };
        Ok(RestAnswer { headers, said })
    }

    fn http(&self) -> Result<reqwest::Client, CallError> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if let Some(tls) = &self.tls {
            builder = builder.tls_backend_preconfigured(tls.as_ref().clone());
        }
        let origin = self.url.origin().to_owned();
        let unusable = |source| CallError::from(FetchError::Unreachable { origin, source });
        let client = builder.build().map_err(unusable)?;
        Ok(self.http.get_or_init(|| client).clone())
    }
}

fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> CallError {
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let code =
        |problem: &Problem| Code::ALL.iter().find(|code| code.as_str() == problem.code).copied();
    match problem.and_then(|problem| Some((code(&problem)?, problem.detail))) {
        Some((code, message)) => CallError::Refused { code, message, retry_after },
        None => CallError::Unreachable {
            message: format!("something on the way answered {status}"),
            retry_after,
        },
    }
}

/// The innermost cause, which is what people can act upon.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_a_problem_of_the_server_is_a_refusal() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let problem = br#"{"type":"t","title":"t","status":429,"detail":"slow down","error":"e",
            "code":"rate_limited","trace_id":"x"}"#;
        let refused = refusal(429, &headers, problem);
        assert_eq!(refused.code(), Some(Code::RateLimited));
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(7)));
        for page in [&b"<html>no</html>"[..], b"{}", br#"{"code":"teapot"}"#] {
            let refused = refusal(401, &headers, page);
            assert!(matches!(refused, CallError::Unreachable { .. }), "{refused:?}");
        }
    }
}
