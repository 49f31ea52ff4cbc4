//! What can go wrong, what it means for the exit code, and what to do next.
//!
//! *Invariant:* an error names its own part and never holds a key, a token or a request's body.

use std::path::PathBuf;

use argosy_wire::problem::{Code, Problem};

/// Exit code of a failure.
pub const EXIT_ERROR: u8 = 1;
/// Exit code of a command line that cannot be carried out as written.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of `--wait` when the command ended, but did not succeed.
pub const EXIT_NOT_SUCCEEDED: u8 = 3;

/// Why a server gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// The name does not resolve.
    Name,
    /// The server's certificate was not accepted.
    Certificate,
    /// The connection broke before the answer; worth another try for a question.
    Broken,
    /// Anything else.
    Other,
}

/// Why `argosy` could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line asks for something that cannot be.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do instead.
        hint: String,
    },
    /// No key for this server.
    #[error("not logged in{}", .server.as_ref().map(|s| format!(" to {s}")).unwrap_or_default())]
    NotLoggedIn {
        /// The server, where one is known.
        server: Option<String>,
    },
    /// The server gave no answer.
    #[error("no answer from {server}: {reason}")]
    Silent {
        /// Its URL.
        server: String,
        /// What kind of silence.
        silence: Silence,
        /// In the words of whoever noticed.
        reason: String,
    },
    /// The server answered with a problem.
    #[error("{}", .problem.detail)]
    Refused {
        /// The problem.
        problem: Box<Problem>,
        /// Seconds to wait, where the server says so.
        retry_after_s: Option<u64>,
    },
    /// The server answered, but not in Argosy's words.
    #[error("{server} answered {status} and not as an Argosy server does")]
    Foreign {
        /// Its URL.
        server: String,
        /// The HTTP status.
        status: u16,
    },
    /// Nothing of that name.
    #[error("no {noun} named {name:?}")]
    Unknown {
        /// Such as `agent`.
        noun: &'static str,
        /// As typed.
        name: String,
    },
    /// Not there, for a reason that is known.
    #[error("{message}")]
    Missing {
        /// What is not there.
        message: String,
        /// How it comes to be.
        hint: String,
    },
    /// More than one of that name.
    #[error("{name:?} is ambiguous: {} agents are called so", .ids.len())]
    Ambiguous {
        /// As typed.
        name: String,
        /// Ids with their status.
        ids: Vec<String>,
    },
    /// The operator said no.
    #[error("nothing was changed")]
    Declined,
    /// A command ended, and not well.
    #[error("the command ended: {state}{}", .detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default())]
    NotSucceeded {
        /// How it ended.
        state: String,
        /// Why.
        detail: Option<String>,
    },
    /// A command did not end in the time that was given.
    #[error("the command has not ended yet: it is {state}")]
    StillOpen {
        /// The command.
        id: String,
        /// Where it stands.
        state: String,
    },
    /// A receipt proves nothing.
    #[error("the receipt does not verify: {0}")]
    Receipt(String),
    /// An audit log is not what was chained and signed.
    #[error("the audit log does not verify: {0}")]
    Audit(String),
    /// A file could not be read or written.
    #[error("{}: {reason}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Output could not be written.
    #[error("writing the output: {0}")]
    Output(std::io::Error),
    /// Something on this machine that should always work.
    #[error("{0}")]
    Local(String),
}

