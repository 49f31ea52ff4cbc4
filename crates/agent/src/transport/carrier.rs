//! What carries calls: one HTTP/2 connection, or HTTP/1.1 where something on the way allows no more.

use connectrpc::{
    ConnectError,
    client::{BoxFuture, ClientBody, ClientTransport, HttpClient, SharedHttp2Connection},
};
use http::{Request, Response};
use serde::{Deserialize, Serialize};

/// How an agent and its server speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A control stream, and calls by gRPC beside it.
    Stream,
    /// Calls that wait for an answer, and no stream.
    LongPoll,
}

impl Channel {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::LongPoll => "long-poll, because streams do not get through to the server",
        }
    }
}

/// What carries calls.
#[derive(Clone)]
pub enum Carrier {
    /// One connection for all calls.
    Http2(SharedHttp2Connection),
    /// A connection for each call at a time.
    Http1(Box<HttpClient>),
}

impl ClientTransport for Carrier {
    type ResponseBody = <SharedHttp2Connection as ClientTransport>::ResponseBody;
    type Error = ConnectError;

    fn send(
        &self,
        request: Request<ClientBody>,
    ) -> BoxFuture<'static, Result<Response<Self::ResponseBody>, Self::Error>> {
        match self {
            Self::Http2(connection) => connection.send(request),
            Self::Http1(client) => client.send(request),
        }
    }
}
