//! `argosy-agent package-helper`: one request on standard input, which is a socket that systemd
//! accepted; one answer; the end.
//!
//! *Invariant:* whoever is at the other end is the agent's user or root, by the kernel's word.

use std::{
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::net::UnixStream as StdStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use argosy_config::host::SystemClock;
use argosy_domain::time::Clock as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{
    Answer, REQUEST_BYTES_MAX, Refusal, Request, carry_out,
    settings::{HelperSettings, InvalidSettings, uid_of},
};

/// How long the agent may take to say what it wants, and to take the answer.
const TALK_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the helper could not serve.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// Its settings.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// It was started without a socket, or the socket failed.
    #[error("standard input is no socket that systemd accepted: {0}")]
    Socket(#[from] io::Error),
    /// Somebody else is at the other end.
    #[error("user {peer} is neither the agent's ({user}) nor root")]
    Peer {
        /// Who is there.
        peer: u32,
        /// Who may be.
        user: String,
    },
}

/// Serves the one request of this process.
pub fn serve(settings_file: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map_err(HelperError::from).and_then(|runtime| {
        let settings = HelperSettings::load(settings_file)?;
        runtime.block_on(talk(&settings))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn talk(settings: &HelperSettings) -> Result<(), HelperError> {
    let socket = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let mut socket = UnixStream::from_std(socket)?;
    let peer = socket.peer_cred()?.uid();
    if !may_ask(peer, &settings.agent_user) {
        return Err(HelperError::Peer { peer, user: settings.agent_user.clone() });
    }
    let mut bytes = Vec::new();
    let mut reader = (&mut socket).take(REQUEST_BYTES_MAX + 1);
    let read = tokio::time::timeout(TALK_TIMEOUT, reader.read_to_end(&mut bytes)).await;
    read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let answer = match serde_json::from_slice::<Request>(&bytes) {
        Ok(request) if bytes.len() as u64 <= REQUEST_BYTES_MAX => {
            carry_out(settings, &request, SystemClock.now()).await
        }
        Ok(_) | Err(_) => {
            Answer::Refused(Refusal::InvalidRequest, "this is no request of an agent".to_owned())
        }
    };
    // Plain values always serialise.
    let answer = serde_json::to_vec(&answer).unwrap_or_default();
    let written = tokio::time::timeout(TALK_TIMEOUT, socket.write_all(&answer)).await;
    // The agent asks again where it did not get it.
    Ok(written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??)
}

/// Whether a user may ask: the agent's, or root.
fn may_ask(peer: u32, agent_user: &str) -> bool {
    peer == 0 || uid_of(agent_user) == Some(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_agents_user_and_root_may_ask() {
        assert!(may_ask(0, "4711") && may_ask(4711, "4711") && may_ask(0, "no such user"));
        assert!(!may_ask(4711, "4712") && !may_ask(4711, "root") && !may_ask(4711, "no such user"));
    }
}
