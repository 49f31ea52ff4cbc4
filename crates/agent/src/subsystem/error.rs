//! Why a collector has no report.

use std::{io, path::PathBuf, process::ExitStatus};

use argosy_domain::text::clip;

/// Characters of a tool's line that an error quotes.
const LINE_CHARS_MAX: usize = 200;

/// Why a collector has no report. Each says its own part; the cause is in `source`.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A program that the collector needs is not installed.
    #[error("{tool} is not on this host")]
    ToolNotFound {
        /// The program's path.
        tool: PathBuf,
    },
    /// A program is there and cannot be started, or its output cannot be read.
    #[error("{tool} could not be run")]
    ToolNotRun {
        /// The program's path.
        tool: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A program ended with a status that means failure.
    #[error("{tool} failed ({status}): {stderr}")]
    ToolFailed {
        /// The program's path.
        tool: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The beginning of what it wrote about it.
        stderr: String,
    },
    /// A program wrote more than a collector reads.
    #[error("{tool} wrote more than {bytes_max} bytes")]
    OutputTooLarge {
        /// The program's path.
        tool: PathBuf,
        /// Bytes that are read at most.
        bytes_max: usize,
    },
    /// Something wrote what this version does not understand. Never guessed around: a report that
    /// leaves something out looks like good news.
    #[error("{origin} wrote a line that is not understood: {line:?}")]
    Unparsable {
        /// Who wrote it.
        origin: &'static str,
        /// The beginning of the line.
        line: String,
    },
    /// A file of the host cannot be read.
    #[error("{path} could not be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The operating system does not tell something that a report needs.
    #[error("the host does not tell its {what}")]
    Untold {
        /// What is missing.
        what: &'static str,
        /// The operating system's reason.
        source: sysinfo::Error,
    },
    /// The socket of a container engine is there, and not for this process.
    #[error(
        "{path} may not be opened by this agent: it is for the group {group}. Whoever is in that \
         group can do anything on this host"
    )]
    SocketClosed {
        /// The socket.
        path: PathBuf,
        /// Who may.
        group: String,
    },
    /// The socket of a container engine is there, and no answer comes.
    #[error("the container engine behind {path} does not answer")]
    EngineSilent {
        /// The socket.
        path: PathBuf,
        /// What was noticed.
        source: io::Error,
    },
    /// A container engine said no.
    #[error("the container engine behind {path} answered with status {status}")]
    EngineRefused {
        /// The socket.
        path: PathBuf,
        /// The HTTP status.
        status: u16,
    },
    /// The run was stopped from outside: the program is shutting down.
    #[error("the run was stopped")]
    Stopped,
}

impl CollectError {
    pub(super) fn unparsable(origin: &'static str, line: &str) -> Self {
        Self::Unparsable { origin, line: clip(line, LINE_CHARS_MAX) }
    }
}
