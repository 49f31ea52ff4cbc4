//! Enrolment: from a token to a registration that an operator can approve.
//!
//! ```text
//! keys → pin (token, setting or first contact) → signed statement, durable → Register
//!      → receipt verified against the pin → credentials, durable
//! ```
//! *Invariant:* the token itself never leaves this process: what travels is a proof that fits one
//! statement only. A repeat after a crash or a refusal, which nobody has signed, sends the statement
//! that was kept before the first attempt, to the identity that was seen then, so a machine
//! registers once (PROTOCOL §3).

mod request;

use argosy_config::failpoint::failpoint;
use argosy_domain::{digest::Sha256, entropy::random_bytes, id::AgentId};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    problem::Code,
    rpc::gateway::{EnrollmentStatus, RegisterResponse},
    sign::{self, Signed},
    statement::{EnrolmentStatement, ServerPin},
    token::TokenString,
};
use connectrpc::client::CallOptions;

use crate::{
    config::AgentConfig,
    credentials::{Credentials, CredentialsError, Enrolling, Registered, SecretText},
    deps::Deps,
    engine::ServerIdentity,
    error::AgentError,
    host,
    keys::Keys,
    server_url::ServerUrl,
    state_dir::StateDir,
    transport::{CALL_TIMEOUT, CallError, FetchError, Link},
    trust::{Distrust, TrustedCallError, follow_in_tls, followed_identity, verify_receipt},
};

use request::request;

/// Why a machine is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Nothing to enrol with.
    #[error("this machine is not enrolled and has no enrolment token")]
    NoToken,
    /// Nowhere to enrol.
    #[error("server_url is not set")]
    NoServer,
    /// Credentials or keys cannot be kept.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The server's keys could not be fetched at first contact.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The registration failed, or the server is not believed.
    #[error(transparent)]
    Server(#[from] TrustedCallError),
    /// The server has the registration and gave its key away before, to an answer that was lost.
    #[error("the server knows this machine already, and its key was lost on the way")]
    KeyLost,
    /// There is no registration whose key could be brought.
    #[error("this machine is not registered, so there is no key to bring")]
    NotRegistered,
    /// An operator hands the key over, and has not yet.
    #[error("the API key of this machine is handed over by an operator, and is not here yet")]
    AwaitsKey,
    /// The kept statement is not what this version wrote.
    #[error("the registration that was begun cannot be continued")]
    Stale,
}

impl From<Distrust> for EnrolError {
    fn from(error: Distrust) -> Self {
        Self::Server(error.into())
    }
}

impl EnrolError {
    /// Whether the same attempt may work later by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Fetch(_) => true,
            Self::Server(TrustedCallError::Call(error)) => !is_final(error),
            Self::NoToken
            | Self::NoServer
            | Self::Credentials(_)
            | Self::Server(TrustedCallError::Distrust(_))
            | Self::KeyLost
            | Self::NotRegistered
            | Self::AwaitsKey
            | Self::Stale => false,
        }
    }

    /// Whether it is what an answer said. Nobody has signed that, so it changes nothing that is
    /// kept.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Server(TrustedCallError::Call(error)) => is_final(error),
            Self::Server(TrustedCallError::Distrust(_)) | Self::KeyLost => true,
            Self::Fetch(_)
            | Self::NoToken
            | Self::NoServer
            | Self::Credentials(_)
            | Self::NotRegistered
            | Self::AwaitsKey
            | Self::Stale => false,
        }
    }

    /// How long the answer asks to wait.
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        let Self::Server(TrustedCallError::Call(error)) = self else { return None };
        error.retry_after()
    }
}

/// Whether the same answer to a registration is to be expected the next time.
fn is_final(error: &CallError) -> bool {
    match error.code() {
        Some(Code::RateLimited | Code::Unavailable | Code::Internal) | None => false,
        Some(_) => true,
    }
}

/// What became of an enrolment.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// What is kept.
    pub registered: Registered,
    /// No operator is needed.
    pub approved: bool,
    /// An operator brings the key; what is kept has none yet.
    pub awaits_key: bool,
    /// The server was trusted at first contact, for want of a pin.
    pub first_contact: bool,
}

/// What an enrolment works with.
pub struct Enrolment<'a> {
    /// Where keys and credentials are kept.
    pub dir: &'a StateDir,
    /// The agent's keys.
    pub keys: &'a Keys,
    /// The settings.
    pub config: &'a AgentConfig,
    /// Time and randomness.
    pub deps: &'a Deps,
}

/// A pin, and how the agent came to it.
struct Pin {
    thumbprint: Bytes32,
    named: ServerPin,
}

