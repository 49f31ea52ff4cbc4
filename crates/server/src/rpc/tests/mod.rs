//! The whole interface over a real socket, with the client that is generated from the contract.

mod calls;
mod streams;

use std::net::SocketAddr;

use argosy_config::host::{OsEntropy, SystemClock};
use argosy_domain::{entropy::random_bytes, id::AgentId, time::Clock as _};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    dpop::{self, ProofRequest},
    rest::commands::CreateCommand,
    rpc::{
        admin::{
            AgentAdminServiceClient, ConfirmAgentRequest, CreateEnrollmentCodeRequest,
            ListAgentsRequest, RevokeAgentRequest,
        },
        gateway::{
            Ack, AckCode, AgentGatewayServiceClient, BeginAuthHandshakeRequest,
            CompleteAuthHandshakeRequest, ControlStreamRequest, Heartbeat, Hello, RegisterRequest,
            RegisterResponse, SignedStatement, UploadHeartbeatRequest, UploadInventoryRequest,
            control_stream_response::Frame,
        },
    },
    sign::Signed,
    statement::{EnrolmentStatement, HandshakeStatement, HelloStatement, ServerPin},
    token::TokenString,
};
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use connectrpc::{
    ConnectError, ErrorCode, Protocol,
    client::{BidiStream, CallOptions, ClientConfig, Http2Connection, SharedHttp2Connection},
};
use ed25519_dalek::SigningKey;
use tower::ServiceExt as _;

use super::*;
use crate::testing::{PUBLIC_URL, TestApp, test_app};

type Gateway = AgentGatewayServiceClient<SharedHttp2Connection>;
type Admin = AgentAdminServiceClient<SharedHttp2Connection>;

/// A server on a port of its own.
struct Server {
    test: TestApp,
    gateway: Gateway,
    admin: Admin,
}

async fn server() -> Server {
    let test = test_app().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri: axum::http::Uri =
        format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let service = router(&test.app).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let connection = Http2Connection::builder().lazy_plaintext(uri.clone()).shared(64);
    let config = ClientConfig::new(uri).with_protocol(Protocol::Grpc);
    let gateway = Gateway::new(connection.clone(), config.clone());
    Server { test, gateway, admin: Admin::new(connection, config) }
}

fn metadata<'e>(error: &'e ConnectError, key: &str) -> Option<&'e str> {
    let value = error.response_headers().get(key).or_else(|| error.trailers().get(key))?;
    value.to_str().ok()
}

fn code(error: &ConnectError) -> (ErrorCode, &str) {
    (error.code, metadata(error, "argosy-code").unwrap_or("none"))
}

impl Server {
    fn by_admin(&self) -> CallOptions {
        let key = format!("Bearer {}", self.test.admin_key);
        CallOptions::default().with_header("authorization", key)
    }

    async fn token(&self) -> TokenString {
        let request = CreateEnrollmentCodeRequest { name: "t".into(), ..Default::default() };
        let made = self.admin.create_enrollment_code_with_options(request, self.by_admin()).await;
        TokenString::parse(&made.unwrap().into_owned().enrollment_token).unwrap()
    }

    async fn confirm(&self, registered: &RegisterResponse) {
        let request = ConfirmAgentRequest {
            agent_id: registered.agent_id.clone(),
            identity_fingerprint: registered.identity_fingerprint.clone(),
            ..Default::default()
        };
        self.admin.confirm_agent_with_options(request, self.by_admin()).await.unwrap();
    }
}

fn travelling(signed: &Signed) -> SignedStatement {
    SignedStatement {
        payload: signed.payload.clone(),
        signature: signed.signature.0.to_vec(),
        ..Default::default()
    }
}

/// An agent that does by hand what the protocol asks for.
struct TestAgent {
    key: SigningKey,
    registered: RegisterResponse,
    session: String,
    nonce: String,
}

