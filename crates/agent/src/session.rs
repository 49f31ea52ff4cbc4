//! Sessions: opened by a handshake in which the server proves itself first, renewed in time.
//!
//! *Invariant:* nothing is signed before the server has proved itself against the pin; the new
//! continuation is durable before the session is used; one task opens sessions, everybody else
//! waits for one or says that the present one was refused. A refusal, which nobody has signed, ends
//! nothing and changes nothing that is kept.

mod rotating;
mod verdict;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use argosy_config::failpoint::failpoint;
use argosy_domain::{entropy::random_bytes, limits::SESSION_LIFE, time::Timestamp};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    rpc::gateway::{BeginAuthHandshakeRequest, CompleteAuthHandshakeRequest},
    sign::{Purpose, Statement as _, sign_payload},
    statement::HandshakeStatement,
};
use connectrpc::client::CallOptions;
use tokio::{sync::watch, time::timeout};

use crate::{
    backoff::{Backoff, fraction},
    credentials::{Credentials, CredentialsError, Registered},
    deps::Deps,
    engine::{Engine, ServerIdentity},
    error::advice_on_refusal,
    host,
    key_rotation::RotationError,
    keys::Keys,
    state_dir::StateDir,
    status::{Connection, StatusBoard},
    transport::{CALL_TIMEOUT, CallError, Link, Prover, Session},
    trust::{TrustedCallError, follow_in_tls, verify_challenge},
};

pub use verdict::{Refusals, Verdict, judge};

/// Longest wait between two questions whether an operator has approved.
const APPROVAL_CEILING: Duration = Duration::from_secs(15);
/// A session that the server calls shorter is renewed as if it were this long.
const LIFE_MIN: Duration = Duration::from_secs(3);
/// How long an answer may come after the end of the session that it ends.
const LATE_ANSWER: Duration = Duration::from_secs(2);

/// Who shakes hands.
pub struct Applicant<'a> {
    /// What the server gave at registration.
    pub registered: &'a Registered,
    /// The agent's keys.
    pub keys: &'a Keys,
    /// The salted id of the machine that this process runs on, where one was enrolled.
    pub machine_id: Option<Bytes32>,
}

/// A session that was just opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The session.
    pub session: Session,
    /// How long it lives.
    pub life: Duration,
    /// Keep this before the session is used.
    pub continuation: Bytes32,
    /// The server as it proved itself; keep it together with the continuation.
    pub server: ServerIdentity,
    /// The server's time, proved fresh.
    pub server_time: Timestamp,
    /// For the first proof.
    pub dpop_nonce: String,
    /// The server finds this version too old for anything but heartbeats.
    pub outdated: bool,
}

/// One handshake (PROTOCOL §4). Stores nothing.
pub async fn handshake(
    link: &Link,
    applicant: &Applicant<'_>,
    deps: &Deps,
) -> Result<Opened, TrustedCallError> {
    let Applicant { registered, keys, machine_id } = applicant;
    let agent_nonce = Fixed(random_bytes(deps.entropy.as_ref()));
    let options = || CallOptions::default().with_timeout(CALL_TIMEOUT);
    let begin = BeginAuthHandshakeRequest {
        api_key: registered.api_key.expose().to_owned(),
        identity_pubkey: keys.identity_public().0.to_vec(),
        agent_nonce: agent_nonce.0.to_vec(),
        ..Default::default()
    };
    let known = registered.server();
    let send = || {
        link.either(|rpc| {
            let begin = begin.clone();
            async move { rpc.begin_auth_handshake_with_options(begin, options()).await }
        })
    };
    let answer = match send().await {
        Err(_) if follow_in_tls(link, known.thumbprint(), known.serial()).await? => send().await?,
        answer => answer?,
    };
    let answer = answer.into_owned();
    let (challenge, server) =
        verify_challenge(&known, &answer, &registered.agent_id, &agent_nonce)?;
    link.trust(*server.thumbprint());
    failpoint("handshake", "challenged");
    let statement = HandshakeStatement {
        server: *server.thumbprint(),
        agent: registered.agent_id.clone(),
        challenge: challenge.challenge,
        machine_id: *machine_id,
        version: host::VERSION.to_owned(),
        continuation: registered.continuation,
        nonce: None,
    };
    let signature = sign_payload(&keys.identity(), Purpose::Handshake, &statement.to_payload());
    let complete = CompleteAuthHandshakeRequest {
        agent_id: registered.agent_id.to_string(),
        challenge: challenge.challenge.0.to_vec(),
        signature: signature.0.to_vec(),
        machine_id: machine_id.map(|id| id.0.to_vec()),
        version: statement.version,
        continuation: statement.continuation.map(|continuation| continuation.0.to_vec()),
        ..Default::default()
    };
    let answer =
        link.rpc().complete_auth_handshake_with_options(complete, options()).await?.into_owned();
    let expires_at: Timestamp =
        answer.expires_at.parse().map_err(|_| CallError::Protocol("a session without an end"))?;
    let continuation = Fixed::from_slice(&answer.continuation)
        .map_err(|_| CallError::Protocol("a session without a continuation"))?;
    let life = expires_at.since(challenge.server_time).clamp(LIFE_MIN, SESSION_LIFE * 24);
    let session = Session::new(answer.session_token, deps.clock.since_boot() + life);
    Ok(Opened {
        session,
        life,
        continuation,
        server,
        server_time: challenge.server_time,
        dpop_nonce: answer.dpop_nonce,
        outdated: answer.scope == "update_only",
    })
}