impl Enrolment<'_> {
    /// Where to enrol: where the settings say, else where an attempt was begun or came to its end.
    pub fn server(&self, state: &Credentials) -> Result<ServerUrl, EnrolError> {
        if let Some(url) = &self.config.server {
            return Ok(url.clone());
        }
        let known = match state {
            Credentials::NotEnrolled => return Err(EnrolError::NoServer),
            Credentials::Enrolling(begun) => &begun.server_url,
            Credentials::AwaitingKey(registered) | Credentials::Registered(registered) => {
                &registered.server_url
            }
        };
        known.parse().map_err(|_| EnrolError::Stale)
    }

    /// The way there, to the identity that the settings or an attempt that was begun name.
    pub fn link(&self, state: &Credentials) -> Result<Link, AgentError> {
        let begun = match state {
            Credentials::Enrolling(begun) if self.continues(state) => Some(begun.server_thumbprint),
            Credentials::Enrolling(_)
            | Credentials::NotEnrolled
            | Credentials::AwaitingKey(_)
            | Credentials::Registered(_) => None,
        };
        let pin = begun.or(self.config.pin);
        Ok(Link::new(self.server(state)?, self.config.ca_file.as_deref(), pin)?)
    }

    /// Registers this machine, or continues a registration that was begun. One attempt.
    pub async fn attempt(&self, link: &Link, state: Credentials) -> Result<Enrolled, EnrolError> {
        let state = if self.continues(&state) {
            state
        } else {
            let token = self.config.token.as_ref().ok_or(EnrolError::NoToken)?;
            let pin = self.pin(link).await?;
            self.begin(state, link, token, &pin)?
        };
        let Credentials::Enrolling(begun) = state.clone() else { return Err(EnrolError::Stale) };
        match self.register(link, &begun).await {
            Ok((registered, approved)) => {
                let awaits_key = registered.api_key.expose().is_empty();
                let next = if awaits_key {
                    state.awaiting_key(registered.clone())
                } else {
                    state.registered(registered.clone())
                };
                let next = next.map_err(|_| EnrolError::Stale)?;
                failpoint("enrol", "answered");
                next.save(self.dir)?;
                failpoint("enrol", "registered");
                let first_contact = begun.pin == ServerPin::Tofu;
                Ok(Enrolled { registered, approved, awaits_key, first_contact })
            }
            Err(error) => {
                // What was kept is of no use, whatever a server says.
                if matches!(error, EnrolError::Stale) {
                    state.abandon().save(self.dir)?;
                }
                Err(error)
            }
        }
    }

    /// Forgets a registration, because the person at the host asked for it: the next attempt begins
    /// a new one. Changes nothing where there is no token for that.
    pub fn start_over(&self, state: Credentials) -> Result<Credentials, EnrolError> {
        if self.config.token.is_none() {
            return Err(EnrolError::NoToken);
        }
        let state = state.abandon();
        // In this order: a registration never stands without the journal of its commands.
        state.save(self.dir)?;
        self.dir.forget_journal().map_err(CredentialsError::from)?;
        Ok(state)
    }

    /// Whether a registration was begun that fits the settings: the same token, where there is one,
    /// and the same server as far as it is known.
    fn continues(&self, state: &Credentials) -> bool {
        let Credentials::Enrolling(begun) = state else { return false };
        let config = self.config;
        let token = config.token.as_ref().is_none_or(|token| token.id == begun.token_id);
        let server = match begun.pin {
            ServerPin::Pinned(pin) => config.pin.is_none_or(|set| set == pin),
            ServerPin::Tofu => {
                let url = config.server.as_ref();
                config.pin.is_none() && url.is_none_or(|url| url.origin() == begun.server_url)
            }
        };
        token && server
    }

    /// The pin of token or setting, else what the server shows at first contact.
    async fn pin(&self, link: &Link) -> Result<Pin, EnrolError> {
        if let Some(thumbprint) = self.config.pin {
            return Ok(Pin { thumbprint, named: ServerPin::Pinned(thumbprint) });
        }
        let shown = link.server_keys().await?;
        let key = shown.identity_key.parse().map_err(|_| Distrust::NoIdentity)?;
        let thumbprint = *ServerIdentity::new(key).thumbprint();
        link.trust(thumbprint);
        Ok(Pin { thumbprint, named: ServerPin::Tofu })
    }

    /// Signs the statement and keeps it before anything is sent. What an earlier registration left
    /// behind goes first: its commands are not those of the new one.
    fn begin(
        &self,
        state: Credentials,
        link: &Link,
        token: &TokenString,
        pin: &Pin,
    ) -> Result<Credentials, EnrolError> {
        let statement = EnrolmentStatement {
            server: pin.named,
            token_id: token.id.clone(),
            name: self.config.name.clone(),
            account_id: self.config.account,
            identity_key: self.keys.identity_public(),
            encryption_key: self.keys.encryption_public(),
            device_signing_key: None,
            machine_id: host::machine_id(&pin.thumbprint),
            hostname: host::name(),
            platform: host::platform(),
            version: host::VERSION.to_owned(),
            release_root_sha256: None,
            nonce: Fixed(random_bytes(self.deps.entropy.as_ref())),
        };
        let signed = Signed::new(&self.keys.identity(), &statement);
        let enrolling = Enrolling {
            server_url: link.url().to_string(),
            pin: pin.named,
            server_thumbprint: pin.thumbprint,
            token_id: token.id.clone(),
            proof: SecretText::new(token.prove(&signed.payload).to_text()),
            name: statement.name,
            key_by_hand: self.config.key_by_hand,
            statement: signed,
        };
        self.dir.forget_journal().map_err(CredentialsError::from)?;
        let next = state.abandon().begin(enrolling).map_err(|_| EnrolError::Stale)?;
        next.save(self.dir)?;
        failpoint("enrol", "begun");
        Ok(next)
    }

    async fn register(
        &self,
        link: &Link,
        begun: &Enrolling,
    ) -> Result<(Registered, bool), EnrolError> {
        let statement: EnrolmentStatement =
            sign::read(&begun.statement.payload).map_err(|_| EnrolError::Stale)?;
        if statement.identity_key != self.keys.identity_public() {
            return Err(EnrolError::Stale);
        }
        let options = CallOptions::default().with_timeout(CALL_TIMEOUT);
        let send = || {
            link.either(|rpc| {
                let (request, options) = (request(begun, &statement), options.clone());
                async move { rpc.register_with_options(request, options).await }
            })
        };
        let answer = match send().await {
            Err(_) if follow_in_tls(link, &begun.server_thumbprint, 0).await? => send().await,
            answer => answer,
        };
        let answer = answer.map_err(TrustedCallError::from)?.into_owned();
        let identity = believe(&answer, begun)?;
        let digest = Fixed(Sha256::of(&begun.statement.payload).0);
        let agent_id: AgentId =
            answer.agent_id.parse().map_err(|_| protocol("an agent id that is none"))?;
        let receipt = answer.receipt.as_option().ok_or(Distrust::Missing("enrolment receipt"))?;
        verify_receipt(&identity, receipt, &digest, &agent_id)?;
        link.trust(*identity.thumbprint());
        let fingerprint = EnrolmentStatement::fingerprint(&begun.statement.payload);
        if answer.identity_fingerprint.parse() != Ok(fingerprint) {
            return Err(Distrust::Names { what: "answer", field: "fingerprint" }.into());
        }
        let approved = approved(&answer)?;
        let given = answer.api_key.filter(|key| !key.is_empty()).map(SecretText::new);
        let awaited = begun.key_by_hand || self.config.api_key.is_some();
        let api_key = match given {
            Some(_) if begun.key_by_hand => {
                return Err(protocol("an API key where an operator was to hand it over"));
            }
            Some(key) => key,
            // A key in the settings is kept once a handshake has proved it, not before.
            None if awaited => SecretText::new(String::new()),
            None => return Err(EnrolError::KeyLost),
        };
        let registered = Registered {
            server_url: link.url().to_string(),
            server_thumbprint: begun.server_thumbprint,
            server_identity_key: *identity.key(),
            server_serial: identity.serial(),
            command_serial: 0,
            agent_id,
            name: begun.name.clone(),
            api_key,
            machine_id: statement.machine_id,
            fingerprint,
            statement_sha256: digest,
            account_id: statement.account_id,
            org: None,
            continuation: None,
        };
        Ok((registered, approved))
    }
}

