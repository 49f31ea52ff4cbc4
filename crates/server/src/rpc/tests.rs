//! The whole interface over a real socket, with the client that is generated from the contract.

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

#[tokio::test]
async fn every_method_of_the_contract_is_served_and_listed() {
    let test = test_app().await;
    let methods = methods(&test.app);
    let mounted: BTreeSet<String> = methods.methods().map(|method| format!("/{method}")).collect();
    assert_eq!(procedures().into_iter().collect::<BTreeSet<_>>(), mounted);
    assert!(mounted.len() == OWN.len() + PUBLIC.len());
}

#[tokio::test]
async fn a_bad_token_of_any_kind_and_length_gets_one_answer() {
    let server = server().await;
    let unknown = TokenString {
        id: "nobody".parse().unwrap(),
        secret: argosy_wire::token::Secret32::new([3; 32]),
        pin: None,
    };
    let too_long = format!("boot_{}", "x".repeat(600));
    let mut answers = Vec::new();
    for token in ["", "boot_x", &too_long, &unknown.reveal()] {
        let request = RegisterRequest {
            enrollment_token: token.into(),
            name: "n".into(),
            ..Default::default()
        };
        let error = server.gateway.register(request).await.unwrap_err();
        assert_eq!(code(&error), (ErrorCode::Unauthenticated, "invalid_token"), "{token}");
        answers.push(error.message);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn a_field_of_the_wrong_length_is_named() {
    let server = server().await;
    let agent = TestAgent::register(&server).await;
    let begin = agent.begin();
    let cases = [
        ("api_key", BeginAuthHandshakeRequest { api_key: "short".into(), ..begin.clone() }),
        (
            "identity_pubkey",
            BeginAuthHandshakeRequest { identity_pubkey: vec![1], ..begin.clone() },
        ),
        ("agent_nonce", BeginAuthHandshakeRequest { agent_nonce: vec![], ..begin.clone() }),
    ];
    for (field, request) in cases {
        let error = server.gateway.begin_auth_handshake(request).await.unwrap_err();
        assert_eq!(code(&error), (ErrorCode::InvalidArgument, "invalid"));
        assert!(error.message.as_deref().unwrap().starts_with(field), "{:?}", error.message);
    }
    let error = server.gateway.begin_auth_handshake(begin).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::FailedPrecondition, "not_approved"));
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let server = server().await;
    let request = RegisterRequest { name: "n".repeat(70 * 1024), ..Default::default() };
    let error = server.gateway.register(request).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ResourceExhausted);
}

#[tokio::test]
async fn health_answers_in_plain_json_and_unknown_methods_are_unimplemented() {
    let test = test_app().await;
    let ask = |path: &str, media_type: &str| {
        let request = Request::post(path.to_owned()).header("content-type", media_type);
        router(&test.app).oneshot(request.body(Body::from("{}")).unwrap())
    };
    let healthy = ask("/grpc.health.v1.Health/Check", "application/json").await.unwrap();
    assert_eq!(healthy.status(), StatusCode::OK);
    let body = axum::body::to_bytes(healthy.into_body(), 1_000).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("SERVING"), "{body:?}");
    let unknown = ask("/agentgateway.v1.AgentGatewayService/Nothing", "application/grpc").await;
    assert_eq!(unknown.unwrap().headers()["grpc-status"], "12");
    let elsewhere = ask("/some.other.Service/Do", "application/grpc").await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND, "left to REST");
}

#[tokio::test]
async fn without_a_session_nothing_is_taken_and_the_nonce_is_told() {
    let server = server().await;
    let mut stream = server.gateway.control_stream().await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "unauthenticated"));
    assert!(metadata(&error, "dpop-nonce").is_some());

    let error = server.gateway.upload_heartbeat(UploadHeartbeatRequest::default()).await;
    let error = error.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "unauthenticated"));
    assert!(metadata(&error, "dpop-nonce").is_some());

    let error = server.admin.list_agents(ListAgentsRequest::default()).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "unauthenticated"));
}

#[tokio::test]
async fn a_bare_secret_of_an_agent_with_keys_opens_nothing_but_a_handshake() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let bearer = format!("Bearer {}", agent.registered.api_key.as_ref().unwrap());
    let options = CallOptions::default().with_header("authorization", bearer);
    let call = server.gateway.upload_heartbeat_with_options(Default::default(), options.clone());
    assert_eq!(code(&call.await.unwrap_err()), (ErrorCode::Unauthenticated, "proof_required"));
    let mut stream = server.gateway.control_stream_with_options(options).await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "proof_required"));
}

#[tokio::test]
async fn session_calls_need_a_proof_for_their_own_path_with_the_servers_nonce() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let beat = |options| {
        let request =
            UploadHeartbeatRequest { sent_at: "2026-01-01T00:00:00Z".into(), ..Default::default() };
        server.gateway.upload_heartbeat_with_options(request, options)
    };
    let error = beat(agent.proof(UPLOAD_HEARTBEAT, None)).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "use_dpop_nonce"));
    let nonce = metadata(&error, "dpop-nonce").unwrap().to_owned();
    let error = beat(agent.proof(UPLOAD_INVENTORY, Some(&nonce))).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "invalid_dpop_proof"));
    let options = agent.proof(UPLOAD_HEARTBEAT, Some(&nonce));
    let taken = beat(options.clone()).await.unwrap();
    assert!(taken.headers().contains_key("dpop-nonce"));
    assert!(!taken.view().received_at.is_empty());
    let error = beat(options).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "invalid_dpop_proof"), "a replay");
}

