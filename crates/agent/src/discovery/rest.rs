//! Calls of JSON interfaces, made again where a cloud asks for patience.
//!
//! *Invariant:* a call goes to the address that it names and nowhere else: redirects are not
//! followed. Nothing of what it carried is logged.

use std::{sync::Arc, time::Duration};

use reqwest::{RequestBuilder, header::RETRY_AFTER};
use serde_json::Value;

use super::Failure;
use crate::{backoff::Backoff, deps::Deps, error::with_causes};

/// An answer.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Attempts for one call.
pub(super) const ATTEMPTS: u32 = 8;
/// The longest first pause between them, and the longest of all.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// A longer pause that is asked for is cut short: the next run comes by itself.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What makes calls.
pub(super) struct Rest {
    http: reqwest::Client,
    deps: Deps,
}

/// How a call is made.
#[derive(Clone, Copy)]
pub(super) struct Manner<'a> {
    /// What it is called, for whoever reads why it failed.
    pub(super) call: &'a str,
    /// How often it is made at most.
    pub(super) attempts: u32,
    /// Whether the same call may get another answer in a moment.
    pub(super) passes: fn(&Answer) -> bool,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// The body.
    pub(super) text: String,
}

impl Answer {
    /// Whether it is what was asked for.
    pub(super) fn is_good(&self) -> bool {
        (200..=299).contains(&self.status)
    }

    /// The body, if it is JSON; null otherwise.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Whether whoever answers has too much to do.
    pub(super) fn asks_for_patience(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504)
    }
}

impl<'a> Manner<'a> {
    /// A call that is made again where an answer asks for patience.
    pub(super) fn patient(call: &'a str) -> Self {
        Self { call, attempts: ATTEMPTS, passes: Answer::asks_for_patience }
    }

    /// The call failed, and why.
    pub(super) fn failed(&self, why: impl std::fmt::Display) -> Failure {
        Failure { error: why.to_string(), call: Some(self.call.to_owned()), permission: None }
    }
}

impl Rest {
    /// Calls over the network, through the host's proxy if it has one.
    pub(super) fn new(deps: Deps) -> Result<Self, Failure> {
        Self::built(reqwest::Client::builder(), deps)
    }

    /// Calls of what is on this host or beside it, past every proxy.
    pub(super) fn nearby(deps: Deps) -> Result<Self, Failure> {
        Self::built(reqwest::Client::builder().no_proxy(), deps)
    }

    fn built(builder: reqwest::ClientBuilder, deps: Deps) -> Result<Self, Failure> {
        let http = builder
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|why| Failure { error: with_causes(&why), call: None, permission: None })?;
        Ok(Self { http, deps })
    }

    /// What it was given.
    pub(super) fn deps(&self) -> &Deps {
        &self.deps
    }

    /// The answer to a call, whatever it says, once it is none that passes.
    pub(super) async fn ask(
        &self,
        manner: Manner<'_>,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Answer, Failure> {
        let entropy = Arc::clone(&self.deps.entropy);
        let (mut attempt, mut backoff) = (0, Backoff::between(entropy, PAUSE_MIN, PAUSE_MAX));
        loop {
            attempt += 1;
            let over = attempt >= manner.attempts;
            let (why, wait) = match self.attempt(manner, request(&self.http)).await {
                Ok((answer, _)) if over || !(manner.passes)(&answer) => return Ok(answer),
                Ok((answer, wait)) => (answer.status.to_string(), wait),
                Err(failure) if over => return Err(failure),
                Err(failure) => (failure.error, None),
            };
            tracing::debug!(call = manner.call, attempt, why, "a cloud is asked again");
            tokio::time::sleep(backoff.next_delay_after(wait)).await;
        }
    }

    async fn attempt(
        &self,
        manner: Manner<'_>,
        request: RequestBuilder,
    ) -> Result<(Answer, Option<Duration>), Failure> {
        let gone = |why: reqwest::Error| manner.failed(with_causes(&why.without_url()));
        let mut answer = request.send().await.map_err(gone)?;
        let status = answer.status().as_u16();
        let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(gone)? {
            if bytes.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(manner.failed("the answer is too large"));
            }
            bytes.extend_from_slice(&part);
        }
        let text = String::from_utf8(bytes).map_err(|_| manner.failed("the answer is not text"))?;
        Ok((Answer { status, text }, wait.map(|wait| wait.min(RETRY_AFTER_MAX))))
    }
}
