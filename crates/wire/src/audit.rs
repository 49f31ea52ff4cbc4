//! Checks an exported audit log, line by line, trusting nothing but a pin.
//!
//! *Invariant:* an export that passes has every entry from position 1 to its end, unchanged and in
//! order, and its end is covered by a checkpoint of the pinned server. That its end is the newest
//! there ever was, no file can show: [`AuditVerifier::expect`] compares with an earlier one.

use std::collections::BTreeMap;

use argosy_domain::{
    chain::{BrokenChain, ChainHead, ChainPosition, ChainWalk},
    digest::Sha256,
    id::OrgId,
};

use crate::{
    bytes::{Bytes32, InvalidBytes, decode},
    rest::{
        audit::{EXPORT_FORMAT, ExportHeader, ExportLine, ExportedCheckpoint},
        enrolment::SignedJson,
    },
    sign::{InvalidSigned, Signed, read, thumbprint},
    statement::{AuditCheckpoint, KeyCertificate, Successor},
    succession::{Cosigned, follow},
};

/// Length of one line at most.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// The use that certificates of audit keys name.
pub const AUDIT_KEY_USE: &str = "audit";

/// Why an export was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct InvalidExport {
    /// The line, from 1.
    pub line: u64,
    /// The reason.
    pub reason: Reason,
}

impl InvalidExport {
    /// The position in the chain that is blamed, where one is.
    pub fn position(&self) -> Option<ChainPosition> {
        match &self.reason {
            Reason::Chain(broken) => Some(broken.position()),
            Reason::Checkpoint { position }
            | Reason::Rewritten { position }
            | Reason::Shorter { position }
            | Reason::Unsigned { position } => Some(*position),
            Reason::Malformed(_)
            | Reason::HeaderMissing
            | Reason::HeaderTwice
            | Reason::Format
            | Reason::Identity
            | Reason::Succession
            | Reason::Pin { .. }
            | Reason::Signature { .. }
            | Reason::Certificate(_)
            | Reason::AfterEnd
            | Reason::CutOff => None,
        }
    }
}

/// What is wrong with an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not a line of an export.
    #[error("not a line of an audit export: {0}")]
    Malformed(String),
    /// Something stands before the header.
    #[error("an export begins with its header")]
    HeaderMissing,
    /// A second header.
    #[error("a second header")]
    HeaderTwice,
    /// Another format, or another version of it.
    #[error("not in the format {EXPORT_FORMAT}")]
    Format,
    /// The header's identity key is not the one that its thumbprint names.
    #[error("the identity key does not have the thumbprint that the header names")]
    Identity,
    /// The header's successions do not lead to its identity.
    #[error("the successions in the header do not lead to its identity")]
    Succession,
    /// The export is of another server than the pinned one.
    #[error("the export is of the server {found}, not of the pinned one")]
    Pin {
        /// Thumbprint in the header.
        found: Bytes32,
    },
    /// The chain is broken.
    #[error(transparent)]
    Chain(#[from] BrokenChain),
    /// Bytes that nobody signed, or not so.
    #[error("{what}: {cause}")]
    Signature {
        /// Which signed thing.
        what: &'static str,
        /// Why.
        cause: InvalidSigned,
    },
    /// The certificate is not one for this checkpoint.
    #[error("the certificate of the audit key {0}")]
    Certificate(&'static str),
    /// The checkpoint speaks of another chain, or of this one as it is not.
    #[error("the checkpoint at position {position} does not fit the chain")]
    Checkpoint {
        /// As it says itself.
        position: ChainPosition,
    },
    /// An earlier export had other entries up to there.
    #[error("up to position {position} the log is not the one that was exported before")]
    Rewritten {
        /// Where the two are compared.
        position: ChainPosition,
    },
    /// An earlier export went further.
    #[error("the log ends before position {position}, which an earlier export had")]
    Shorter {
        /// How far that went.
        position: ChainPosition,
    },
    /// The last entries are not covered by any checkpoint.
    #[error("no checkpoint covers the entries from position {position} on")]
    Unsigned {
        /// The first of them.
        position: ChainPosition,
    },
    /// Something stands after the end.
    #[error("something stands after the end")]
    AfterEnd,
    /// The end is missing.
    #[error("the export is cut off: its end is missing")]
    CutOff,
}

/// What an export proved to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedExport {
    /// Thumbprint of the server that signed.
    pub server: Bytes32,
    /// Whose log.
    pub org: OrgId,
    /// How far it goes.
    pub head: ChainHead,
    /// How many checkpoints it holds.
    pub checkpoints: u64,
    /// The last of them; none in an empty log.
    pub last_checkpoint: Option<AuditCheckpoint>,
}

struct Log {
    header: ExportHeader,
    /// The header's identity key and those that it succeeded.
    identities: Vec<Bytes32>,
    walk: ChainWalk,
    org: OrgId,
    checkpoints: u64,
    last: Option<AuditCheckpoint>,
}

/// Reads an export line by line.
#[derive(Default)]
pub struct AuditVerifier {
    pin: Option<Bytes32>,
    expected: BTreeMap<ChainPosition, Bytes32>,
    line: u64,
    log: Option<Log>,
    ended: bool,
}

impl AuditVerifier {
    /// A verifier that accepts the pinned server only; without a pin it accepts any, and the
    /// reader compares the thumbprint.
    pub fn new(pin: Option<Bytes32>) -> Self {
        Self { pin, ..Self::default() }
    }

    /// The log must have this link at this position: an earlier export had it.
    pub fn expect(&mut self, position: ChainPosition, link: Bytes32) {
        self.expected.insert(position, link);
    }

