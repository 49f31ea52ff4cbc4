//! A gateway of the test's own: it keeps what agents say and can be dishonest.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use argosy_config::host::{OsEntropy, SystemClock};
use argosy_domain::{
    digest::Sha256,
    entropy::random_bytes,
    id::AgentId,
    time::{Clock as _, Timestamp},
};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    dpop,
    rpc::gateway::*,
    sign::{Signed, Statement, thumbprint},
    statement::{ChallengeStatement, EnrolmentReceipt, EnrolmentStatement, KeyCertificate},
};
use connectrpc::{
    ConnectError, Encodable, InboundStream, RequestContext, Response, Router, Server,
    ServiceRequest, ServiceResult, ServiceStream,
};
use ed25519_dalek::SigningKey;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use control_stream_request::Frame as Up;
use control_stream_response::Frame as Down;

/// Life of a session here: long enough to renew, short enough to wait for.
pub(crate) const SESSION_LIFE: Duration = Duration::from_secs(3);
/// The only nonce that proofs may hold.
pub(crate) const NONCE: &str = "the-nonce";

/// What an agent did, in the order in which it did it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Registered {
        token: String,
        statement: Vec<u8>,
    },
    Began,
    Completed {
        continuation: Option<Vec<u8>>,
    },
    NonceAsked,
    Hello,
    Heartbeat,
    Inventory(String),
    /// By its batch id.
    Telemetry(String),
    /// By its kind.
    Event(String),
    Renewed {
        token: String,
    },
}

/// A switch that a test holds: the code of every refusal.
pub(crate) type Refusing = Arc<Mutex<Option<&'static str>>>;

/// The gateway. Says what it sees on `seen`.
pub(crate) struct Fake {
    pub(crate) identity: SigningKey,
    pub(crate) command: SigningKey,
    /// Shown instead of the identity that is pinned, from the handshake on.
    pub(crate) impostor: Option<SigningKey>,
    /// What registrations and handshakes are refused with, while it is set.
    pub(crate) refusing: Refusing,
    /// The answer to the first upload of telemetry has been lost.
    pub(crate) lost: AtomicBool,
    pub(crate) seen: mpsc::UnboundedSender<Seen>,
}

fn public(key: &SigningKey) -> Bytes32 {
    Fixed(key.verifying_key().to_bytes())
}

fn wire(signed: Signed) -> SignedStatement {
    let signature = signed.signature.0.to_vec();
    SignedStatement { payload: signed.payload, signature, ..Default::default() }
}

fn agent() -> AgentId {
    "agent-1".parse().unwrap()
}

fn refused(code: &'static str) -> ConnectError {
    let mut metadata = http::HeaderMap::new();
    metadata.insert("argosy-code", http::HeaderValue::from_static(code));
    metadata.insert("dpop-nonce", http::HeaderValue::from_static(NONCE));
    ConnectError::unauthenticated(code).with_trailers(metadata)
}

impl Fake {
    /// Serves on a port of its own until it is dropped with the runtime.
    pub(crate) async fn serve(self) -> String {
        let bound = Server::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", bound.local_addr().unwrap());
        let router = Router::new().add_service(Arc::new(self));
        tokio::spawn(bound.serve(router));
        url
    }

    pub(crate) fn pin(&self) -> Bytes32 {
        thumbprint(&public(&self.identity))
    }

    fn see(&self, seen: Seen) {
        // The test may have seen enough.
        let _ = self.seen.send(seen);
    }

    fn willing(&self) -> Result<(), ConnectError> {
        self.refusing.lock().unwrap().map_or(Ok(()), |code| Err(refused(code)))
    }

    fn shown(&self) -> &SigningKey {
        self.impostor.as_ref().unwrap_or(&self.identity)
    }

