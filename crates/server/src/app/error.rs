//! What a use case answers when it does not succeed.
//!
//! *Invariant:* `detail` is a sentence for the caller and never carries a secret or an internal
//! cause; causes are logged here, once, when they become an answer.

use argosy_store::StoreError;
use argosy_wire::problem::{Code, FieldProblem};

/// A refusal or a failure, as every transport shows it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct AppError {
    /// The stable code.
    pub code: Code,
    /// This occurrence, in a sentence.
    pub detail: String,
    /// Field by field.
    pub fields: Vec<FieldProblem>,
    /// When to try again, in seconds.
    pub retry_after_s: Option<u64>,
    /// The nonce that the next proof needs, where a proof was the matter.
    pub dpop_nonce: Option<String>,
}

/// The answer of a use case.
pub type AppResult<T> = Result<T, AppError>;

impl AppError {
    /// A code with its own sentence.
    pub fn new(code: Code) -> Self {
        Self::because(code, code.title())
    }

    /// A code with a sentence about this occurrence.
    pub fn because(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            fields: Vec::new(),
            retry_after_s: None,
            dpop_nonce: None,
        }
    }

    /// One field that is not valid.
    pub fn field(field: impl Into<String>, problem: impl ToString) -> Self {
        let (field, message) = (field.into(), problem.to_string());
        let detail = format!("{field} {message}");
        Self {
            fields: vec![FieldProblem { field, message }],
            ..Self::because(Code::Invalid, detail)
        }
    }

    /// Unknown, or not the caller's.
    pub fn not_found(what: &str) -> Self {
        Self::because(Code::NotFound, format!("no such {what}"))
    }

    /// Not possible in the present state.
    pub fn wrong_state(why: impl ToString) -> Self {
        Self::because(Code::WrongState, why.to_string())
    }

    /// Too much, for now.
    pub fn rate_limited(retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(Code::RateLimited) }
    }

    /// A fault of the server: logged here, and told without detail.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(Code::Internal)
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { what: "agent_name" } => Self::new(Code::DuplicateName),
            StoreError::Conflict { what: "agent_identity_key" } => Self::new(Code::DuplicateKey),
            StoreError::Conflict { what: "idempotency_claim" } => {
                Self { retry_after_s: Some(1), ..Self::new(Code::IdempotencyInProgress) }
            }
            StoreError::Conflict { what } => Self::wrong_state(format!("{what} is taken")),
            StoreError::Unavailable(cause) => {
                tracing::warn!(%cause, "store unavailable");
                Self { retry_after_s: Some(1), ..Self::new(Code::Unavailable) }
            }
            StoreError::BrokenReference
            | StoreError::CorruptRow { .. }
            | StoreError::Aborted
            | StoreError::Newer { .. }
            | StoreError::Migration(_)
            | StoreError::BackupByPgDump
            | StoreError::Backup(_) => Self::internal(error),
        }
    }
}
