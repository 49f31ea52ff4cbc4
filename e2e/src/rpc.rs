//! The agents' RPC service, as a test calls it.

use argosy_agent::{
    server_url::ServerUrl,
    transport::{CallError, Link},
};
use argosy_wire::problem::Code;
use connectrpc::{ConnectError, client::CallOptions};

use crate::{agent::TestAgent, server::TestServer};

/// The way to a server.
pub fn link(server: &TestServer) -> Link {
    let url: ServerUrl = server.url.parse().unwrap();
    Link::new(url, None, None).unwrap()
}

/// A session token with a proof.
pub fn proved(token: &str, proof: &str) -> CallOptions {
    let options = CallOptions::default().with_header("authorization", format!("DPoP {token}"));
    options.with_header("dpop", proof)
}

/// The agent's session with a fresh proof for `path`.
pub fn session(agent: &TestAgent, server: &TestServer, path: &str) -> CallOptions {
    proved(&agent.session, &agent.proof(server, "POST", path))
}

/// The server's code for a refusal; the gRPC status must be the code's.
pub fn code(error: &ConnectError) -> Code {
    let CallError::Refused { code, .. } = CallError::from(error.clone()) else {
        panic!("not a refusal of the server: {error:?}");
    };
    assert_eq!(error.code.grpc_code(), code.rpc() as u32, "{error:?}");
    code
}