    fn keys(&self, identity: &SigningKey) -> ServerKeys {
        let certificate = KeyCertificate {
            server: thumbprint(&public(identity)),
            usage: "command".into(),
            public_key: public(&self.command),
            serial: 1,
            not_before: Timestamp::from_seconds(0),
            not_after: SystemClock.now().plus(Duration::from_secs(3600)),
        };
        ServerKeys {
            identity_key: public(identity).0.to_vec(),
            certificates: vec![wire(Signed::new(identity, &certificate))],
            ..Default::default()
        }
    }

    /// Whether the call carries a session and a fresh proof of it.
    fn proved(&self, ctx: &RequestContext, token: Option<&str>) -> Result<(), ConnectError> {
        let text = |name: &str| ctx.header(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let shown = text("authorization").strip_prefix("DPoP ").unwrap_or_default();
        check_proof(text("dpop"), token.unwrap_or(shown)).inspect_err(|_| {
            self.see(Seen::NonceAsked);
        })
    }
}

fn check_proof(proof: &str, token: &str) -> Result<(), ConnectError> {
    let claims = dpop::read(proof).unwrap().claims;
    assert_eq!(claims.ath, dpop::token_hash(token));
    if claims.nonce.as_deref() == Some(NONCE) { Ok(()) } else { Err(refused("use_dpop_nonce")) }
}

impl AgentGatewayService for Fake {
    async fn register<'a>(
        &'a self,
        _: RequestContext,
        request: ServiceRequest<'_, RegisterRequest>,
    ) -> ServiceResult<impl Encodable<RegisterResponse> + Send + use<'a>> {
        let request = request.to_owned_message();
        let statement = request.statement.as_option().unwrap().payload.clone();
        let receipt = EnrolmentReceipt {
            server: self.pin(),
            agent_id: agent(),
            enrolment_sha256: Fixed(Sha256::of(&statement).0),
            status: "approved".into(),
            time: SystemClock.now(),
        };
        // Who is told may change its mind at once.
        let willing = self.willing();
        self.see(Seen::Registered {
            token: request.enrollment_token,
            statement: statement.clone(),
        });
        willing?;
        let answer = RegisterResponse {
            agent_id: agent().to_string(),
            enrollment_status: EnrollmentStatus::ENROLLMENT_STATUS_CONFIRMED.into(),
            identity_fingerprint: EnrolmentStatement::fingerprint(&statement).to_string(),
            api_key: Some("agent_key_that_is_long_enough".into()),
            receipt: Some(wire(Signed::new(&self.identity, &receipt))).into(),
            server_keys: Some(self.keys(&self.identity)).into(),
            ..Default::default()
        };
        Response::ok(answer)
    }

    async fn begin_auth_handshake<'a>(
        &'a self,
        _: RequestContext,
        request: ServiceRequest<'_, BeginAuthHandshakeRequest>,
    ) -> ServiceResult<impl Encodable<BeginAuthHandshakeResponse> + Send + use<'a>> {
        // Who is told may change its mind at once.
        let willing = self.willing();
        self.see(Seen::Began);
        willing?;
        let challenge = ChallengeStatement {
            server: thumbprint(&public(self.shown())),
            agent: agent(),
            agent_nonce: Fixed::from_slice(request.agent_nonce).unwrap(),
            challenge: Fixed(random_bytes(&OsEntropy)),
            server_time: SystemClock.now(),
        };
        let signed = Signed::new(&self.command, &challenge);
        assert_eq!(signed.payload, challenge.to_payload());
        Response::ok(BeginAuthHandshakeResponse {
            challenge: challenge.challenge.0.to_vec(),
            signature: signed.signature.0.to_vec(),
            statement: signed.payload,
            server_keys: Some(self.keys(self.shown())).into(),
            ..Default::default()
        })
    }

    async fn complete_auth_handshake<'a>(
        &'a self,
        _: RequestContext,
        request: ServiceRequest<'_, CompleteAuthHandshakeRequest>,
    ) -> ServiceResult<impl Encodable<CompleteAuthHandshakeResponse> + Send + use<'a>> {
        let continuation = request.continuation.map(<[u8]>::to_vec);
        self.see(Seen::Completed { continuation });
        // Both can be told from what came before: the challenge is fresh each time.
        let unique = Sha256::of(request.challenge).0;
        Response::ok(CompleteAuthHandshakeResponse {
            session_token: format!("session-{}", Fixed(unique)),
            expires_at: SystemClock.now().plus(SESSION_LIFE).to_string(),
            continuation: unique.to_vec(),
            ..Default::default()
        })
    }

    async fn rotate_identity_key<'a>(
        &'a self,
        _: RequestContext,
        _: ServiceRequest<'_, RotateIdentityKeyRequest>,
    ) -> ServiceResult<impl Encodable<RotateIdentityKeyResponse> + Send + use<'a>> {
        Response::ok(RotateIdentityKeyResponse::default())
    }

    async fn upload_heartbeat<'a>(
        &'a self,
        _: RequestContext,
        _: ServiceRequest<'_, UploadHeartbeatRequest>,
    ) -> ServiceResult<impl Encodable<UploadHeartbeatResponse> + Send + use<'a>> {
        Response::ok(UploadHeartbeatResponse::default())
    }

    async fn upload_inventory<'a>(
        &'a self,
        ctx: RequestContext,
        mut reports: InboundStream<UploadInventoryRequest>,
    ) -> ServiceResult<impl Encodable<UploadInventoryResponse> + Send + use<'a>> {
        self.proved(&ctx, None)?;
        while let Some(report) = reports.next().await {
            self.see(Seen::Inventory(report?.to_owned_message().subsystem));
        }
        Response::ok(UploadInventoryResponse::default())
    }

    async fn upload_telemetry<'a>(
        &'a self,
        ctx: RequestContext,
        mut batches: InboundStream<UploadTelemetryRequest>,
    ) -> ServiceResult<impl Encodable<UploadTelemetryResponse> + Send + use<'a>> {
        self.proved(&ctx, None)?;
        while let Some(batch) = batches.next().await {
            self.see(Seen::Telemetry(batch?.to_owned_message().batch_id));
        }
        if !self.lost.swap(true, Ordering::SeqCst) {
            return Err(ConnectError::unavailable("on the way"));
        }
        Response::ok(UploadTelemetryResponse::default())
    }

    async fn upload_events<'a>(
        &'a self,
        ctx: RequestContext,
        mut batches: InboundStream<UploadEventsRequest>,
    ) -> ServiceResult<impl Encodable<UploadEventsResponse> + Send + use<'a>> {
        self.proved(&ctx, None)?;
        while let Some(batch) = batches.next().await {
            for event in batch?.to_owned_message().events {
                self.see(Seen::Event(event.kind));
            }
        }
        Response::ok(UploadEventsResponse::default())
    }

    async fn control_stream(
        &self,
        ctx: RequestContext,
        mut frames: InboundStream<ControlStreamRequest>,
    ) -> ServiceResult<ServiceStream<impl Encodable<ControlStreamResponse> + Send + use<>>> {
        self.proved(&ctx, None)?;
        let (down, answers) = mpsc::unbounded_channel();
        let seen = self.seen.clone();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = frames.next().await {
                let (what, answer): (Seen, Down) = match frame.to_owned_message().frame {
                    Some(Up::Hello(_)) => (Seen::Hello, Accepted::default().into()),
                    Some(Up::Heartbeat(_)) => (Seen::Heartbeat, HeartbeatAck::default().into()),
                    Some(Up::Renew(renew)) => {
                        check_proof(&renew.proof, &renew.session_token).unwrap();
                        let token = renew.session_token.clone();
                        (Seen::Renewed { token }, Renewed::default().into())
                    }
                    Some(Up::Ack(_) | Up::Result(_) | Up::State(_)) | None => continue,
                };
                // The test may have seen enough.
                let _ = seen.send(what);
                let answer = ControlStreamResponse { frame: Some(answer), ..Default::default() };
                if down.send(Ok(answer)).is_err() {
                    return;
                }
            }
        });
        Ok(Response::stream(UnboundedReceiverStream::new(answers)))
    }
}
