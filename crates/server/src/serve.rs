//! Connections: one port for REST, RPC and the documentation page, HTTP/1.1 and HTTP/2.
//!
//! *Invariant:* slow and dead connections end: headers must arrive within
//! [`HEADER_TIMEOUT`], HTTP/2 connections are pinged, and at most [`CONNECTIONS_MAX`] are open.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http2, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Connections that are open at once at most; further ones wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 100_000;
/// Headers of a request must arrive within this.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A TLS handshake must be over within this.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// An HTTP/2 connection is pinged when it was silent for this long.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A ping must be answered within this.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests in flight on one HTTP/2 connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// Size of all headers of a request.
const HEADER_BYTES_MAX: u32 = 32 * 1024;
/// How long a shutdown waits for requests that are being served.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// For connections whose first bytes tell which HTTP it is.
fn either() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http1().max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(HEADER_BYTES_MAX);
    builder
}

/// For connections whose TLS handshake told that it is HTTP/2: those of agents, nearly all.
fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        // What the opening of a stream shows comes once: it is not to be remembered while the stream is open.
        .header_table_size(0);
    builder
}

/// The gauge of connections that are open.
const CONNECTIONS_OPEN: &str = "argosy_connections_open";

/// What every connection is served with.
struct Host {
    either: auto::Builder<TokioExecutor>,
    http2: http2::Builder<TokioExecutor>,
    tls: Option<TlsAcceptor>,
    app: Router,
}

/// A connection whose first bytes must come in time. What tells HTTP/1.1 from HTTP/2 is read before
/// any other timeout begins, so somebody who says nothing would otherwise stay for ever.
struct Awaited<I> {
    io: I,
    silent_until: Option<Pin<Box<Sleep>>>,
    read: usize,
}

/// Length of the HTTP/2 connection preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

impl<I> Awaited<I> {
    fn new(io: I) -> Self {
        Self { io, silent_until: Some(Box::pin(sleep(HEADER_TIMEOUT))), read: 0 }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Awaited<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buffer);
        if let Some(deadline) = &mut this.silent_until {
            this.read += buffer.filled().len() - before;
            if this.read >= PREFACE_BYTES {
                this.silent_until = None;
            } else if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Awaited<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Serves until `shutdown`, then lets running requests end. At each word of `let_go` the connections that
/// are open end, each after its requests.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: Router,
    let_go: Arc<Notify>,
    shutdown: CancellationToken,
) {
    crate::http::record_metrics();
    metrics::gauge!("argosy_connections_max").set(f64::from(connections_max()));
    let host = Arc::new(Host { either: either(), http2: http2(), tls, app });
    let (mut graceful, mut leaving) = (GracefulShutdown::new(), JoinSet::new());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = tokio::select! {
            () = shutdown.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            () = let_go.notified() => {
                leaving.spawn(std::mem::take(&mut graceful).shutdown());
                while leaving.try_join_next().is_some() {}
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (host, watcher) = (Arc::clone(&host), graceful.watcher());
                let open = Open::begin();
                tokio::spawn(async move {
                    host.greet(stream, peer, watcher).await;
                    drop((place, open));
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: give others time to end.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    leaving.spawn(graceful.shutdown());
    if timeout(DRAIN_TIMEOUT, leaving.join_all()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

/// A connection that is counted for as long as it is open.
struct Open;

impl Open {
    fn begin() -> Self {
        metrics::gauge!(CONNECTIONS_OPEN).increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(CONNECTIONS_OPEN).decrement(1.0);
    }
}

/// Connections that this process accepts at most, by its own bound and by its limit of open files.
fn connections_max() -> u32 {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX).min(u32::try_from(files).unwrap_or(u32::MAX))
}

impl Host {
    /// Begins a connection: with a TLS handshake where TLS is on.
    async fn greet(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        // Boxed, each: what a handshake needs would stay with the connection for its life, and one kind of
        // connection would take as much as the largest.
        let Some(tls) = &self.tls else {
            return Box::pin(self.talk_either(stream, peer, watcher)).await;
        };
        match timeout(TLS_TIMEOUT, Box::pin(tls.accept(stream))).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                Box::pin(self.talk_http2(stream, peer, watcher)).await;
            }
            Ok(Ok(stream)) => Box::pin(self.talk_either(Box::new(stream), peer, watcher)).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    /// Serves the requests of a connection on which either HTTP is spoken.
    async fn talk_either<I>(&self, io: I, peer: SocketAddr, watcher: Watcher)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(Awaited::new(io));
        let connection = self.either.serve_connection(io, service(self.app.clone(), peer));
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    /// Serves the requests of a connection on which HTTP/2 is spoken.
    async fn talk_http2(&self, io: TlsStream<TcpStream>, peer: SocketAddr, watcher: Watcher) {
        let io = TokioIo::new(Awaited::new(Box::new(io)));
        let connection = self.http2.serve_connection(io, service(self.app.clone(), peer));
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

/// Answers the requests of a connection.
fn service(
    app: Router,
    peer: SocketAddr,
) -> impl Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> {
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request)
    })
}
