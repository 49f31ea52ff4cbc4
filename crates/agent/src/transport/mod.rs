//! The way to the server: one lazily opened HTTP/2 connection for all calls, or HTTP/1.1 where
//! something on the way allows no more.
//!
//! *Invariant:* the agent only ever connects outwards, to the one origin that it was given; nothing
//! here listens, follows a redirect or asks the environment for a proxy. No request, answer or
//! credential is logged.

mod call_error;
mod carrier;
mod proof;
mod rest;
mod tls;

use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use argosy_domain::limits::{BODY_BYTES_MAX, PAYLOAD_BYTES_MAX};
use argosy_wire::{
    bytes::Bytes32, identity_tls::Expected, rest::enrolment::ServerKeys,
    rpc::gateway::AgentGatewayServiceClient, sign::thumbprint,
};
use connectrpc::{
    ConnectError, Protocol, Spec,
    client::{ClientConfig, Http2Connection, HttpClient},
};

use crate::{host, server_url::ServerUrl};

pub use call_error::CallError;
pub use carrier::{Carrier, Channel};
pub use proof::{Call, Prover, Session};
pub use tls::TlsError;

/// The generated client on our connections.
pub type Rpc = AgentGatewayServiceClient<Carrier>;

/// Where a server shows its keys to agents that have no pin yet.
const KEYS_PATH: &str = "/.well-known/argosy/keys";
/// Opening a TCP connection to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Opening TCP, TLS and HTTP/2 together.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(20);
/// One call that is no stream.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence after which a ping asks whether the other side is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A ping that is not answered for this long ends the connection.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls that may wait for the connection at the same time.
const CALLS_WAITING_MAX: usize = 16;
/// Receive windows: a frame of the server holds at most 256 KiB of parameters.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// Envelope and statements around the largest payload.
const MESSAGE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 64 * 1024;

