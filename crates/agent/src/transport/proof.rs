//! Proofs of possession for session calls (DPoP, RFC 9449).
//!
//! Every call carries a proof of its own; the server's latest nonce is remembered from whatever it
//! answered last, headers before trailers. A call that lacked the nonce is repeated once.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use argosy_domain::{digest::Sha256, entropy::random_bytes};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    dpop::{self, ProofRequest},
    problem::Code,
};
use connectrpc::{
    ConnectError, Spec,
    client::{CallOptions, UnaryResponse},
};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use serde::{Serialize, de::DeserializeOwned};

use super::{CALL_TIMEOUT, CallError, Link, call_error::metadata};
use crate::{credentials::SecretText, deps::Deps, host, keys::Keys};

/// Metadata with the server's nonce.
const NONCE_HEADER: &str = "dpop-nonce";

/// Metadata with the salted id of the machine.
const MACHINE_ID_HEADER: &str = "x-machine-id";
/// Metadata with the version of the agent.
const VERSION_HEADER: &str = "x-agent-version";

/// A call that is under way.
pub type Call<'a, Answer> = BoxFuture<'a, Result<UnaryResponse<Answer>, ConnectError>>;

/// A session with the server.
#[derive(Clone)]
pub struct Session {
    token: Arc<SecretText>,
    /// On the boot clock.
    expires: Duration,
}

impl Session {
    /// A session that ends at `expires` on the boot clock.
    pub fn new(token: String, expires: Duration) -> Self {
        Self { token: Arc::new(SecretText::new(token)), expires }
    }

    /// The token, for the one who sends it.
    pub fn token(&self) -> &str {
        self.token.expose()
    }

    /// SHA-256 of the token: how a hello names its session.
    pub fn sha256(&self) -> Bytes32 {
        Fixed(Sha256::of(self.token().as_bytes()).0)
    }

    /// When it ends, on the boot clock.
    pub fn expires(&self) -> Duration {
        self.expires
    }

    /// Whether two are the same session.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.token, &other.token)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session(… until {:?})", self.expires)
    }
}

/// Makes proofs, and remembers the server's nonce.
pub struct Prover {
    keys: Arc<Keys>,
    deps: Deps,
    machine_id: Option<Bytes32>,
    nonce: Mutex<Option<String>>,
}

impl Prover {
    /// A prover that knows no nonce yet.
    ///
    /// `machine_id` is the salted id of the machine that it runs on, where one was enrolled: each
    /// call shows it, so that a copied state directory is noticed.
    pub fn new(keys: Arc<Keys>, deps: Deps, machine_id: Option<Bytes32>) -> Self {
        Self { keys, deps, machine_id, nonce: Mutex::new(None) }
    }

    /// Remembers a nonce that came in a message.
    pub fn learn(&self, nonce: &str) {
        if !nonce.is_empty() {
            *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce.to_owned());
        }
    }

    /// Remembers the nonce of an answer.
    pub fn observe(&self, headers: &HeaderMap, trailers: &HeaderMap) {
        let nonce = headers.get(NONCE_HEADER).or_else(|| trailers.get(NONCE_HEADER));
        if let Some(nonce) = nonce.and_then(|value| value.to_str().ok()) {
            self.learn(nonce);
        }
    }

    /// Remembers the nonce of a refusal; whether the refusal asks for a proof with it.
    pub fn observe_error(&self, error: &ConnectError) -> bool {
        if let Some(nonce) = metadata(error, NONCE_HEADER) {
            self.learn(nonce);
        }
        CallError::from(error.clone()).code() == Some(Code::UseDpopNonce)
    }

    /// A fresh proof for one call under `session`.
    pub fn proof(&self, link: &Link, rpc: Spec, session: &Session) -> Result<String, CallError> {
        self.proof_at(&link.url_of(rpc), session)
    }

    fn proof_at(&self, url: &str, session: &Session) -> Result<String, CallError> {
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request =
            ProofRequest { method: "POST", url, token: session.token(), nonce: nonce.as_deref() };
        let unique = random_bytes(self.deps.entropy.as_ref());
        dpop::make(&self.keys.identity(), request, &unique, self.deps.clock.now())
            .map_err(|_| CallError::Protocol("a session token that cannot be proved"))
    }

    /// The options of a call under `session`. Streams have no timeout of their own.
    pub fn options(
        &self,
        link: &Link,
        rpc: Spec,
        session: &Session,
    ) -> Result<CallOptions, CallError> {
        let proof = self.proof(link, rpc, session)?;
        let options = CallOptions::default()
            .try_with_header("authorization", format!("DPoP {}", session.token()))
            .and_then(|options| options.try_with_header("dpop", proof));
        let options = match self.machine_id {
            Some(id) => options.and_then(|o| o.try_with_header(MACHINE_ID_HEADER, id.to_string())),
            None => options,
        };
        let options = options.and_then(|o| o.try_with_header(VERSION_HEADER, host::VERSION));
        options.map_err(|_| CallError::Protocol("a session token that fits no header"))
    }

    /// Makes a call under `session`, once more where the server asks for its nonce.
    pub async fn call<'a, Answer>(
        &self,
        link: &Link,
        rpc: Spec,
        session: &Session,
        send: impl Fn(CallOptions) -> Call<'a, Answer>,
    ) -> Result<Answer, CallError> {
        let mut repeated = false;
        loop {
            let options = self.options(link, rpc, session)?.with_timeout(CALL_TIMEOUT);
            match send(options).await {
                Ok(answer) => {
                    self.observe(answer.headers(), answer.trailers());
                    return Ok(answer.into_view());
                }
                Err(error) => {
                    let asked = self.observe_error(&error);
                    if !asked || repeated {
                        return Err(error.into());
                    }
                    repeated = true;
                }
            }
        }
    }
}

