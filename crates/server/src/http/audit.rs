//! The export of the audit log, streamed part by part.

use std::io;

use argosy_wire::rest::audit::{EXPORT_MEDIA_TYPE, ExportLine};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::IntoResponse,
};
use futures::stream;

use super::{
    answer::{Answer, Problems},
    extract::By,
};
use crate::app::{App, audit::AuditExport, error::AppError};

/// Exports the audit log.
///
/// Newline-delimited JSON: a header, every entry from the first on with its position and link, the
/// signed checkpoints with the certificates of the keys that signed them, and an end. Entries that
/// are there when the call begins are chained and signed first. `docs/audit.md` says how to verify
/// it.
#[utoipa::path(
    get, path = "/audit/export", tag = "audit", security(("api_key" = ["audit:read"])),
    responses(
        (status = 200, body = String, content_type = "application/x-ndjson"),
        Problems
    )
)]
pub(super) async fn export(State(app): State<App>, By(caller): By) -> Answer<impl IntoResponse> {
    let export = app.export_audit(&caller).await?;
    let header = text(&[export.header()]).map_err(AppError::internal)?;
    let lines = stream::try_unfold(Step::Header(header, export), next);
    let headers = [
        (header::CONTENT_TYPE, EXPORT_MEDIA_TYPE),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"audit.ndjson\""),
    ];
    Ok((headers, Body::from_stream(lines)))
}

/// How far the answer is written.
enum Step {
    Header(Bytes, AuditExport),
    Parts(AuditExport),
    Over,
}

/// The next piece of the body. An error cuts the answer off before its end line, which is how its
/// reader knows.
async fn next(step: Step) -> io::Result<Option<(Bytes, Step)>> {
    match step {
        Step::Header(header, export) => Ok(Some((header, Step::Parts(export)))),
        Step::Parts(mut export) => match export.next().await.map_err(io::Error::other)? {
            Some(part) => Ok(Some((text(&part.into_lines())?, Step::Parts(export)))),
            None => Ok(Some((text(&[export.end_line()])?, Step::Over))),
        },
        Step::Over => Ok(None),
    }
}

fn text(lines: &[ExportLine]) -> io::Result<Bytes> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    Ok(text.into())
}
