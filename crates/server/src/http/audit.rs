//! The export of the audit log, streamed part by part.

use std::io;

use argosy_wire::{
    bytes::{Bytes32, Fixed, encode},
    rest::{
        audit::{
            EXPORT_FORMAT, EXPORT_MEDIA_TYPE, ExportEnd, ExportHeader, ExportLine,
            ExportedCheckpoint, ExportedEntry,
        },
        enrolment::SignedJson,
    },
    succession::Cosigned,
};
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
use crate::app::{
    App,
    audit::{AuditExport, ExportPart},
    error::AppError,
    records::{CheckpointRecord, SealedRecord},
};

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
    let header = text(&[header_line(&app, &export)]).map_err(AppError::internal)?;
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
            Some(part) => Ok(Some((text(&lines(part))?, Step::Parts(export)))),
            None => {
                let end = ExportLine::End(ExportEnd { position: export.end() });
                Ok(Some((text(&[end])?, Step::Over)))
            }
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

fn header_line(app: &App, export: &AuditExport) -> ExportLine {
    let keyring = app.keyring();
    ExportLine::Header(ExportHeader {
        format: EXPORT_FORMAT.to_owned(),
        server: keyring.thumbprint(),
        identity_key: keyring.identity_public(),
        org: export.org().to_string(),
        exported_at: app.now().to_string(),
        successors: keyring.successors().iter().map(Cosigned::to_json).collect(),
    })
}

/// Entries in order, each checkpoint after the entry that it names.
fn lines(part: ExportPart) -> Vec<ExportLine> {
    let mut checkpoints = part.checkpoints.into_iter().peekable();
    let mut lines = Vec::new();
    for sealed in part.entries {
        let position = sealed.head.position;
        lines.push(entry(&sealed));
        while let Some(row) = checkpoints.next_if(|row| row.position <= position) {
            lines.push(checkpoint(&row));
        }
    }
    lines
}

fn entry(sealed: &SealedRecord) -> ExportLine {
    let link: Bytes32 = Fixed(sealed.head.link.0);
    let (position, entry) = (sealed.head.position, sealed.entry.chained());
    ExportLine::Entry(ExportedEntry { position, link, entry })
}

fn checkpoint(row: &CheckpointRecord) -> ExportLine {
    let signed = |payload: &[u8], signature: &[u8]| SignedJson {
        payload: encode(payload),
        signature: encode(signature),
    };
    ExportLine::Checkpoint(ExportedCheckpoint {
        checkpoint: signed(&row.checkpoint.payload, &row.checkpoint.signature),
        certificate: signed(&row.certificate.payload, &row.certificate.signature),
    })
}