impl CliError {
    /// A command line that cannot be carried out, and what to write instead.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// A file that could not be read or written.
    pub fn file(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::File { path: path.into(), reason: reason.to_string() }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => EXIT_USAGE,
            Self::NotSucceeded { .. } => EXIT_NOT_SUCCEEDED,
            // The reader of a pipe has seen enough (`argosy … | head`).
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::NotLoggedIn { .. }
            | Self::Silent { .. }
            | Self::Refused { .. }
            | Self::Foreign { .. }
            | Self::Unknown { .. }
            | Self::Missing { .. }
            | Self::Ambiguous { .. }
            | Self::Declined
            | Self::StillOpen { .. }
            | Self::Receipt(_)
            | Self::Audit(_)
            | Self::File { .. }
            | Self::Output(_)
            | Self::Local(_) => EXIT_ERROR,
        }
    }

    /// Whether the server says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.code == Code::NotFound.as_str())
    }

    /// Whether the server does not accept what it was shown.
    pub fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.status == 401)
    }

    /// Whether the same question may well be answered a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Silent { silence, .. } => *silence == Silence::Broken,
            Self::Refused { problem, .. } => problem.status == 503,
            Self::Foreign { status, .. } => *status == 503,
            Self::Usage { .. }
            | Self::NotLoggedIn { .. }
            | Self::Unknown { .. }
            | Self::Missing { .. }
            | Self::Ambiguous { .. }
            | Self::Declined
            | Self::NotSucceeded { .. }
            | Self::StillOpen { .. }
            | Self::Receipt(_)
            | Self::Audit(_)
            | Self::File { .. }
            | Self::Output(_)
            | Self::Local(_) => false,
        }
    }

    /// What to know and to do next, a line each.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Usage { hint, .. } | Self::Missing { hint, .. } => vec![hint.clone()],
            Self::NotLoggedIn { server } => {
                let url = server.as_deref().unwrap_or("URL");
                vec![format!("log in with `argosy login --server {url}`")]
            }
            Self::Silent { server, silence, .. } => vec![silence.hint(server)],
            Self::Refused { problem, retry_after_s } => refused(problem, *retry_after_s),
            Self::Foreign { .. } => {
                vec!["check the URL: `--server`, ARGOSY_SERVER or the profile".into()]
            }
            Self::Unknown { noun, .. } => vec![format!("see what there is: `argosy {noun} list`")],
            Self::Ambiguous { ids, .. } => {
                vec![format!("name it by its id: {}", ids.join(", "))]
            }
            Self::StillOpen { id, state } if state == "queued" => vec![format!(
                "it waits for its agent: `argosy command show {id}`, or withdraw it with `argosy \
                 command cancel {id}`"
            )],
            Self::StillOpen { id, .. } => {
                vec![format!("follow it with `argosy command show {id}`")]
            }
            Self::Receipt(_) => {
                vec!["do not rely on this result; look at the machine itself".into()]
            }
            Self::Audit(_) => vec![
                "keep this log and its server as they are, and compare with an earlier export: \
                 `argosy audit verify --against FILE`"
                    .into(),
            ],
            Self::Declined
            | Self::NotSucceeded { .. }
            | Self::File { .. }
            | Self::Output(_)
            | Self::Local(_) => Vec::new(),
        }
    }
}

impl Silence {
    fn hint(self, server: &str) -> String {
        match self {
            Self::Refused => format!("is the server running at {server}? start it with `argosyd`"),
            Self::Timeout => {
                format!("is {server} the right URL, and does a firewall let you reach it?")
            }
            Self::Name => format!("check the host name in {server}"),
            Self::Certificate => {
                format!(
                    "if it is from your own authority, name that with `--ca-file`; if the server makes \
                     it (`tls = self`), log in with the pin that `argosyd keys show` prints there: \
                     `argosy login --server {server} --pin PIN`"
                )
            }
            Self::Broken | Self::Other => {
                "try again; whether a change was made, the matching `list` or `show` tells".into()
            }
        }
    }
}

/// Hints for a problem: the fields first, then what to do about the code.
fn refused(problem: &Problem, retry_after_s: Option<u64>) -> Vec<String> {
    // A single field is often the whole detail.
    let new = problem.errors.iter().filter(|e| !problem.detail.contains(&e.message));
    let mut hints: Vec<String> = new.map(|e| format!("{}: {}", e.field, e.message)).collect();
    let code = Code::ALL.iter().copied().find(|code| code.as_str() == problem.code);
    hints.extend(code.and_then(|code| next_step(code, problem, retry_after_s)));
    hints
}

