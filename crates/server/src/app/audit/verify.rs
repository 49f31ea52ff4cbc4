//! The audit log verified where it is kept, for whoever looks at it there.
//!
//! *Invariant:* what is verified is what an export would hold, by the code that verifies exports.

use argosy_domain::{access::Caller, chain::ChainPosition};
use argosy_wire::{
    audit::{AuditVerifier, InvalidExport, VerifiedExport},
    rest::audit::ExportLine,
};

use crate::app::{
    App,
    error::{AppError, AppResult},
};

/// Entries that are verified while somebody waits.
pub const VERIFIED_MAX: u64 = 100_000;

/// What came of verifying.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Every entry is there, unchanged, and covered by a signature.
    Whole(VerifiedExport),
    /// It is not.
    Broken(InvalidExport),
    /// It has more entries than are verified here; how many.
    TooLong(ChainPosition),
}

fn take(
    verifier: &mut AuditVerifier,
    lines: &[ExportLine],
) -> AppResult<Result<(), InvalidExport>> {
    for line in lines {
        let text = serde_json::to_string(line).map_err(AppError::internal)?;
        if let Err(broken) = verifier.line(&text) {
            return Ok(Err(broken));
        }
    }
    Ok(Ok(()))
}

impl App {
    /// Verifies the caller's audit log from its first entry to its last.
    pub async fn verify_audit(&self, caller: &Caller) -> AppResult<Verdict> {
        let mut export = self.export_audit(caller).await?;
        if export.end().0 > VERIFIED_MAX {
            return Ok(Verdict::TooLong(export.end()));
        }
        let mut verifier = AuditVerifier::new(Some(self.keyring().thumbprint()));
        let mut lines = vec![export.header()];
        let mut more = true;
        while more {
            if let Err(broken) = take(&mut verifier, &lines)? {
                return Ok(Verdict::Broken(broken));
            }
            let part = export.next().await?;
            more = part.is_some();
            lines = part.map_or_else(|| vec![export.end_line()], |part| part.into_lines());
        }
        if let Err(broken) = take(&mut verifier, &lines)? {
            return Ok(Verdict::Broken(broken));
        }
        Ok(verifier.finish().map_or_else(Verdict::Broken, Verdict::Whole))
    }
}
