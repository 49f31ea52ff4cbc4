//! One question to a container engine over its socket on this host.
//!
//! *Invariant:* only `GET`, only paths that this module is given by its neighbours, only up to a
//! limit of bytes.

use std::{io, os::unix::fs::MetadataExt as _, path::Path};

use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::CollectError;

/// Bytes of one answer that are read at most.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Who answers, in errors.
const ORIGIN: &str = "the container engine";

/// What is behind the path of a socket.
pub(super) enum Socket {
    /// Nothing, or nobody who listens.
    Nobody,
    /// Somebody.
    Open(UnixStream),
}

/// Opens a socket.
pub(super) async fn open(path: &Path) -> Result<Socket, CollectError> {
    let error = match UnixStream::connect(path).await {
        Ok(stream) => return Ok(Socket::Open(stream)),
        Err(error) => error,
    };
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused {
        Ok(Socket::Nobody)
    } else if kind == io::ErrorKind::PermissionDenied {
        Err(CollectError::SocketClosed { path: path.to_owned(), group: group_of(path) })
    } else {
        Err(CollectError::EngineSilent { path: path.to_owned(), source: error })
    }
}

/// Asks by a socket that was opened.
pub(super) async fn get<A: DeserializeOwned>(
    path: &Path,
    stream: UnixStream,
    question: &'static str,
) -> Result<A, CollectError> {
    let silent = |error: hyper::Error| CollectError::EngineSilent {
        path: path.to_owned(),
        source: io::Error::other(error),
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(silent)?;
    let request = Request::get(question).header("host", "localhost").body(Empty::<Bytes>::new());
    let request = request.map_err(|_| CollectError::unparsable(ORIGIN, question))?;
    let asking = async move {
        let answer = sender.send_request(request).await.map_err(silent)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| CollectError::OutputTooLarge {
            tool: path.to_owned(),
            bytes_max: ANSWER_BYTES_MAX,
        })?;
        Ok((status, body.to_bytes()))
    };
    // The connection ends with the question, and says nothing that the answer does not.
    let (answer, _ended) = futures::join!(asking, connection);
    let (status, body) = answer?;
    if !status.is_success() {
        return Err(CollectError::EngineRefused { path: path.to_owned(), status: status.as_u16() });
    }
    serde_json::from_slice(&body)
        .map_err(|_| CollectError::unparsable(ORIGIN, &String::from_utf8_lossy(&body)))
}

/// The group that may open a socket, by its name where it has one.
fn group_of(path: &Path) -> String {
    let Ok(gid) = std::fs::metadata(path).map(|socket| socket.gid()) else {
        return "of its directory".to_owned();
    };
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    group_named(&groups, gid).unwrap_or_else(|| gid.to_string())
}

fn group_named(groups: &str, gid: u32) -> Option<String> {
    let wanted = gid.to_string();
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == wanted).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_name() {
        let groups = "root:x:0:\nbroken\ndocker:x:998:ada,bob\n";
        assert_eq!(group_named(groups, 998).as_deref(), Some("docker"));
        assert_eq!(group_named(groups, 997), None);
    }
}
