//! Bodies of resources: compressed or not, one JSON value or lines of them.

use std::io::{BufRead, BufReader, Cursor, Read};

use argosy_domain::limits::{INGEST_EXPANDED_BYTES_MAX, INGEST_LINE_BYTES_MAX};
use argosy_wire::{
    problem::Code,
    rest::discovery::{Ingest, IngestOrg, IngestResource, Ingested},
};
use axum::{
    Json as Answered,
    body::Bytes,
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderName, header},
};
use serde::de::DeserializeOwned;

use super::{
    agents::next_nonce,
    answer::{Answer, Problems, Refusal},
    extract::{By, arrived_body, parse_json},
};
use crate::app::{
    App,
    discovery::{Delivery, IngestOutcome},
    error::{AppError, AppResult},
};

/// Media types of lines.
const LINES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];
/// What a compressed body may ask the decompressor to remember, as a power of two.
const WINDOW_LOG_MAX: u32 = 24;

/// A body as it arrived.
pub(super) struct Upload {
    bytes: Bytes,
    encoding: String,
    lines: bool,
}

fn said(request: &Request, name: &HeaderName) -> String {
    let value = request.headers().get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().trim().to_ascii_lowercase()
}

impl FromRequest<App> for Upload {
    type Rejection = Refusal;
    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let encoding = said(&request, &header::CONTENT_ENCODING);
        let media_type = said(&request, &header::CONTENT_TYPE);
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        let lines = LINES.contains(&essence);
        let bytes = arrived_body(request, app, &LINES).await?;
        Ok(Self { bytes, encoding, lines })
    }
}

impl Upload {
    /// What it says, expanded as it is read. It never gives more than the limit and a byte.
    fn expanded(self) -> AppResult<impl BufRead + Send> {
        let compressed = Cursor::new(self.bytes);
        let expanded: Box<dyn Read + Send> = match self.encoding.as_str() {
            "" | "identity" => Box::new(compressed),
            "gzip" | "x-gzip" => Box::new(flate2::bufread::MultiGzDecoder::new(compressed)),
            "zstd" => {
                let mut decoder =
                    zstd::Decoder::with_buffer(compressed).map_err(AppError::internal)?;
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(AppError::internal)?;
                Box::new(decoder)
            }
            _ => {
                let accepted = "Content-Encoding must be gzip, zstd or identity";
                return Err(AppError::because(Code::UnsupportedMediaType, accepted));
            }
        };
        let limit = u64::try_from(INGEST_EXPANDED_BYTES_MAX).unwrap_or(u64::MAX);
        Ok(BufReader::new(expanded.take(limit + 1)))
    }

    fn json<T: DeserializeOwned>(self) -> AppResult<T> {
        let mut text = Vec::new();
        self.expanded()?.read_to_end(&mut text).map_err(unreadable)?;
        if text.len() > INGEST_EXPANDED_BYTES_MAX {
            return Err(AppError::new(Code::TooLarge));
        }
        parse_json(&text)
    }
}

fn unreadable(error: std::io::Error) -> AppError {
    AppError::because(Code::Malformed, format!("the body cannot be expanded: {error}"))
}

/// Lines, one after the other.
struct Lines<R> {
    from: R,
    read: usize,
    number: usize,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The next line that is not empty.
    fn next(&mut self) -> AppResult<Option<&[u8]>> {
        loop {
            self.line.clear();
            let limit = u64::try_from(INGEST_LINE_BYTES_MAX).unwrap_or(u64::MAX);
            let mut bounded = (&mut self.from).take(limit + 1);
            let read = bounded.read_until(b'\n', &mut self.line).map_err(unreadable)?;
            self.read += read;
            self.number += 1;
            if read > INGEST_LINE_BYTES_MAX || self.read > INGEST_EXPANDED_BYTES_MAX {
                return Err(AppError::new(Code::TooLarge));
            }
            if read == 0 {
                return Ok(None);
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some(&self.line))
    }

    fn resource(&mut self) -> AppResult<Option<IngestResource>> {
        let Some(line) = self.next()? else { return Ok(None) };
        let resource = parse_json(line);
        let number = self.number;
        resource.map(Some).map_err(|error: AppError| AppError {
            detail: format!("line {number}: {}", error.detail),
            ..error
        })
    }
}

fn ingested(app: &App, outcome: IngestOutcome) -> (HeaderMap, Answered<Ingested>) {
    let answer = Ingested {
        job_id: outcome.job.to_string(),
        resources_found: outcome.counts.found(),
        resources_created: outcome.counts.created,
        resources_updated: outcome.counts.updated,
        resources_deleted: outcome.stale,
    };
    (next_nonce(app), Answered(answer))
}

/// Takes discovered resources: a whole run, or a chunk of one. They are durable when it is answered.
/// `Content-Encoding` may be gzip or zstd; `application/x-ndjson` is for large runs.
#[utoipa::path(
    post, path = "/discovery/ingest", tag = "discovery", request_body = Ingest,
    security(("api_key" = ["discovery:create"]), ("session" = [])),
    responses((status = 200, body = Ingested), Problems)
)]
pub(super) async fn ingest(
    State(app): State<App>,
    By(caller): By,
    upload: Upload,
) -> Answer<(HeaderMap, Answered<Ingested>)> {
    if !upload.lines {
        let outcome = app.ingest(&caller, Delivery::of_run(upload.json()?)?).await?;
        return Ok(ingested(&app, outcome));
    }
    let from = upload.expanded()?;
    let mut lines = Lines { from, read: 0, number: 0, line: Vec::new() };
    let envelope = match lines.next()? {
        Some(line) => parse_json::<Ingest>(line)?,
        None => return Err(Refusal(AppError::field("body", "is empty"))),
    };
    let next = move |most: usize| {
        let mut resources = Vec::new();
        while resources.len() < most
            && let Some(resource) = lines.resource()?
        {
            resources.push(resource);
        }
        Ok(resources)
    };
    let outcome = app.ingest_lines(&caller, Delivery::of_run(envelope)?, next).await?;
    Ok(ingested(&app, outcome))
}

/// Takes what was discovered in the accounts of a cloud organisation: a whole run, or a chunk of one.
/// Accounts `aws:<id>` that are not there are made, with a key that has `accounts:create` or by an
/// agent whose own account is of the provider `aws-org`.
#[utoipa::path(
    post, path = "/discovery/ingest/org", tag = "discovery", operation_id = "ingest_org",
    request_body = IngestOrg,
    security(("api_key" = ["discovery:create"]), ("session" = [])),
    responses((status = 200, body = Ingested), Problems)
)]
pub(super) async fn ingest_org(
    State(app): State<App>,
    By(caller): By,
    upload: Upload,
) -> Answer<(HeaderMap, Answered<Ingested>)> {
    let outcome = app.ingest(&caller, Delivery::of_organisation(upload.json()?)?).await?;
    Ok(ingested(&app, outcome))
}
