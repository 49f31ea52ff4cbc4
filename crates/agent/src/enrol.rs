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

mod register;
mod request;

use argosy_config::failpoint::failpoint;
use argosy_wire::{bytes::Bytes32, problem::Code, statement::ServerPin, token::TokenString};

use crate::{
    config::AgentConfig,
    credentials::{Credentials, CredentialsError, Enrolling, Registered},
    deps::Deps,
    engine::ServerIdentity,
    error::AgentError,
    host,
    keys::Keys,
    server_url::ServerUrl,
    state_dir::StateDir,
    transport::{CallError, FetchError, Link},
    trust::{Distrust, TrustedCallError},
};

pub use register::register;
pub use request::Machine;

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
#[derive(Debug, Clone, Copy)]
pub struct Pin {
    /// Of the identity that has to answer.
    pub thumbprint: Bytes32,
    /// As the statement names it.
    pub named: ServerPin,
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
        let key_is_known = begun.key_by_hand || self.config.api_key.is_some();
        match register(link, self.keys, &begun, key_is_known).await {
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
        let machine = Machine {
            name: self.config.name.clone(),
            account: self.config.account,
            machine_id: host::machine_id(&pin.thumbprint),
            hostname: host::name(),
            platform: host::platform(),
        };
        let entropy = self.deps.entropy.as_ref();
        let enrolling = Enrolling {
            key_by_hand: self.config.key_by_hand,
            ..machine.apply(link, self.keys, (token, pin), entropy)
        };
        self.dir.forget_journal().map_err(CredentialsError::from)?;
        let next = state.abandon().begin(enrolling).map_err(|_| EnrolError::Stale)?;
        next.save(self.dir)?;
        failpoint("enrol", "begun");
        Ok(next)
    }
}