/// The credentials of a registered agent, in memory and on disk. One task changes them.
pub struct Place {
    dir: Arc<StateDir>,
    registered: Mutex<Registered>,
}

impl Place {
    /// Of an agent that is registered.
    pub fn new(dir: Arc<StateDir>, registered: Registered) -> Self {
        Self { dir, registered: Mutex::new(registered) }
    }

    /// As they are now.
    pub fn registered(&self) -> Registered {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where they are kept.
    pub fn dir(&self) -> &Arc<StateDir> {
        &self.dir
    }

    /// Keeps what a handshake brought, all of it or nothing: the new continuation, and the server as
    /// it proved itself. Durable when this returns.
    pub async fn continued(
        &self,
        continuation: Bytes32,
        server: &ServerIdentity,
    ) -> Result<(), CredentialsError> {
        let next = Registered { continuation: Some(continuation), ..self.registered() };
        let next = next.knowing(server);
        let (dir, state) = (Arc::clone(&self.dir), Credentials::Registered(next.clone()));
        let saved = tokio::task::spawn_blocking(move || state.save(&dir)).await;
        saved.unwrap_or(Err(CredentialsError::Damaged))?;
        *self.registered.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

/// The present session, for everybody who needs one.
pub struct Sessions {
    current: watch::Sender<Option<Session>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { current: watch::Sender::new(None) }
    }
}

impl Sessions {
    /// The present session, and every later one.
    pub fn subscribe(&self) -> watch::Receiver<Option<Session>> {
        self.current.subscribe()
    }

    /// Waits until there is a session.
    pub async fn wait(&self) -> Session {
        let mut current = self.subscribe();
        loop {
            if let Some(session) = current.borrow_and_update().clone() {
                return session;
            }
            if current.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// A new session takes the place of the present one.
    pub fn publish(&self, session: Session) {
        self.current.send_replace(Some(session));
    }

    /// The server does not accept this session any more: another is needed at once.
    pub fn refuse(&self, refused: &Session) {
        self.current.send_if_modified(|current| {
            let is_meant = current.as_ref().is_some_and(|session| session.is(refused));
            if is_meant {
                *current = None;
            }
            is_meant
        });
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Server(#[from] TrustedCallError),
    /// The continuation could not be kept, so the session must not be used.
    #[error(transparent)]
    NotKept(#[from] CredentialsError),
    /// The new identity key could not be kept.
    #[error(transparent)]
    Rotation(#[from] RotationError),
}

/// Keeps a session open.
pub struct SessionKeeper {
    /// The way to the server.
    pub link: Link,
    /// The agent's keys.
    pub keys: Arc<Keys>,
    /// Learns the first nonce.
    pub prover: Arc<Prover>,
    /// Where credentials are kept.
    pub place: Arc<Place>,
    /// Where sessions go.
    pub sessions: Arc<Sessions>,
    /// Learns the server's time.
    pub engine: Engine,
    /// Shows what happens.
    pub board: Arc<StatusBoard>,
    /// Time and randomness.
    pub deps: Deps,
}

impl SessionKeeper {
    /// Opens and renews sessions, as often as it takes.
    pub async fn keep(&self) -> Infallible {
        let mut backoff = Backoff::new(Arc::clone(&self.deps.entropy));
        let mut patience = Backoff::up_to(Arc::clone(&self.deps.entropy), APPROVAL_CEILING);
        let mut refusals = Refusals::new(Arc::clone(&self.deps.entropy));
        loop {
            let error = match self.open().await {
                Ok(life) => {
                    refusals.reset();
                    patience.reset();
                    if self.rest(life).await {
                        backoff.reset();
                    } else {
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                    continue;
                }
                Err(error) => error,
            };
            let error = match error {
                OpenError::Server(error) => error,
                OpenError::NotKept(_) | OpenError::Rotation(_) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a session was given up"
                    );
                    self.board.connection(Connection::Trouble(error.to_string()));
                    tokio::time::sleep(backoff.next_delay()).await;
                    continue;
                }
            };
            let delay = match refusals.consider(judge(&error)) {
                Verdict::Wait => self.await_approval(&mut patience),
                Verdict::Refused => self.report_refusal(&error, &mut refusals),
                Verdict::Retry | Verdict::Doubt => self.report_trouble(&error, &mut backoff),
            };
            tokio::time::sleep(delay).await;
        }
    }

    /// Says that an operator is waited for; how long to wait before the next attempt.
    fn await_approval(&self, patience: &mut Backoff) -> Duration {
        if self.board.connection(Connection::AwaitingApproval) {
            let fingerprint = self.place.registered().fingerprint;
            tracing::info!(%fingerprint, "waiting for an operator to compare the fingerprint and approve");
        }
        patience.next_delay()
    }

    /// Says loudly what the answer was and what people can do; how long to wait.
    fn report_refusal(&self, error: &TrustedCallError, refusals: &mut Refusals) -> Duration {
        let delay = refusals.next_delay();
        let (said, advice) = (error.to_string(), advice_on_refusal(error));
        tracing::error!(error = %said, retry_in_ms = delay.as_millis(), "no session with the server: {advice}");
        self.show(Connection::Refused { said, advice: advice.to_owned() });
        delay
    }

    /// Says what is in the way; how long to wait.
    fn report_trouble(&self, error: &TrustedCallError, backoff: &mut Backoff) -> Duration {
        let asked = match error {
            TrustedCallError::Call(error) => error.retry_after(),
            TrustedCallError::Distrust(_) => None,
        };
        let delay = backoff.next_delay_after(asked);
        self.show(Connection::Trouble(error.to_string()));
        tracing::warn!(error = %error, retry_in_ms = delay.as_millis(), "no session with the server");
        delay
    }

    /// With a session that still holds, the stream knows better how things stand.
    fn show(&self, connection: Connection) {
        if self.sessions.subscribe().borrow().is_none() {
            self.board.connection(connection);
        }
    }

    /// One handshake; how long the session lives.
    async fn open(&self) -> Result<Duration, OpenError> {
        let registered = self.place.registered();
        let machine_id =
            registered.machine_id.and_then(|_| host::machine_id(&registered.server_thumbprint));
        let opened = self.shake(&registered, machine_id).await?;
        failpoint("handshake", "before_kept");
        self.place.continued(opened.continuation, &opened.server).await?;
        failpoint("handshake", "after_kept");
        if opened.server.thumbprint() != registered.server().thumbprint() {
            let (pin, serial) = (opened.server.thumbprint(), opened.server.serial());
            tracing::warn!(%pin, serial, "the server has a new identity, which the old one signed");
        }
        self.engine.trust(opened.server);
        self.engine.observe_server_time(opened.server_time);
        self.prover.learn(&opened.dpop_nonce);
        let expires_at = self.deps.clock.now().plus(opened.life);
        self.board.session(expires_at);
        self.sessions.publish(opened.session);
        if opened.outdated {
            tracing::warn!(
                version = host::VERSION,
                "the server asks for a newer version: until then it takes heartbeats only"
            );
        }
        tracing::debug!(life_s = opened.life.as_secs(), "session opened");
        Ok(opened.life)
    }

    /// Waits until two thirds of a session's life are over, somewhat earlier by chance (true), or
    /// until it was refused (false).
    async fn rest(&self, life: Duration) -> bool {
        let wait = life * 2 / 3 - fraction(self.deps.entropy.as_ref(), life / 10);
        let mut current = self.sessions.subscribe();
        let refused = async { current.wait_for(Option::is_none).await.map(drop) };
        let mut rotated = std::pin::pin!(self.rotated());
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            // A new identity key ends the session: that may be heard before the answer that says so.
            _ = refused => {
                self.rotation().is_due() && timeout(LATE_ANSWER, rotated).await.is_ok()
            }
            () = &mut rotated => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_counts_only_for_the_session_that_is_meant() {
        let sessions = Sessions::default();
        let one = Session::new("one".into(), Duration::ZERO);
        let two = Session::new("two".into(), Duration::ZERO);
        sessions.publish(one.clone());
        sessions.publish(two.clone());
        sessions.refuse(&one);
        assert!(sessions.wait().await.is(&two));
        sessions.refuse(&two);
        assert!(sessions.subscribe().borrow().is_none());
    }
}
