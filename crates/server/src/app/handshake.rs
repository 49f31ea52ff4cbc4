//! The handshake: the server proves itself, then the agent, then there is a session.

mod together;

use std::sync::Arc;

use argosy_config::failpoint::failpoint;
use argosy_domain::{
    agent::{Agent, AgentStatus, Closure, Decider},
    audit::AuditAction,
    digest::Sha256,
    entropy::random_bytes,
    id::AgentId,
    limits::{CHALLENGE_LIFE, CHALLENGES_MAX},
    review::{Appearance, ReviewReason},
    security::SecurityKind,
    time::Timestamp,
    version::Version,
};
use argosy_store::{Continuation, NewChallenge, Tx};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    problem::Code,
    sign::{Purpose, Statement as _, verify_payload},
    statement::{ChallengeStatement, HandshakeStatement},
};
use serde_json::{Value, json};

pub(super) use self::together::{Challenges, Handshakes};

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    keyring::{Certified, Keyring},
    security::Sighting,
    sessions::IssuedSession,
    versions::{is_downgrade, is_upgrade},
};

/// An agent asks for a challenge.
#[derive(Debug, Clone)]
pub struct Begin {
    /// Its API key.
    pub api_key: String,
    /// Its identity key.
    pub identity_key: Bytes32,
    /// Its own freshness.
    pub agent_nonce: Bytes32,
}

/// The challenge, signed.
#[derive(Debug, Clone)]
pub struct IssuedChallenge {
    /// What was signed.
    pub statement: ChallengeStatement,
    /// The bytes that were signed, and the signature.
    pub signed: Certified,
    /// The keys of that signature.
    pub keyring: Arc<Keyring>,
    /// The challenge dies then.
    pub expires_at: Timestamp,
}

/// An agent answers a challenge.
#[derive(Debug, Clone)]
pub struct Complete {
    /// The agent.
    pub agent: AgentId,
    /// The challenge.
    pub challenge: Bytes32,
    /// Over the handshake statement.
    pub signature: Fixed<64>,
    /// As enrolled.
    pub machine_id: Option<Bytes32>,
    /// Of the agent.
    pub version: String,
    /// From the handshake before.
    pub continuation: Option<Bytes32>,
    /// While an update is being confirmed.
    pub update_nonce: Option<String>,
}

/// A session and what the agent must remember.
#[derive(Debug, Clone)]
pub struct Established {
    /// The session.
    pub session: IssuedSession,
    /// For the next handshake.
    pub continuation: Bytes32,
}

impl App {
    /// First half: a challenge that the server signs.
    pub async fn begin_handshake(
        &self,
        origin: &Origin,
        begin: &Begin,
    ) -> AppResult<IssuedChallenge> {
        let outcome = self.challenge(begin).await;
        self.judged(origin, outcome, |code| code == Code::Unauthenticated)
    }

    async fn challenge(&self, begin: &Begin) -> AppResult<IssuedChallenge> {
        let (_, key) = self.find_key(&begin.api_key).await?;
        let agent = self.agent_of_key(&key).await?;
        let refused = || AppError::new(Code::Unauthenticated);
        let identity = agent.identity.as_ref().ok_or_else(refused)?;
        if begin.identity_key != Fixed(identity.identity_key) {
            return Err(refused());
        }
        let now = self.now();
        let expires_at = now.plus(CHALLENGE_LIFE);
        let challenge = random_bytes::<32>(self.entropy());
        let made = NewChallenge {
            agent: agent.id.clone(),
            sha256: Sha256::of(&challenge),
            created_at: now,
            expires_at,
        };
        if !self.groups().challenges.ask(made).await? {
            let mut reader = self.store().read("handshake.begin").await?;
            let stands = reader.agents().find(&agent.id).await?.is_some();
            let full = AppError::rate_limited(CHALLENGE_LIFE.as_secs());
            return Err(if stands { full } else { refused() });
        }
        let keyring = self.keyring();
        let statement = ChallengeStatement {
            server: keyring.thumbprint(),
            agent: agent.id.clone(),
            agent_nonce: begin.agent_nonce,
            challenge: Fixed(challenge),
            server_time: now,
        };
        let signed = keyring.sign_command(&statement);
        Ok(IssuedChallenge { statement, signed, keyring, expires_at })
    }

    /// Second half: the agent proves its key and gets a session. The challenge is consumed
    /// whatever the outcome, but for 503.
    pub async fn complete_handshake(
        &self,
        origin: &Origin,
        complete: &Complete,
    ) -> AppResult<Established> {
        let outcome = self.establish(origin, complete).await;
        self.judged(origin, outcome, |code| code == Code::HandshakeRefused)
    }