impl Prover {
    /// Makes a REST call under `session`, once more where the server asks for its nonce.
    pub async fn post<A: DeserializeOwned>(
        &self,
        link: &Link,
        path: &str,
        session: &Session,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<A, CallError> {
        let unfit = |_| CallError::Protocol("a session token that fits no header");
        let body = serde_json::to_vec(body).map_err(|_| CallError::Protocol("no JSON"))?;
        let mut repeated = false;
        loop {
            let proof = self.proof_at(&link.url_at(path), session)?;
            let mut headers = HeaderMap::new();
            let authorization = format!("DPoP {}", session.token());
            headers.insert("authorization", authorization.parse().map_err(unfit)?);
            headers.insert("dpop", proof.parse().map_err(unfit)?);
            if let Some(id) = self.machine_id {
                headers.insert(MACHINE_ID_HEADER, id.to_string().parse().map_err(unfit)?);
            }
            headers.insert(VERSION_HEADER, HeaderValue::from_static(host::VERSION));
            let answer = link.post(path, headers, body.clone(), patience).await?;
            self.observe(&answer.headers, &answer.headers);
            match answer.said {
                Err(error) if error.code() == Some(Code::UseDpopNonce) && !repeated => {
                    repeated = true;
                }
                said => return said,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_config::host::{OsEntropy, SystemClock};
    use argosy_wire::rpc::gateway::AGENT_GATEWAY_SERVICE_UPLOAD_HEARTBEAT_SPEC;

    fn prover() -> Prover {
        let deps = Deps { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) };
        Prover::new(Arc::new(Keys::generate(&OsEntropy)), deps, None)
    }

    fn nonce(value: &'static str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(NONCE_HEADER, HeaderValue::from_static(value));
        map
    }

    #[tokio::test]
    async fn a_proof_names_call_token_and_the_latest_nonce() {
        let (prover, session) = (prover(), Session::new("s".into(), Duration::ZERO));
        let link = Link::new("http://LOCALHOST:9".parse().unwrap(), None, None).unwrap();
        prover.observe(&nonce("first"), &HeaderMap::new());
        prover.observe(&HeaderMap::new(), &nonce("second"));
        let rpc = AGENT_GATEWAY_SERVICE_UPLOAD_HEARTBEAT_SPEC;
        let one = dpop::read(&prover.proof(&link, rpc, &session).unwrap()).unwrap();
        let two = dpop::read(&prover.proof(&link, rpc, &session).unwrap()).unwrap();
        assert_eq!(one.key, prover.keys.identity_public());
        assert_eq!(one.claims.nonce.as_deref(), Some("second"));
        assert_eq!(one.claims.ath, dpop::token_hash("s"));
        assert_eq!(
            one.claims.htu,
            "http://localhost:9/agentgateway.v1.AgentGatewayService/UploadHeartbeat"
        );
        assert_ne!(one.claims.jti, two.claims.jti);
    }

    #[test]
    fn a_refusal_that_asks_for_a_nonce_brings_it() {
        let prover = prover();
        let mut headers = nonce("fresh");
        headers.insert("argosy-code", HeaderValue::from_static("use_dpop_nonce"));
        let asks = ConnectError::unauthenticated("nonce").with_trailers(headers);
        assert!(prover.observe_error(&asks));
        assert_eq!(prover.nonce.lock().unwrap().as_deref(), Some("fresh"));
        assert!(!prover.observe_error(&ConnectError::unauthenticated("no")));
    }

    #[test]
    fn sessions_do_not_show_in_debug() {
        let session = Session::new("very-secret".into(), Duration::ZERO);
        assert!(!format!("{session:?}").contains("very-secret"));
    }
}