#[tokio::test]
async fn reports_are_counted_and_a_bad_one_is_named() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let report = |error: &str| UploadInventoryRequest {
        subsystem: "system".into(),
        captured_at: "2026-01-01T00:00:00Z".into(),
        error: error.into(),
        breaker: "closed".into(),
        ..Default::default()
    };
    let upload = |reports: Vec<UploadInventoryRequest>| {
        let options = agent.call(UPLOAD_INVENTORY);
        server.gateway.upload_inventory_with_options(connectrpc::stream_iter(reports), options)
    };
    let taken = upload(vec![report("timed out"), report("timed out")]).await.unwrap();
    assert_eq!(taken.view().accepted_count, 2);
    let error = upload(vec![report("")]).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::InvalidArgument, "invalid"));
    assert!(error.message.as_deref().unwrap().starts_with("report"));
    let large = UploadInventoryRequest { report: vec![b' '; 1_200_000], ..report("") };
    let error = upload(vec![large]).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::ResourceExhausted, "too_large"));
}

#[tokio::test]
async fn a_stream_takes_heartbeats_hands_out_commands_and_survives_a_frame_about_nothing() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let mut stream = agent.stream(&server).await;
    assert!(server.test.app.hub().has(&agent.id()));
    assert!(stream.headers().unwrap().contains_key("dpop-nonce"));

    let about_nothing = Ack {
        command_id: "no-such-command".into(),
        code: AckCode::ACK_CODE_RECEIVED.into(),
        ..Default::default()
    };
    stream.send(up(about_nothing)).await.unwrap();
    stream.send(up(Heartbeat::default())).await.unwrap();
    assert!(matches!(down(&mut stream).await, Some(Frame::HeartbeatAck(_))));

    let origin = crate::app::Origin::default();
    let admin = server.test.app.authenticate_key(&origin, &server.test.admin_key).await.unwrap();
    let order = CreateCommand {
        kind: "subsystem.run".into(),
        params: serde_json::json!({ "subsystem": "system" }),
        expires_in: None,
        idempotency_key: None,
    };
    let app = &server.test.app;
    let command = app.create_command(&admin, &origin, &agent.id(), &order).await.unwrap().id;
    let Some(Frame::Command(sent)) = down(&mut stream).await else { panic!("no command") };
    let envelope = sent.envelope.as_option().unwrap();
    assert!(String::from_utf8_lossy(&envelope.payload).contains(command.as_str()));
    assert!(sent.certificate.is_set());

    drop(stream);
    until(|| !server.test.app.hub().has(&agent.id())).await;
}

#[tokio::test]
async fn the_newest_stream_wins_and_a_revoked_agent_loses_it() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let mut older = agent.stream(&server).await;
    let mut newer = agent.stream(&server).await;
    let Some(Frame::Goaway(goaway)) = down(&mut older).await else { panic!("no goaway") };
    assert_eq!(goaway.reason, "replaced");
    assert!(down(&mut older).await.is_none(), "the stream ends");
    assert!(server.test.app.hub().has(&agent.id()));

    let agent_id = agent.registered.agent_id.clone();
    let request = RevokeAgentRequest { agent_id, ..Default::default() };
    server.admin.revoke_agent_with_options(request, server.by_admin()).await.unwrap();
    let Some(Frame::Goaway(goaway)) = down(&mut newer).await else { panic!("no goaway") };
    assert_eq!(goaway.reason, "revoked");
    assert!(down(&mut newer).await.is_none());
    assert!(!server.test.app.hub().has(&agent.id()));
}

#[tokio::test]
async fn an_empty_frame_ends_the_stream_and_so_does_a_hello_that_does_not_verify() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let mut stream = agent.stream(&server).await;
    stream.send(ControlStreamRequest::default()).await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::InvalidArgument, "invalid"));
    assert_eq!(error.message.as_deref(), Some("frame is empty"));
    assert!(metadata(&error, "dpop-nonce").is_some());
    until(|| !server.test.app.hub().has(&agent.id())).await;

    let options = agent.call(CONTROL_STREAM);
    let mut stream = server.gateway.control_stream_with_options(options).await.unwrap();
    stream.send(up(Heartbeat::default())).await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::InvalidArgument, "invalid"), "hello comes first");

    let mut forged = agent.hello();
    if let Some(argosy_wire::rpc::gateway::control_stream_request::Frame::Hello(hello)) =
        &mut forged.frame
    {
        hello.statement.as_option_mut().unwrap().signature[0] ^= 1;
    }
    let options = agent.call(CONTROL_STREAM);
    let mut stream = server.gateway.control_stream_with_options(options).await.unwrap();
    stream.send(forged).await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "unauthenticated"));
    assert!(server.test.app.hub().is_empty());
}
