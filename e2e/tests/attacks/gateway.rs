//! The agents' RPC service, called with whatever credentials a test wants to show.

use argosy_agent::transport::Rpc;
use argosy_domain::digest::Sha256;
use argosy_e2e::{agent::TestAgent, server::TestServer};
use argosy_wire::{
    bytes::Fixed,
    problem::Code,
    rpc::admin::AgentAdminServiceClient,
    rpc::gateway::{
        __buffa::view::ControlStreamResponseView, ControlStreamRequest, ControlStreamResponse,
        Heartbeat, Hello, SignedStatement, UploadHeartbeatRequest, UploadInventoryRequest,
        control_stream_request::Frame as Up,
    },
    sign::{Signed, Statement},
    statement::{HelloStatement, KeyCertificate},
};
use connectrpc::{
    ConnectError, Protocol,
    client::{
        BidiStream, CallOptions, ClientConfig, ClientTransport, Http2Connection,
        SharedHttp2Connection,
    },
};
use ed25519_dalek::SigningKey;

pub(crate) use argosy_e2e::rpc::{code, link, proved, session};
pub(crate) use argosy_wire::rpc::gateway::control_stream_response::Frame as Down;

/// Path of the control stream.
pub(crate) const STREAM: &str = "/agentgateway.v1.AgentGatewayService/ControlStream";
/// Path of the heartbeat without a stream.
pub(crate) const HEARTBEAT: &str = "/agentgateway.v1.AgentGatewayService/UploadHeartbeat";
/// Path of the reports of subsystems.
pub(crate) const INVENTORY: &str = "/agentgateway.v1.AgentGatewayService/UploadInventory";

/// A stream in the test's hands.
pub(crate) type Stream = BidiStream<
    <SharedHttp2Connection as ClientTransport>::ResponseBody,
    ControlStreamRequest,
    ControlStreamResponseView<'static>,
>;

/// A client on a connection of its own.
pub(crate) fn rpc(server: &TestServer) -> Rpc {
    link(server).rpc().clone()
}

/// The operators' service.
pub(crate) fn admin(server: &TestServer) -> AgentAdminServiceClient<SharedHttp2Connection> {
    let uri: http::Uri = server.url.parse().unwrap();
    let connection = Http2Connection::builder().lazy_plaintext(uri.clone());
    let config = ClientConfig::new(uri).with_protocol(Protocol::Grpc);
    AgentAdminServiceClient::new(connection.shared(16), config)
}

/// A bare API key.
pub(crate) fn bearer(key: &str) -> CallOptions {
    CallOptions::default().with_header("authorization", format!("Bearer {key}"))
}

/// A heartbeat.
pub(crate) async fn heartbeat(rpc: &Rpc, options: CallOptions) -> Result<(), ConnectError> {
    let request = UploadHeartbeatRequest::default();
    rpc.upload_heartbeat_with_options(request, options).await.map(drop)
}

/// A run of `storage` that failed on the host: the smallest report there is.
pub(crate) fn report() -> UploadInventoryRequest {
    UploadInventoryRequest {
        subsystem: "storage".to_owned(),
        captured_at: "2026-11-22T08:00:00Z".to_owned(),
        error: "no such file".to_owned(),
        breaker: "closed".to_owned(),
        ..Default::default()
    }
}

/// One upload of one report.
pub(crate) async fn upload(rpc: &Rpc, options: CallOptions) -> Result<u32, ConnectError> {
    let reports = futures::stream::iter([report()]);
    let answer = rpc.upload_inventory_with_options(reports, options).await?;
    Ok(answer.into_owned().accepted_count)
}

/// A signed statement as it travels.
pub(crate) fn statement_of(signed: Signed) -> SignedStatement {
    SignedStatement {
        payload: signed.payload,
        signature: signed.signature.0.to_vec(),
        ..Default::default()
    }
}

fn signed(statement: &SignedStatement) -> Signed {
    let signature = Fixed::from_slice(&statement.signature).unwrap();
    Signed { payload: statement.payload.clone(), signature }
}

/// What the server's certified key signed, verified as an agent does it.
pub(crate) fn certified<S: Statement>(
    server: &TestServer,
    envelope: &SignedStatement,
    certificate: &SignedStatement,
) -> S {
    let identity = server.app.keyring().identity_public();
    let certificate: KeyCertificate = signed(certificate).verify(&identity).unwrap();
    signed(envelope).verify(&certificate.public_key).unwrap()
}

/// A hello that the agent's own key signs for its own session.
pub(crate) fn hello(agent: &TestAgent) -> ControlStreamRequest {
    signed_hello(&agent.key, &hello_statement(agent))
}

/// What an honest hello says.
pub(crate) fn hello_statement(agent: &TestAgent) -> HelloStatement {
    HelloStatement {
        agent: agent.id(),
        session_sha256: Fixed(Sha256::of(agent.session.as_bytes()).0),
        journal_id: "journal-1".parse().unwrap(),
        high_water: argosy_domain::command::CommandSeq(0),
    }
}

/// Any hello by any key.
pub(crate) fn signed_hello(key: &SigningKey, statement: &HelloStatement) -> ControlStreamRequest {
    configured_hello(key, statement, 0)
}

/// The same of an agent that has a configuration of this generation.
pub(crate) fn configured_hello(
    key: &SigningKey,
    statement: &HelloStatement,
    config_generation: i64,
) -> ControlStreamRequest {
    let hello = Hello {
        version: "0.1.0".to_owned(),
        statement: Some(statement_of(Signed::new(key, statement))).into(),
        config_generation,
        ..Default::default()
    };
    frame(hello.into())
}

/// A heartbeat on a stream.
pub(crate) fn heartbeat_frame() -> ControlStreamRequest {
    frame(Heartbeat::default().into())
}

/// Any frame.
pub(crate) fn frame(frame: Up) -> ControlStreamRequest {
    ControlStreamRequest { frame: Some(frame), ..Default::default() }
}

/// The next frame of a stream; none where it ended in silence.
pub(crate) async fn next(stream: &mut Stream) -> Result<Option<Down>, ConnectError> {
    let message = stream.message().await?;
    let message: Option<ControlStreamResponse> = message.map(|m| m.to_owned_message());
    Ok(message.and_then(|message| message.frame))
}

/// Asks for a stream without saying hello: the server looks at credentials first.
pub(crate) async fn knock(rpc: &Rpc, options: CallOptions) -> Stream {
    rpc.control_stream_with_options(options).await.unwrap()
}

/// Asks for a stream with a first frame; accepted, or refused with a code.
pub(crate) async fn open(
    rpc: &Rpc,
    options: CallOptions,
    first: ControlStreamRequest,
) -> Result<Stream, Code> {
    let mut stream = knock(rpc, options).await;
    // Where this fails, the reason comes with the first message.
    let _ = stream.send(first).await;
    match next(&mut stream).await {
        Ok(Some(Down::Accepted(_))) => Ok(stream),
        Ok(other) => panic!("neither accepted nor refused: {other:?}"),
        Err(error) => Err(code(&error)),
    }
}