    /// Takes the next line.
    pub fn line(&mut self, text: &str) -> Result<(), InvalidExport> {
        self.line += 1;
        let taken = self.take(text);
        taken.map_err(|reason| self.refuse(reason))
    }

    /// After the last line.
    pub fn finish(mut self) -> Result<VerifiedExport, InvalidExport> {
        let Some(log) = self.log.take().filter(|_| self.ended) else {
            return Err(self.refuse(Reason::CutOff));
        };
        Ok(VerifiedExport {
            server: log.header.server,
            org: log.org,
            head: log.walk.head(),
            checkpoints: log.checkpoints,
            last_checkpoint: log.last,
        })
    }

    fn refuse(&self, reason: Reason) -> InvalidExport {
        InvalidExport { line: self.line, reason }
    }

    fn take(&mut self, text: &str) -> Result<(), Reason> {
        let line: ExportLine =
            serde_json::from_str(text).map_err(|error| Reason::Malformed(error.to_string()))?;
        if self.ended {
            return Err(Reason::AfterEnd);
        }
        let Some(log) = &mut self.log else {
            let ExportLine::Header(header) = line else { return Err(Reason::HeaderMissing) };
            self.log = Some(Log::begin(header, self.pin.as_ref())?);
            return Ok(());
        };
        match line {
            ExportLine::Header(_) => Err(Reason::HeaderTwice),
            ExportLine::Entry(entry) => {
                log.walk.accept(entry.position, Sha256(entry.link.0), &entry.entry)?;
                match self.expected.remove(&entry.position) {
                    Some(link) if link != entry.link => {
                        Err(Reason::Rewritten { position: entry.position })
                    }
                    Some(_) | None => Ok(()),
                }
            }
            ExportLine::Checkpoint(checkpoint) => log.checkpoint(&checkpoint),
            ExportLine::End(end) => {
                log.end(end.position)?;
                if let Some((position, _)) = self.expected.pop_first() {
                    return Err(Reason::Shorter { position });
                }
                self.ended = true;
                Ok(())
            }
        }
    }
}

impl Log {
    fn begin(header: ExportHeader, pin: Option<&Bytes32>) -> Result<Self, Reason> {
        if header.format != EXPORT_FORMAT {
            return Err(Reason::Format);
        }
        if thumbprint(&header.identity_key) != header.server {
            return Err(Reason::Identity);
        }
        let identities = identities(&header)?;
        if pin.is_some_and(|pin| identities.iter().all(|key| thumbprint(key) != *pin)) {
            return Err(Reason::Pin { found: header.server });
        }
        let org: OrgId = header
            .org
            .parse()
            .map_err(|_| Reason::Malformed("org is no organisation".to_owned()))?;
        let walk = ChainWalk::new(org.clone());
        Ok(Self { header, identities, walk, org, checkpoints: 0, last: None })
    }

    fn checkpoint(&mut self, line: &ExportedCheckpoint) -> Result<(), Reason> {
        let what = "the certificate of the audit key";
        let certified = signed(&line.certificate)?;
        let failed = |cause| Reason::Signature { what, cause };
        let named: KeyCertificate = read(&certified.payload).map_err(failed)?;
        let identity = self
            .identities
            .iter()
            .find(|key| thumbprint(key) == named.server)
            .ok_or(Reason::Certificate("is of another server"))?;
        let certificate: KeyCertificate = certified.verify(identity).map_err(failed)?;
        if certificate.usage != AUDIT_KEY_USE {
            return Err(Reason::Certificate("is for another use"));
        }
        let what = "the checkpoint";
        let checkpoint: AuditCheckpoint = signed(&line.checkpoint)?
            .verify(&certificate.public_key)
            .map_err(|cause| Reason::Signature { what, cause })?;
        if checkpoint.time < certificate.not_before || checkpoint.time >= certificate.not_after {
            return Err(Reason::Certificate("was not valid when it signed"));
        }
        let head = self.walk.head();
        let fits = checkpoint.server == certificate.server
            && checkpoint.org == self.org
            && checkpoint.position == head.position
            && checkpoint.link.0 == head.link.0;
        if !fits {
            return Err(Reason::Checkpoint { position: checkpoint.position });
        }
        self.checkpoints += 1;
        self.last = Some(checkpoint);
        Ok(())
    }

    fn end(&self, position: ChainPosition) -> Result<(), Reason> {
        self.walk.end(position)?;
        let signed = self.last.as_ref().map_or(ChainPosition::default(), |last| last.position);
        if signed < position { Err(Reason::Unsigned { position: signed.next() }) } else { Ok(()) }
    }
}

/// The identity of the header and those from which its successions lead to it: each vouched for the
/// one before by its own signature.
fn identities(header: &ExportHeader) -> Result<Vec<Bytes32>, Reason> {
    let links = header.successors.iter().map(Cosigned::try_from);
    let links: Vec<Cosigned> = links.collect::<Result<_, _>>().map_err(malformed)?;
    let Some(first) = links.first() else { return Ok(vec![header.identity_key]) };
    let first: Successor = first.verify().map_err(|_| Reason::Succession)?;
    let heirs = follow(&first.server, 0, &links).map_err(|_| Reason::Succession)?;
    if heirs.last().is_none_or(|heir| heir.key != header.identity_key) {
        return Err(Reason::Succession);
    }
    let keys = heirs.iter().map(|heir| heir.key);
    Ok(std::iter::once(first.identity_key).chain(keys).collect())
}

fn malformed(error: InvalidBytes) -> Reason {
    Reason::Malformed(error.to_string())
}

fn signed(json: &SignedJson) -> Result<Signed, Reason> {
    Ok(Signed {
        payload: decode(&json.payload).map_err(malformed)?,
        signature: json.signature.parse().map_err(malformed)?,
    })
}