    async fn establish(&self, origin: &Origin, complete: &Complete) -> AppResult<Established> {
        let version: Version =
            complete.version.parse().map_err(|error| AppError::field("version", error))?;
        match self.establish_together(origin, complete, &version).await? {
            Some(established) => Ok(established),
            None => self.establish_alone(origin, complete, &version).await,
        }
    }

    /// Whatever may be out of the ordinary about a handshake.
    async fn establish_alone(
        &self,
        origin: &Origin,
        complete: &Complete,
        version: &Version,
    ) -> AppResult<Established> {
        let now = self.now();
        let mut tx = self.store().write("handshake.complete").await?;
        // As groups do: the agent first, then its challenges.
        tx.agents().hold(std::iter::once(&complete.agent)).await?;
        let refused = || AppError::new(Code::HandshakeRefused);
        let applicant = tx.handshakes().applicant(&complete.agent).await?;
        let (agent, stored) = applicant.ok_or_else(refused)?;
        let digest = Sha256::of(&complete.challenge.0);
        let machine_id = complete.machine_id.map(|id| id.to_string());
        let seen =
            self.appearance(origin, machine_id.as_deref(), Some(version.to_string().as_str()));
        let judged = self.judge(&agent, stored.as_ref(), complete, version);
        let live = if judged.is_ok() {
            // Whoever asked at the same moment asks again: what it would show now is one turn
            // behind, and a late answer must not look like a second bearer.
            tx.handshakes().consume_last_challenge(&agent.id, digest, now).await?
        } else {
            tx.handshakes().consume_challenge(&agent.id, digest, now).await?
        };
        if let Err(refusal) = if live { judged } else { Err(Refusal::replayed()) } {
            if let Some(kind) = refusal.kind {
                let about = (&agent.org, &agent.id);
                let seen = Sighting::of_agent(kind, about, origin, refusal.detail.clone());
                self.record_sighting(&mut tx, seen).await?;
            }
            let event = Event {
                action: refusal.action,
                org: &agent.org,
                target: Some(format!("agent:{}", agent.id)),
                detail: refusal.detail,
            };
            self.record(&mut tx, &format!("agent:{}", agent.id), origin, event).await?;
            if let Some(reason) = refusal.review {
                self.flag_review(&mut tx, &agent, reason, seen).await?;
            }
            tx.commit().await?;
            return Err(refusal.error);
        }
        let continuation = Fixed(random_bytes(self.entropy()));
        let older = is_downgrade(&agent, version);
        let shown = complete.continuation.map(|shown| Sha256::of(&shown.0));
        let (turned, forked) = turned(stored, shown, Sha256::of(&continuation.0), older);
        tx.handshakes().set_continuations(&[(&agent.id, turned)])?;
        if forked {
            self.note_fork(&mut tx, origin, &agent, &seen).await?;
        }
        tx.agents().save_origins(&[(&agent.id, &seen)])?;
        let (session, kept) = self.mint_session(&agent, version)?;
        tx.sessions().insert(&[&kept])?;
        // While two bear this identity, neither moves the version beyond what the other has.
        let moves = !((forked || is_torn(&agent)) && is_upgrade(&agent, version));
        let version = version.to_string();
        if moves && agent.version.as_deref() != Some(version.as_str()) {
            tx.agents().save_reported(&agent.id, Some(version.as_str()), None, None).await?;
        }
        failpoint("complete", "before_commit");
        tx.commit().await?;
        failpoint("complete", "after_commit");
        Ok(Established { session, continuation })
    }

    /// Checks everything that the agent shows, but whether its challenge is live.
    fn judge(
        &self,
        agent: &Agent,
        stored: Option<&Continuation>,
        complete: &Complete,
        version: &Version,
    ) -> Result<(), Box<Refusal>> {
        match agent.state.status() {
            AgentStatus::Approved | AgentStatus::Quarantined => {}
            AgentStatus::Pending
            | AgentStatus::Rejected
            | AgentStatus::Expired
            | AgentStatus::Cancelled
            | AgentStatus::Revoked => {
                return Err(Refusal::handshake("the agent is not approved", None));
            }
        }
        let Some(identity) = &agent.identity else {
            return Err(Refusal::handshake("the agent has no keys", None));
        };
        let keyring = self.keyring();
        let mut statement = HandshakeStatement {
            server: keyring.thumbprint(),
            agent: agent.id.clone(),
            challenge: complete.challenge,
            machine_id: complete.machine_id,
            version: complete.version.clone(),
            continuation: complete.continuation,
            nonce: complete.update_nonce.clone(),
        };
        let key = Fixed(identity.identity_key);
        let mut signs = |server: Bytes32| {
            statement.server = server;
            let payload = statement.to_payload();
            verify_payload(&key, Purpose::Handshake, &payload, &complete.signature).is_ok()
        };
        if !signs(keyring.thumbprint()) {
            // Begun before a succession: the agent is who it says, and begins again.
            let (reason, kind) = if keyring.predecessors().iter().any(|earlier| signs(*earlier)) {
                ("it was begun under an earlier identity of this server", None)
            } else {
                ("the signature does not verify", Some(SecurityKind::HandshakeForged))
            };
            return Err(Refusal::handshake(reason, kind));
        }
        let shown = complete.machine_id.map(|id| id.to_string());
        let downgrade = is_downgrade(agent, version) && !is_contested(agent, stored, complete);
        match &identity.machine_id {
            Some(enrolled) if Some(enrolled) != shown.as_ref() => Err(Box::new(Refusal {
                error: AppError::new(Code::MachineMismatch),
                action: AuditAction::MachineMismatch,
                kind: Some(SecurityKind::MachineMismatch),
                detail: json!({ "shown": shown.is_some() }),
                review: Some(ReviewReason::MachineMismatch),
            })),
            Some(_) | None if downgrade => Err(Box::new(Refusal {
                error: AppError::new(Code::Downgrade),
                action: AuditAction::DowngradeRefused,
                kind: Some(SecurityKind::Downgrade),
                detail: json!({ "recorded": agent.version, "shown": version }),
                review: Some(ReviewReason::Downgrade),
            })),
            Some(_) | None => Ok(()),
        }
    }

