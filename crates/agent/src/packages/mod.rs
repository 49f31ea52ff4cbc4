//! Packages of the operating system, installed on this host: `updates.install`.
//!
//! The agent runs without privileges. What changes the host is done by a helper: this program once
//! more, started by root's systemd for one request on its standard input (`argosy-agent
//! package-helper`). The agent hands it the command as the server signed it, and the helper decides
//! anew: signature under the pin in root's own file, agent, time, root's policy, and whether it has
//! seen the command before. An agent that is root itself may take the same way within its own process,
//! where the policy says so.
//!
//! *Invariant:* a command is begun once, whoever brings it how often; what it did is answered again.
//! No shell, no word of a command but names, architectures and versions of packages, and those only
//! where no program can read them as anything else. Nothing here listens.

mod apt;
mod carry;
pub mod client;
pub mod helper;
mod ledger;
mod order;
pub mod settings;

use argosy_wire::{bytes::Bytes32, rest::updates::InstallReport, sign::Signed};
use serde::{Deserialize, Serialize};

pub use carry::carry_out;

use crate::{credentials::signed, engine::RunOutcome};

/// Bytes of a request.
const REQUEST_BYTES_MAX: u64 = 1024 * 1024;

/// A command as the server signed it, with what is needed to verify it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedOrder {
    /// The command statement.
    #[serde(with = "signed")]
    pub envelope: Signed,
    /// The certificate of the key that signed it.
    #[serde(with = "signed")]
    pub certificate: Signed,
    /// The raw identity key that signed the certificate.
    pub server_key: Bytes32,
}

/// What the helper is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The order.
    pub order: SignedOrder,
    /// Its parameters: text, byte for byte as they are signed.
    pub params: String,
}

/// What the helper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// It was done, or tried in a dry run.
    Done(InstallReport),
    /// It was begun, and it did not work.
    Failed(Fault, String),
    /// Nothing was begun, and nothing will be.
    Refused(Refusal, String),
}

/// Why it did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Other packages would be upgraded too.
    NeedsOthers,
    /// Packages would be installed that are not there yet.
    NeedsNew,
    /// A package would be removed.
    WouldRemove,
    /// The package manager failed.
    PackageManager,
    /// The package manager did not end in time.
    TimedOut,
    /// Some packages are not in the version that was asked for.
    NotInstalled,
    /// The helper ended while it was under way.
    Interrupted,
    /// The host has no package manager that can be used.
    NoPackageManager,
    /// Another helper works; ask again.
    Busy,
    /// The helper cannot be reached, or its files cannot be used.
    Helper,
}

/// Why nothing was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It is not the pinned server's word to this agent.
    Untrusted,
    /// Its time is over.
    Expired,
    /// The host's policy.
    RefusedByPolicy,
    /// It is no request.
    InvalidRequest,
}

impl Fault {
    fn as_str(self) -> &'static str {
        match self {
            Self::NeedsOthers => "needs_others",
            Self::NeedsNew => "needs_new",
            Self::WouldRemove => "would_remove",
            Self::PackageManager => "package_manager",
            Self::TimedOut => "timed_out",
            Self::NotInstalled => "not_installed",
            Self::Interrupted => "interrupted",
            Self::NoPackageManager => "no_package_manager",
            Self::Busy => "busy",
            Self::Helper => "package_helper",
        }
    }
}

impl Refusal {
    fn as_str(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Expired => "expired",
            Self::RefusedByPolicy => "refused_by_policy",
            Self::InvalidRequest => "invalid_request",
        }
    }
}

impl From<Answer> for RunOutcome {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done(report) => {
                // Plain values always serialise.
                Self::Succeeded { report: serde_json::to_vec(&report).unwrap_or_default() }
            }
            Answer::Failed(Fault::TimedOut, error) => Self::TimedOut { error },
            Answer::Failed(fault, error) => Self::Failed { code: fault.as_str(), error },
            Answer::Refused(refusal, error) => Self::Rejected { code: refusal.as_str(), error },
        }
    }
}
