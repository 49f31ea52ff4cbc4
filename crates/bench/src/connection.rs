//! A connection for REST calls that costs the generator as little as may be.

use http::{
    Method, Request, StatusCode,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Outcome;

/// One kept-alive HTTP/1.1 connection without TLS.
pub(crate) struct Http1 {
    send: SendRequest<Full<Bytes>>,
    host: String,
}

impl Http1 {
    /// Opens it.
    pub(crate) async fn connect(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; whoever sends hears of it.
        tokio::spawn(connection);
        Ok(Self { send, host: address.to_owned() })
    }

    /// `GET`; the body, whatever the status.
    pub(crate) async fn get(&mut self, path: &str) -> Outcome<(StatusCode, Bytes)> {
        self.send(Method::GET, path, None, Bytes::new()).await
    }

    /// `POST` of a JSON body with one more header; the body of the answer, whatever the status.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        header: Option<(&str, &str)>,
        body: impl Into<Bytes>,
    ) -> Outcome<(StatusCode, Bytes)> {
        self.send(Method::POST, path, header, body.into()).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        header: Option<(&str, &str)>,
        body: Bytes,
    ) -> Outcome<(StatusCode, Bytes)> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body))?;
        self.send.ready().await?;
        let answer = self.send.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

/// Refuses an answer that is no success.
pub(crate) fn good((status, body): (StatusCode, Bytes)) -> Outcome<Bytes> {
    if status.is_success() {
        return Ok(body);
    }
    Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into())
}
