//! The lines of an export, as they are written and verified.

use argosy_wire::{
    bytes::{Bytes32, Fixed, encode},
    rest::{
        audit::{
            EXPORT_FORMAT, ExportEnd, ExportHeader, ExportLine, ExportedCheckpoint, ExportedEntry,
        },
        enrolment::SignedJson,
    },
    succession::Cosigned,
};

use argosy_store::{CheckpointRow, SealedRow};

use super::chain::{AuditExport, ExportPart};

impl AuditExport {
    /// The first line.
    pub fn header(&self) -> ExportLine {
        let keyring = self.app().keyring();
        ExportLine::Header(ExportHeader {
            format: EXPORT_FORMAT.to_owned(),
            server: keyring.thumbprint(),
            identity_key: keyring.identity_public(),
            org: self.org().to_string(),
            exported_at: self.app().now().to_string(),
            successors: keyring.successors().iter().map(Cosigned::to_json).collect(),
        })
    }

    /// The last line.
    pub fn end_line(&self) -> ExportLine {
        ExportLine::End(ExportEnd { position: self.end() })
    }
}

impl ExportPart {
    /// Entries in order, each checkpoint after the entry that it names.
    pub fn into_lines(self) -> Vec<ExportLine> {
        let mut checkpoints = self.checkpoints.into_iter().peekable();
        let mut lines = Vec::new();
        for sealed in self.entries {
            let position = sealed.head.position;
            lines.push(entry(&sealed));
            while let Some(row) = checkpoints.next_if(|row| row.position <= position) {
                lines.push(checkpoint(&row));
            }
        }
        lines
    }
}

fn entry(sealed: &SealedRow) -> ExportLine {
    let link: Bytes32 = Fixed(sealed.head.link.0);
    let (position, entry) = (sealed.head.position, sealed.entry.chained());
    ExportLine::Entry(ExportedEntry { position, link, entry })
}

fn checkpoint(row: &CheckpointRow) -> ExportLine {
    let signed = |payload: &[u8], signature: &[u8]| SignedJson {
        payload: encode(payload),
        signature: encode(signature),
    };
    ExportLine::Checkpoint(ExportedCheckpoint {
        checkpoint: signed(&row.checkpoint.payload, &row.checkpoint.signature),
        certificate: signed(&row.certificate.payload, &row.certificate.signature),
    })
}