impl TestAgent {
    async fn register(server: &Server) -> Self {
        let token = server.token().await;
        let key = SigningKey::from_bytes(&random_bytes(&OsEntropy));
        let statement = EnrolmentStatement {
            server: ServerPin::Tofu,
            token_id: token.id.clone(),
            name: "host-1".into(),
            account_id: argosy_domain::id::AccountId::DEFAULT,
            identity_key: Fixed(key.verifying_key().to_bytes()),
            encryption_key: Fixed(random_bytes(&OsEntropy)),
            device_signing_key: None,
            machine_id: None,
            hostname: "host-1".into(),
            platform: "linux-amd64".into(),
            version: "1.0.0".into(),
            release_root_sha256: None,
            nonce: Fixed(random_bytes(&OsEntropy)),
        };
        let signed = Signed::new(&key, &statement);
        let request = RegisterRequest {
            enrollment_token: token.prove(&signed.payload).to_text(),
            name: "host-1".into(),
            statement: Some(travelling(&signed)).into(),
            ..Default::default()
        };
        let registered = server.gateway.register(request).await.unwrap().into_owned();
        Self { key, registered, session: String::new(), nonce: String::new() }
    }

    fn id(&self) -> AgentId {
        self.registered.agent_id.parse().unwrap()
    }

    fn begin(&self) -> BeginAuthHandshakeRequest {
        BeginAuthHandshakeRequest {
            api_key: self.registered.api_key.clone().unwrap(),
            identity_pubkey: self.key.verifying_key().to_bytes().to_vec(),
            agent_nonce: vec![7; 32],
            ..Default::default()
        }
    }

    async fn handshake(&mut self, server: &Server) {
        let begun = server.gateway.begin_auth_handshake(self.begin()).await.unwrap().into_owned();
        let statement = HandshakeStatement {
            server: server.test.app.keyring().thumbprint(),
            agent: self.id(),
            challenge: Bytes32::from_slice(&begun.challenge).unwrap(),
            machine_id: None,
            version: "1.0.0".into(),
            continuation: None,
            nonce: None,
        };
        let request = CompleteAuthHandshakeRequest {
            agent_id: self.registered.agent_id.clone(),
            challenge: begun.challenge,
            signature: Signed::new(&self.key, &statement).signature.0.to_vec(),
            version: "1.0.0".into(),
            ..Default::default()
        };
        let session = server.gateway.complete_auth_handshake(request).await.unwrap().into_owned();
        (self.session, self.nonce) = (session.session_token, session.dpop_nonce);
    }

    /// An approved agent with a session.
    async fn ready(server: &Server) -> Self {
        let mut agent = Self::register(server).await;
        server.confirm(&agent.registered).await;
        agent.handshake(server).await;
        agent
    }

    fn proof(&self, method: Spec, nonce: Option<&str>) -> CallOptions {
        let url = format!("{PUBLIC_URL}{}", method.procedure);
        let request = ProofRequest { method: "POST", url: &url, token: &self.session, nonce };
        let unique = random_bytes(&OsEntropy);
        let proof = dpop::make(&self.key, request, &unique, SystemClock.now()).unwrap();
        CallOptions::default()
            .with_header("authorization", format!("DPoP {}", self.session))
            .with_header("dpop", proof)
    }

    fn call(&self, method: Spec) -> CallOptions {
        self.proof(method, Some(&self.nonce))
    }

    fn hello(&self) -> ControlStreamRequest {
        let statement = HelloStatement {
            agent: self.id(),
            session_sha256: Fixed(argosy_domain::digest::Sha256::of(self.session.as_bytes()).0),
            journal_id: "j-1".parse().unwrap(),
            high_water: argosy_domain::command::CommandSeq(0),
        };
        let signed = Signed::new(&self.key, &statement);
        let statement = Some(travelling(&signed)).into();
        up(Hello { version: "1.0.0".into(), statement, ..Default::default() })
    }

    async fn stream(&self, server: &Server) -> Stream {
        let options = self.call(CONTROL_STREAM);
        let mut stream = server.gateway.control_stream_with_options(options).await.unwrap();
        stream.send(self.hello()).await.unwrap();
        assert!(matches!(down(&mut stream).await, Some(Frame::Accepted(_))));
        stream
    }
}

type Stream = BidiStream<
    <SharedHttp2Connection as connectrpc::client::ClientTransport>::ResponseBody,
    ControlStreamRequest,
    argosy_wire::rpc::gateway::__buffa::view::ControlStreamResponseView<'static>,
>;

fn up(
    frame: impl Into<argosy_wire::rpc::gateway::control_stream_request::Frame>,
) -> ControlStreamRequest {
    ControlStreamRequest { frame: Some(frame.into()), ..Default::default() }
}

async fn down(stream: &mut Stream) -> Option<Frame> {
    stream.message().await.unwrap().and_then(|message| message.to_owned_message().frame)
}

/// Waits until something holds; whoever waits for ever is stopped by the test runner.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}
