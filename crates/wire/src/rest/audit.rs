//! The export of the audit log: NDJSON, one [`ExportLine`] a line.
//!
//! A header, then the entries from position 1 in the order of their chain, each checkpoint after
//! the entry that it names, then an end. A file without its end was cut off.

use argosy_domain::chain::{ChainPosition, ChainedEntry};
use serde::{Deserialize, Serialize};

use super::enrolment::{CosignedJson, SignedJson};
use crate::bytes::Bytes32;

/// What the header calls the format.
pub const EXPORT_FORMAT: &str = "argosy-audit-export/1";
/// Media type of an export.
pub const EXPORT_MEDIA_TYPE: &str = "application/x-ndjson";

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExportLine {
    /// The first line.
    Header(ExportHeader),
    /// An entry with its place in the chain.
    Entry(ExportedEntry),
    /// The server's signed word for the chain as far as it has come.
    Checkpoint(ExportedCheckpoint),
    /// The last line.
    End(ExportEnd),
}

/// Whose log, from which server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportHeader {
    /// [`EXPORT_FORMAT`].
    pub format: String,
    /// Thumbprint of the server's identity key: what agents pin.
    pub server: Bytes32,
    /// Raw identity key; its SHA-256 is the thumbprint.
    pub identity_key: Bytes32,
    /// The organisation.
    pub org: String,
    /// When it was exported. Not signed.
    pub exported_at: String,
    /// How this identity came to be, oldest first: checkpoints of the identities before are signed
    /// under those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub successors: Vec<CosignedJson>,
}

/// An entry with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedEntry {
    /// From 1, without gaps.
    pub position: ChainPosition,
    /// SHA-256 of the link before and of the entry in canonical JSON.
    pub link: Bytes32,
    /// The entry as it is chained.
    pub entry: ChainedEntry,
}

/// A checkpoint and the certificate of the audit key that signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedCheckpoint {
    /// Purpose `audit-checkpoint`, signed by the audit key.
    pub checkpoint: SignedJson,
    /// Purpose `key-certificate`, signed by the identity key.
    pub certificate: SignedJson,
}

/// How far the export goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportEnd {
    /// Place of the last entry.
    pub position: ChainPosition,
}