    /// Two bearers: both keep their work, nothing more is handed out until an operator has seen
    /// both origins and decides.
    async fn note_fork(
        &self,
        tx: &mut Tx,
        origin: &Origin,
        agent: &Agent,
        seen: &Appearance,
    ) -> AppResult<()> {
        self.flag_review(tx, agent, ReviewReason::Clone, seen.clone()).await?;
        if agent.state.status() != AgentStatus::Approved {
            return Ok(());
        }
        let mut agent = agent.clone();
        let closure = Closure {
            by: Decider("server".to_owned()),
            at: self.now(),
            reason: Some("two bearers of one identity: a clone or a restored snapshot".to_owned()),
        };
        agent.state = agent.state.quarantine(closure).map_err(AppError::wrong_state)?;
        tx.agents().save_state(&agent, AgentStatus::Approved).await?;
        let event = Event {
            action: AuditAction::CloneDetected,
            org: &agent.org,
            target: Some(format!("agent:{}", agent.id)),
            detail: json!({}),
        };
        let (kind, about) = (SecurityKind::CloneDetected, (&agent.org, &agent.id));
        self.record_sighting(tx, Sighting::of_agent(kind, about, origin, json!({}))).await?;
        self.record(tx, "server", origin, event).await
    }
}

/// Whether an older version may be another bearer's: the one who moved the recorded version up
/// holds the current continuation, and this one does not, or two are known already.
fn is_contested(agent: &Agent, stored: Option<&Continuation>, complete: &Complete) -> bool {
    let shown = complete.continuation.map(|shown| Sha256::of(&shown.0));
    is_torn(agent) || stored.is_some_and(|stored| shown != Some(stored.current))
}

/// Accepts the current and the previous continuation. An older one proves a fork or a restored
/// snapshot, and so does an older version that was let in; answers what is kept, and whether it was
/// one.
fn turned(
    stored: Option<Continuation>,
    shown: Option<Sha256>,
    fresh: Sha256,
    older: bool,
) -> (Continuation, bool) {
    let (previous, forked) = match &stored {
        None => (None, false),
        Some(stored) if older => (Some(stored.current), true),
        Some(stored) if shown == Some(stored.current) => (Some(stored.current), false),
        Some(stored) if shown == stored.previous => (stored.previous, false),
        Some(stored) => (Some(stored.current), true),
    };
    (Continuation { current: fresh, previous }, forked)
}

/// Whether two are known to bear this identity, and no operator has decided yet.
fn is_torn(agent: &Agent) -> bool {
    agent.state.status() == AgentStatus::Quarantined
        && agent.review.as_ref().is_some_and(|review| review.reason == ReviewReason::Clone)
}

/// A handshake that is answered with no, and its record.
struct Refusal {
    error: AppError,
    action: AuditAction,
    kind: Option<SecurityKind>,
    detail: Value,
    /// What an operator should look at for it.
    review: Option<ReviewReason>,
}

impl Refusal {
    /// There is no such challenge, any more or at all.
    fn replayed() -> Box<Self> {
        let kind = Some(SecurityKind::ChallengeReplayed);
        Self::handshake("no such live challenge of this agent", kind)
    }

    /// The answer says nothing about the reason; the record does.
    fn handshake(reason: &str, kind: Option<SecurityKind>) -> Box<Self> {
        Box::new(Self {
            error: AppError::new(Code::HandshakeRefused),
            action: AuditAction::HandshakeRefused,
            kind,
            detail: json!({ "reason": reason }),
            review: None,
        })
    }
}