/// The identity of the server that answered: the pinned one, the one of the first contact, or the
/// one to which either is led.
fn believe(answer: &RegisterResponse, begun: &Enrolling) -> Result<ServerIdentity, EnrolError> {
    let keys = answer.server_keys.as_option().ok_or(Distrust::NoIdentity)?;
    Ok(followed_identity(keys, &begun.server_thumbprint, 0)?)
}

fn approved(answer: &RegisterResponse) -> Result<bool, EnrolError> {
    match answer.enrollment_status.as_known() {
        Some(EnrollmentStatus::ENROLLMENT_STATUS_CONFIRMED) => Ok(true),
        Some(EnrollmentStatus::ENROLLMENT_STATUS_AWAITING_CONFIRMATION) => Ok(false),
        Some(
            EnrollmentStatus::ENROLLMENT_STATUS_UNSPECIFIED
            | EnrollmentStatus::ENROLLMENT_STATUS_PENDING
            | EnrollmentStatus::ENROLLMENT_STATUS_REJECTED
            | EnrollmentStatus::ENROLLMENT_STATUS_EXPIRED
            | EnrollmentStatus::ENROLLMENT_STATUS_CANCELLED,
        )
        | None => Err(protocol("an enrolment status that is no answer to a registration")),
    }
}

fn protocol(what: &'static str) -> EnrolError {
    EnrolError::Server(CallError::Protocol(what).into())
}
