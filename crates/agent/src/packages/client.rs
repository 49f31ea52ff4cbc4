//! The agent's side: brings a command to the helper, and its answer back.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use argosy_domain::{limits::PAYLOAD_BYTES_MAX, time::Clock};
use rustix::process::geteuid;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::Mutex,
};

use super::{Answer, Fault, Request, SignedOrder, carry_out, settings::HelperSettings};
use crate::{blocking::blocking, policy_file::PolicyFile};

/// Where systemd listens for the helper.
pub const SOCKET_DEFAULT: &str = "/run/argosy-agent/package-helper.sock";
/// How long a helper may take: longer than the package manager.
pub const INSTALL_TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// How often a helper may end without an answer.
const UNANSWERED_MAX: u32 = 5;
/// How long to wait before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The way to the helper. One request at a time: the helper takes no two.
pub struct PackageHelper {
    /// The socket.
    pub socket: PathBuf,
    /// The helper's own settings, where this process is the helper.
    pub settings: PathBuf,
    /// The host's policy.
    pub policy: PolicyFile,
    /// The host's time.
    pub clock: Arc<dyn Clock>,
    /// Held while a request is under way.
    pub turn: Mutex<()>,
}

impl PackageHelper {
    /// Has a command carried out, or learns what came of it.
    pub async fn ask(self: &Arc<Self>, order: SignedOrder, params: String) -> Answer {
        let _one_at_a_time = self.turn.lock().await;
        let request = Request { order, params };
        let here = blocking(self, |part| part.works_here()).await;
        if here {
            return match HelperSettings::load(&self.settings) {
                Ok(settings) => carry_out(&settings, &request, self.clock.now()).await,
                Err(error) => Answer::Failed(Fault::Helper, error.to_string()),
            };
        }
        let mut unanswered = 0;
        loop {
            match talk(&self.socket, &request).await {
                Ok(Answer::Failed(Fault::Busy, _)) => {}
                Ok(answer) => return answer,
                // It ended without an answer: the next one knows what came of it.
                Err(error) if is_cut_off(&error) && unanswered < UNANSWERED_MAX => {
                    unanswered += 1;
                }
                Err(error) => {
                    let socket = self.socket.display();
                    let why = format!("the package helper at {socket} could not be asked: {error}");
                    return Answer::Failed(Fault::Helper, why);
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Whether this process is root, and root's policy wants it to install by itself.
    fn works_here(&self) -> bool {
        let policy = self.policy.load();
        geteuid().is_root() && policy.updates().is_ok_and(|updates| updates.in_process)
    }
}

/// Whether the helper ended before its answer, however the socket says so.
fn is_cut_off(error: &io::Error) -> bool {
    [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe]
        .contains(&error.kind())
}

async fn talk(socket: &Path, request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket).await?;
    // Plain values always serialise.
    stream.write_all(&serde_json::to_vec(request).unwrap_or_default()).await?;
    stream.shutdown().await?;
    let mut bytes = Vec::new();
    stream.take(PAYLOAD_BYTES_MAX as u64).read_to_end(&mut bytes).await?;
    serde_json::from_slice(&bytes).map_err(|_| {
        let why = "it ended without an answer; its log says why";
        io::Error::new(io::ErrorKind::UnexpectedEof, why)
    })
}