/// Why the server's keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer.
    #[error("{origin} cannot be reached")]
    Unreachable {
        /// The server.
        origin: String,
        /// What the HTTP client says.
        source: reqwest::Error,
    },
    /// An answer that is not the one of an Argosy server.
    #[error("{origin} answered {status}, which is not what an Argosy server answers")]
    NotArgosy {
        /// The server.
        origin: String,
        /// The HTTP status.
        status: u16,
    },
    /// Not the keys.
    #[error("{origin} answered something that is no list of server keys")]
    Malformed {
        /// The server.
        origin: String,
    },
    /// Something stands between, or the server takes up a new identity at this moment.
    #[error("{origin} shows one identity in its certificate and another in its keys")]
    TwoIdentities {
        /// The server.
        origin: String,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A connection to one server, opened at the first call and again after it was lost.
#[derive(Clone)]
pub struct Link {
    url: ServerUrl,
    /// gRPC over HTTP/2.
    streams: Rpc,
    /// Connect over HTTP/1.1.
    calls: Rpc,
    polls: Arc<AtomicBool>,
    http: Arc<OnceLock<reqwest::Client>>,
    tls: Option<Arc<rustls::ClientConfig>>,
    expected: Arc<Expected>,
}

impl Link {
    /// Prepares a connection; nothing is sent yet. Must be called inside a tokio runtime. `pin` is the
    /// identity that the server is known by; without one the first contact decides.
    pub fn new(
        url: ServerUrl,
        ca_file: Option<&Path>,
        pin: Option<Bytes32>,
    ) -> Result<Self, TlsError> {
        let connection = Http2Connection::builder()
            .tcp_connect_timeout(CONNECT_TIMEOUT)
            .establishment_timeout(ESTABLISH_TIMEOUT)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let expected = Arc::new(Expected::new(pin));
        let tls = if url.is_tls() { Some(tls::client_config(ca_file, &expected)?) } else { None };
        let client = HttpClient::builder()
            .tcp_connect_timeout(CONNECT_TIMEOUT)
            .establishment_timeout(ESTABLISH_TIMEOUT);
        let (connection, client) = match &tls {
            Some(tls) => {
                (connection.lazy_tls(url.uri().clone(), tls.clone()), client.with_tls(tls.clone()))
            }
            None => (connection.lazy_plaintext(url.uri().clone()), client.plaintext()),
        };
        let config = |protocol| {
            ClientConfig::new(url.uri().clone())
                .with_protocol(protocol)
                .with_default_max_message_size(MESSAGE_BYTES_MAX)
                .with_default_header("user-agent", format!("argosy-agent/{}", host::VERSION))
        };
        let connection = Carrier::Http2(connection.shared(CALLS_WAITING_MAX));
        let streams = Rpc::new(connection, config(Protocol::Grpc));
        let calls = Rpc::new(Carrier::Http1(Box::new(client)), config(Protocol::Connect));
        let (polls, http) = (Arc::default(), Arc::default());
        Ok(Self { url, streams, calls, polls, http, tls, expected })
    }

    /// How calls travel now.
    pub fn channel(&self) -> Channel {
        if self.polls.load(Ordering::Relaxed) { Channel::LongPoll } else { Channel::Stream }
    }

    /// From now on calls travel so, those of clones of this link too.
    pub fn take(&self, channel: Channel) {
        let polls = channel == Channel::LongPoll;
        if self.polls.swap(polls, Ordering::Relaxed) != polls {
            tracing::info!(server = %self.url, "from now on by {}", channel.as_str());
        }
    }

    /// The server proved this identity: from now on TLS is spoken with no other.
    pub fn trust(&self, pin: Bytes32) {
        self.expected.trust(pin);
    }

    /// Whether TLS showed another identity than the known one, so that nothing could be asked.
    pub fn met_a_stranger(&self) -> bool {
        self.expected.refused().is_some()
    }

    /// The server's address.
    pub fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// The client for calls, over the channel in use.
    pub fn rpc(&self) -> &Rpc {
        self.rpc_of(self.channel())
    }

    /// The client for streams.
    pub fn streams(&self) -> &Rpc {
        self.rpc_of(Channel::Stream)
    }

    fn rpc_of(&self, channel: Channel) -> &Rpc {
        match channel {
            Channel::Stream => &self.streams,
            Channel::LongPoll => &self.calls,
        }
    }

    /// Makes a call over the channel in use; where no answer of the server comes over that one, over
    /// the other, which is in use from then on if the server answers there.
    pub async fn either<A, F>(&self, send: impl Fn(Rpc) -> F) -> Result<A, ConnectError>
    where
        F: Future<Output = Result<A, ConnectError>>,
    {
        let lost = |error: &ConnectError| CallError::from(error.clone()).is_on_the_way();
        let error = match send(self.rpc().clone()).await {
            Err(error) if lost(&error) => error,
            answer => return answer,
        };
        let other = match self.channel() {
            Channel::Stream => Channel::LongPoll,
            Channel::LongPoll => Channel::Stream,
        };
        match send(self.rpc_of(other).clone()).await {
            Err(second) if lost(&second) => Err(error),
            answer => {
                self.take(other);
                answer
            }
        }
    }

    /// A URL as DPoP proofs name it (RFC 9449, section 4.3).
    pub fn url_at(&self, path: &str) -> String {
        format!("{}{path}", self.url.origin())
    }

    /// The URL of an RPC as DPoP proofs name it (RFC 9449, section 4.3).
    pub fn url_of(&self, rpc: Spec) -> String {
        self.url_at(rpc.procedure)
    }

    /// The keys that the server shows to anybody. What they are worth is for the caller to judge.
    pub async fn server_keys(&self) -> Result<ServerKeys, FetchError> {
        self.fetch(self.tls.as_deref(), &self.expected).await
    }

    /// The same from a server whose TLS shows another identity than the known one: its keys say
    /// whether the known one led to it.
    pub async fn keys_of_stranger(&self) -> Result<ServerKeys, FetchError> {
        let expected = Arc::new(Expected::default());
        let tls = tls::client_config(None, &expected)?;
        self.fetch(Some(&tls), &expected).await
    }

    async fn fetch(
        &self,
        tls: Option<&rustls::ClientConfig>,
        expected: &Expected,
    ) -> Result<ServerKeys, FetchError> {
        let origin = self.url.origin().to_owned();
        let unreachable = |source: reqwest::Error| FetchError::Unreachable {
            origin: origin.clone(),
            source: source.without_url(),
        };
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT);
        if let Some(tls) = tls {
            builder = builder.tls_backend_preconfigured(tls.clone());
        }
        let client = builder.build().map_err(unreachable)?;
        let mut answer =
            client.get(format!("{origin}{KEYS_PATH}")).send().await.map_err(unreachable)?;
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            return Err(FetchError::NotArgosy { origin, status });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(FetchError::Malformed { origin });
            }
            body.extend_from_slice(&chunk);
        }
        let keys: ServerKeys = serde_json::from_slice(&body)
            .map_err(|_| FetchError::Malformed { origin: origin.clone() })?;
        let named = keys.identity_key.parse().ok().map(|key| thumbprint(&key));
        match expected.met() {
            Some(met) if named != Some(met) => Err(FetchError::TwoIdentities { origin }),
            Some(_) | None => Ok(keys),
        }
    }
}