fn next_step(code: Code, problem: &Problem, retry_after_s: Option<u64>) -> Option<String> {
    let wait = retry_after_s.map_or("wait a moment".to_owned(), |s| format!("wait {s} s"));
    match code {
        Code::Unauthenticated => Some(
            "check --key or ARGOSY_KEY if you set one, or log in again with `argosy login`".into(),
        ),
        Code::Forbidden | Code::AccountMismatch => Some(
            "your key may not do this; use one that may (`argosy login --profile NAME`), or ask \
             an admin"
                .into(),
        ),
        Code::PasswordChangeRequired => Some("choose one first: `argosy user passwd`".into()),
        Code::CsrfRefused => Some(
            "log in again with `argosy login`; if that does not help, the server's public_url is \
             not the address that you use"
                .into(),
        ),
        Code::NotFound => Some("check the name or id with the matching `list` command".into()),
        Code::WrongState => Some("see where it stands with the matching `show` command".into()),
        Code::NothingApproved => Some(
            "see what is pending with `argosy updates list`, then `argosy updates approve`".into(),
        ),
        Code::DryRunFirst => Some("try it first: `argosy updates install --dry-run --wait`".into()),
        Code::DuplicateName => Some("choose another name".into()),
        Code::DuplicateKey => Some("revoke the agent that has the key first".into()),
        Code::FingerprintMismatch => Some(
            "this may be another machine: look at it with `argosy agent show`, then turn it away \
             with `argosy agent reject`"
                .into(),
        ),
        Code::IdempotencyConflict | Code::IdempotencyKeyReused => {
            Some("use a fresh --idempotency-key".into())
        }
        Code::IdempotencyInProgress => Some(format!("{wait}, then try again")),
        Code::IdempotencyAnswerLost => {
            Some("see with the matching `list` or `show` command".into())
        }
        Code::RateLimited => Some(format!("{wait}, then try again")),
        Code::QueueFull => {
            Some("cancel commands that are no longer needed: `argosy command list`".into())
        }
        Code::Unavailable => Some(format!("{wait}, then try again; GET /ready says what is away")),
        Code::Internal => {
            Some(format!("the server's log knows more under trace id {}", problem.trace_id))
        }
        Code::MethodNotAllowed => {
            Some("server and command line differ in version: see `argosy status`".into())
        }
        Code::Invalid | Code::Malformed if problem.errors.is_empty() => {
            Some("see the options with `--help`".into())
        }
        Code::Invalid | Code::Malformed | Code::TooLarge | Code::UnsupportedMediaType => None,
        // Answers to machines; an operator's key does not meet them.
        Code::InvalidToken
        | Code::ProofRequired
        | Code::UseDpopNonce
        | Code::InvalidProof
        | Code::InvalidSession
        | Code::HandshakeRefused
        | Code::NotApproved
        | Code::Quarantined
        | Code::MachineMismatch
        | Code::Downgrade
        | Code::UpgradeRequired => None,
        Code::ApiKeyAgentsForbidden => {
            Some("`argosy settings set allow_api_key_agents true` admits them again".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_wire::problem::FieldProblem;

    fn problem(code: Code) -> Problem {
        Problem {
            kind: format!("urn:argosy:problem:{}", code.as_str()),
            title: code.title().into(),
            status: code.http(),
            detail: "as the server says".into(),
            error: "as the server says".into(),
            code: code.as_str().into(),
            trace_id: "t-1".into(),
            errors: Vec::new(),
        }
    }

    fn refused(problem: Problem, retry_after_s: Option<u64>) -> CliError {
        CliError::Refused { problem: Box::new(problem), retry_after_s }
    }

    #[test]
    fn a_server_that_does_not_run_is_named() {
        let error = CliError::Silent {
            server: "http://localhost:8080".into(),
            silence: Silence::Refused,
            reason: "connection refused".into(),
        };
        assert!(error.to_string().contains("http://localhost:8080"));
        assert!(error.hints()[0].contains("is the server running at http://localhost:8080?"));
        assert_eq!(error.exit_code(), EXIT_ERROR);
    }

    #[test]
    fn invalid_fields_are_listed_one_by_one() {
        let mut invalid = problem(Code::Invalid);
        for (field, message) in [("name", "must not be empty"), ("max_uses", "must be 1 or more")] {
            let (field, message) = (field.to_owned(), message.to_owned());
            invalid.errors.push(FieldProblem { field, message });
        }
        let error = refused(invalid, None);
        assert_eq!(error.hints(), ["name: must not be empty", "max_uses: must be 1 or more"]);
        assert_eq!(error.to_string(), "as the server says");
        let field = FieldProblem { field: "name".into(), message: "must not be empty".into() };
        let detail = "name must not be empty".to_owned();
        let single = Problem { detail, errors: vec![field], ..problem(Code::Invalid) };
        assert_eq!(refused(single, None).hints().len(), 0, "nothing is said twice");
    }

    #[test]
    fn each_common_refusal_says_what_to_do_next() {
        let hint = |code| refused(problem(code), Some(7)).hints().join("\n");
        assert!(hint(Code::Unauthenticated).contains("argosy login"));
        assert!(hint(Code::Forbidden).contains("--profile"));
        assert!(hint(Code::NotFound).contains("list"));
        assert!(hint(Code::WrongState).contains("show"));
        assert!(hint(Code::FingerprintMismatch).contains("argosy agent reject"));
        assert!(hint(Code::RateLimited).contains("wait 7 s"));
        assert!(hint(Code::Internal).contains("t-1"));
    }

    #[test]
    fn exit_codes_tell_usage_failure_and_outcome_apart() {
        assert_eq!(CliError::usage("a", "b").exit_code(), 2);
        let ended = CliError::NotSucceeded { state: "failed".into(), detail: None };
        assert_eq!(ended.exit_code(), 3);
        assert_eq!(refused(problem(Code::NotFound), None).exit_code(), 1);
        let pipe = CliError::Output(std::io::ErrorKind::BrokenPipe.into());
        assert_eq!(pipe.exit_code(), 0);
    }
}
