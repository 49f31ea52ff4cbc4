//! Why the agent cannot go on, and what a person can do about it.

use crate::{
    boot::BootIdUnknown,
    config::InvalidSetting,
    credentials::CredentialsError,
    enrol::EnrolError,
    journal::JournalError,
    key_rotation::RotationError,
    keys::KeysError,
    repin::RepinError,
    state_dir::StateDirError,
    transport::{CallError, FetchError, TlsError},
    trust::{Distrust, TrustedCallError},
};
use argosy_config::load::LoadError;
use argosy_wire::problem::Code;

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Why the agent ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration cannot be read.
    #[error("the configuration could not be read")]
    Configuration(#[from] LoadError),
    /// A setting makes no sense.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// There are no keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The credentials cannot be read or kept.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The journal failed: nothing can be promised any more.
    #[error("the journal of commands failed")]
    Journal(#[from] JournalError),
    /// The host does not tell its boot.
    #[error(transparent)]
    Boot(#[from] BootIdUnknown),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The machine could not be enrolled.
    #[error("this machine could not be enrolled")]
    Enrol(#[from] EnrolError),
    /// The command is for an agent that is registered.
    #[error("this machine is not registered with a server")]
    NotRegistered,
    /// The identity key was not replaced.
    #[error("the identity key was not replaced")]
    Rotation(#[source] RotationError),
    /// The pin stays what it is.
    #[error(transparent)]
    Repin(#[from] RepinError),
    /// The server will not have this agent.
    #[error("the server does not accept this agent")]
    Refused(#[source] TrustedCallError),
    /// The policy file cannot be used.
    #[error("{0}")]
    Policy(String),
    /// A part of the agent failed in a way that nobody expected.
    #[error("the {0} crashed")]
    Crashed(&'static str),
    /// The operating system refused something that a program needs.
    #[error("{action}")]
    Host {
        /// What could not be done.
        action: &'static str,
        /// Its reason.
        source: std::io::Error,
    },
}

impl AgentError {
    /// What a person can do next, in a sentence or two.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Configuration(_) => {
                "Correct the file or variable that is named above. `argosy-agent --help` lists the \
                 settings."
            }
            Self::Setting(_) => {
                "Settings come from --config FILE, then ARGOSY_* variables, then flags; correct the \
                 one that is named above."
            }
            Self::StateDir(error) => advice_on_state(error),
            Self::Keys(KeysError::StateDir(error))
            | Self::Credentials(CredentialsError::StateDir(error)) => advice_on_state(error),
            Self::Keys(KeysError::Damaged) | Self::Credentials(CredentialsError::Damaged) => {
                "Restore the file from a backup, or remove it and enrol this machine again."
            }
            Self::Journal(_) => {
                "Check that the disk is neither full nor failing, then start the agent again."
            }
            Self::Boot(_) => "The agent needs /proc. In a container, mount it.",
            Self::Tls(_) => ADVICE_ON_TLS,
            Self::Enrol(error) => advice_on_enrolment(error),
            Self::NotRegistered => "Run `argosy-agent enroll` with a token first.",
            Self::Rotation(_) => {
                "The present key stays good. Run the command again, or start the agent: it goes on with \
                 what was begun."
            }
            Self::Repin(error) => advice_on_repin(error),
            Self::Refused(error) => advice_on_refusal(error),
            Self::Policy(_) => {
                "Correct the file; `argosy-agent policy check FILE` says whether it is good. Until \
                 then the agent refuses every command."
            }
            Self::Crashed(_) => "Start the agent again, and report what its log says.",
            Self::Host { .. } => "Check the limits and permissions of this user on this host.",
        }
    }

    /// The exit status of the program: 77 where only an operator of the server can help. `run` never
    /// ends with that: what makes it so is not signed.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Refused(_) => 77,
            Self::Configuration(_)
            | Self::Setting(_)
            | Self::StateDir(_)
            | Self::Keys(_)
            | Self::Credentials(_)
            | Self::Journal(_)
            | Self::Boot(_)
            | Self::Tls(_)
            | Self::Enrol(_)
            | Self::NotRegistered
            | Self::Rotation(_)
            | Self::Repin(_)
            | Self::Policy(_)
            | Self::Crashed(_)
            | Self::Host { .. } => 1,
        }
    }
}

fn advice_on_state(error: &StateDirError) -> &'static str {
    match error {
        StateDirError::Missing(_) => {
            "Nothing was enrolled here yet: run `argosy-agent enroll`, or name another --state-dir."
        }
        StateDirError::Held { .. } => {
            "An agent is running already. `argosy-agent status` shows it; stop it first to do \
             something else here."
        }
        StateDirError::Symlink(_)
        | StateDirError::WrongKind(_)
        | StateDirError::Exposed { .. }
        | StateDirError::TooLarge(_) => {
            "Put it right as its owner, or name another --state-dir. The agent does not use what \
             others could have changed."
        }
        StateDirError::Foreign { .. } => {
            "Run as the user that owns it, or name another --state-dir."
        }
        StateDirError::Io { .. } => {
            "Check permissions and free space, or name another --state-dir."
        }
    }
}

fn advice_on_enrolment(error: &EnrolError) -> &'static str {
    match error {
        EnrolError::NoToken => {
            "Mint one on the server (`argosy token create`) and give it as ARGOSY_BOOTSTRAP_TOKEN."
        }
        EnrolError::NoServer => "Say where the server is: --server https://fleet.example.com",
        EnrolError::Credentials(_) => "Check permissions and free space of the state directory.",
        EnrolError::Fetch(FetchError::Unreachable { .. }) => {
            "Check that the server runs and that this host reaches it, then run the same command \
             again."
        }
        EnrolError::Fetch(FetchError::NotArgosy { .. } | FetchError::Malformed { .. }) => {
            "Check --server: something else answers there."
        }
        EnrolError::Fetch(FetchError::TwoIdentities { .. })
        | EnrolError::Server(TrustedCallError::Distrust(_)) => ADVICE_ON_DISTRUST,
        EnrolError::Fetch(FetchError::Tls(_)) => ADVICE_ON_TLS,
        EnrolError::Server(TrustedCallError::Call(error)) => advice_on_registration(error),
        EnrolError::KeyLost => {
            "Where an operator has it, run `argosy-agent refresh` and paste it; else ask for a fresh token and \
             run `argosy-agent enroll --start-over` with it. The machine keeps its identity."
        }
        EnrolError::NotRegistered => {
            "Enrol it first: `argosy-agent enroll --key-delivery operator` with a token."
        }
        EnrolError::AwaitsKey => {
            "Whoever approved this machine was shown its key: run `argosy-agent refresh` and paste \
             it."
        }
        EnrolError::Stale => "Run `argosy-agent enroll` again with a fresh token.",
    }
}

