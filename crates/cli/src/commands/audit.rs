//! `argosy audit export|verify`: the log with its chain and signatures, checked without trusting
//! the server that hands it over.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, BufWriter},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use argosy_wire::{
    audit::{AuditVerifier, LINE_BYTES_MAX, VerifiedExport},
    bytes::Bytes32,
};
use serde_json::{Value, json};

use super::Context;
use crate::{
    args::Verify,
    client::Client,
    error::CliError,
    output::{Printer, clean},
};

const EXPORT: &str = "/api/v1/audit/export";

/// Cuts what arrives into lines and checks each.
struct Lines {
    verifier: AuditVerifier,
    rest: Vec<u8>,
}

impl Lines {
    fn new(verifier: AuditVerifier) -> Self {
        Self { verifier, rest: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.rest.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(length) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
            self.line(from, from + length)?;
            from += length + 1;
        }
        self.rest.drain(..from);
        if self.rest.len() > LINE_BYTES_MAX {
            return Err(CliError::Audit("a line is longer than any of an audit export".into()));
        }
        Ok(())
    }

    fn line(&mut self, from: usize, to: usize) -> Result<(), CliError> {
        let text = std::str::from_utf8(&self.rest[from..to])
            .map_err(|_| CliError::Audit("a line is not valid UTF-8".into()))?;
        self.verifier.line(text).map_err(|error| CliError::Audit(error.to_string()))
    }

    fn finish(mut self) -> Result<VerifiedExport, CliError> {
        if !self.rest.is_empty() {
            self.line(0, self.rest.len())?;
        }
        self.verifier.finish().map_err(|error| CliError::Audit(error.to_string()))
    }
}

fn read_file(path: &Path, verifier: AuditVerifier) -> Result<VerifiedExport, CliError> {
    let failed = |error: io::Error| CliError::file(path, error);
    let mut reader = BufReader::new(fs::File::open(path).map_err(failed)?);
    let mut lines = Lines::new(verifier);
    loop {
        let bytes = reader.fill_buf().map_err(failed)?;
        if bytes.is_empty() {
            return lines.finish();
        }
        let length = bytes.len();
        lines.take(bytes)?;
        reader.consume(length);
    }
}

impl Verify {
    fn pin(&self) -> Result<Option<Bytes32>, CliError> {
        self.pin.as_deref().map(str::parse).transpose().map_err(|error| {
            let hint = "`argosy status` on a trusted host and the agents' token strings show it";
            CliError::usage(format!("--pin {error}"), hint)
        })
    }

    /// A verifier that knows the pin, and what an earlier export was signed for.
    fn verifier(&self) -> Result<AuditVerifier, CliError> {
        let pin = self.pin()?;
        let mut verifier = AuditVerifier::new(pin);
        let Some(path) = &self.against else { return Ok(verifier) };
        let earlier = read_file(path, AuditVerifier::new(pin))?;
        if earlier.head.position.0 > 0 {
            verifier.expect(earlier.head.position, argosy_wire::bytes::Fixed(earlier.head.link.0));
        }
        Ok(verifier)
    }
}

/// Checks a file; no server is asked.
pub fn verify_file(printer: &Printer, path: &Path, options: &Verify) -> Result<(), CliError> {
    let verified = read_file(path, options.verifier()?)?;
    tell(printer, &verified, options.pin.is_some())
}

/// Checks the server's own log as it arrives.
pub async fn verify_server(context: &Context<'_>, options: &Verify) -> Result<(), CliError> {
    let mut lines = Lines::new(options.verifier()?);
    context.client.download(EXPORT, &[], |bytes| lines.take(bytes)).await?;
    tell(&context.printer, &lines.finish()?, options.pin.is_some())
}

/// Writes the log to a file of the owner's alone, whole or not at all.
pub async fn export(context: &Context<'_>, path: &Path) -> Result<(), CliError> {
    let failed = |error: io::Error| CliError::file(path, error);
    if path.exists() {
        return Err(CliError::usage(
            format!("{} exists already", path.display()),
            "name another file: an export is evidence and is not overwritten",
        ));
    }
    let mut scratch = path.as_os_str().to_owned();
    scratch.push(".part");
    let scratch = PathBuf::from(scratch);
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let mut writer = BufWriter::new(file.open(&scratch).map_err(failed)?);
    let written = write_export(&context.client, &mut writer, path).await;
    let verdict = match written {
        Ok(verdict) => verdict,
        Err(error) => {
            drop(fs::remove_file(&scratch));
            return Err(error);
        }
    };
    let durable = writer.into_inner().map_err(io::IntoInnerError::into_error);
    durable.and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(&scratch, path).map_err(failed)?;
    // The file stays even when it does not verify: then it is evidence.
    tell(&context.printer, &verdict?, false)?;
    context.printer.note(&format!("written to {}", path.display()));
    Ok(())
}

/// Writes what arrives, and checks it on the way. The inner result is the verdict; the outer one
/// whether the file is whole.
async fn write_export(
    client: &Client,
    writer: &mut impl io::Write,
    path: &Path,
) -> Result<Result<VerifiedExport, CliError>, CliError> {
    let mut lines = Lines::new(AuditVerifier::new(None));
    let mut verdict = Ok(());
    client
        .download(EXPORT, &[], |bytes| {
            if verdict.is_ok() {
                verdict = lines.take(bytes);
            }
            writer.write_all(bytes).map_err(|error| CliError::file(path, error))
        })
        .await?;
    Ok(verdict.and_then(|()| lines.finish()))
}

fn tell(printer: &Printer, verified: &VerifiedExport, pinned: bool) -> Result<(), CliError> {
    let signed = verified.last_checkpoint.as_ref();
    let value: Value = json!({
        "server": verified.server,
        "pinned": pinned,
        "org": verified.org.as_str(),
        "entries": verified.head.position,
        "link": argosy_wire::bytes::encode(&verified.head.link.0),
        "checkpoints": verified.checkpoints,
        "signed_at": signed.map(|checkpoint| checkpoint.time),
    });
    printer.show(&value, |_| {
        let compare = if pinned { "" } else { "  (not pinned: compare it, or give --pin)" };
        let signed = signed.map_or("never: there are no entries".to_owned(), |checkpoint| {
            format!("up to position {} at {}", checkpoint.position, checkpoint.time)
        });
        format!(
            "The audit log is whole: {} entries, {} checkpoints.\n\n  organisation  {}\n  \
             server        {}{compare}\n  signed        {signed}",
            verified.head.position,
            verified.checkpoints,
            clean(verified.org.as_str()),
            verified.server,
        )
    })
}