fn advice_on_repin(error: &RepinError) -> &'static str {
    match error {
        RepinError::NotRegistered => {
            "There is no pin to replace: run `argosy-agent enroll` with a token of the server."
        }
        RepinError::OtherPin { .. } => {
            "Do not go on before somebody has looked. The pin comes from --server-pin, \
             ARGOSY_SERVER_PIN or the configuration file: is it the new one?"
        }
        RepinError::Unconfirmed => {
            "Run the command at a terminal and answer, or give the new pin: --server-pin PIN."
        }
        RepinError::Fetch(_) => {
            "Check that the server runs, that this host reaches it, and --server."
        }
        RepinError::Distrust(_) => "Check --server: something else answers there.",
    }
}

fn advice_on_registration(error: &CallError) -> &'static str {
    match error.code() {
        Some(Code::InvalidToken) => {
            "The token is unknown, used up, expired or revoked. Ask for a fresh one and run \
             `argosy-agent enroll` with it."
        }
        Some(Code::DuplicateName) => {
            "Ask an operator to remove the agent that has it, or choose another name: \
             `argosy-agent enroll --start-over --name NAME`."
        }
        Some(Code::DuplicateKey) => {
            "This machine is registered already: ask an operator to approve or remove that agent."
        }
        Some(Code::AccountMismatch) => {
            "Give the account that the token is for: `argosy-agent enroll --start-over --account-id \
             ID`."
        }
        Some(Code::Invalid) => {
            "Correct what the server names, then run `argosy-agent enroll --start-over`. \
             (`statement.server` is the pin: it must be this server's.)"
        }
        Some(Code::RateLimited) => "Wait a minute, then run the same command again.",
        Some(_) => {
            "Correct what the server names, then run the same command again, with --start-over where \
             what was sent is to change."
        }
        None => {
            "Check that the server runs and that this host reaches it, then run the same command \
             again; it continues where it stopped."
        }
    }
}

const ADVICE_ON_TLS: &str = "Correct ca_file, or leave it out to trust the host's authorities and the \
     identity that is pinned.";

const ADVICE_ON_DISTRUST: &str = "Do not go on before somebody has looked: either the address or \
     the pin is that of another server, or something stands between. Nothing was signed for it. Where \
     the server's operator says that its key was lost or stolen: `argosy-agent repin` with the new \
     pin.";

/// What people can do when the answer is that the server will not have this agent.
pub(crate) fn advice_on_refusal(error: &TrustedCallError) -> &'static str {
    let code = match error {
        TrustedCallError::Distrust(Distrust::OtherServer { .. }) => return ADVICE_ON_DISTRUST,
        TrustedCallError::Distrust(_) => return ADVICE_ON_DISTRUST,
        TrustedCallError::Call(error) => error.code(),
    };
    match code {
        Some(Code::MachineMismatch) => {
            "This state directory was enrolled on another machine. Ask an operator to rebind the \
             agent, or enrol this machine anew with an empty state directory."
        }
        Some(Code::Downgrade) => {
            "An older version was put in place of a newer one. Install the newer one again, or ask an \
             operator to accept this one: `argosy agent restore NAME`."
        }
        Some(Code::UpgradeRequired) => "Install the version that the server asks for.",
        Some(_) | None => {
            "It was rejected, revoked or removed, says the answer. Ask an operator. To join anew, get \
             a fresh token and run `argosy-agent enroll --start-over` with it."
        }
    }
}
