//! Registration: a machine asks to join.
//!
//! The order is fixed: the request is read and its own signature checked; the token is judged with
//! the same work whatever is wrong with it; only then is anything looked up or written.

mod expiry;
mod request;
mod token;

use argosy_config::failpoint::failpoint;
use argosy_domain::{
    agent::{Agent, AgentState, AgentStatus, Approval, Closure, Decider},
    audit::AuditAction,
    digest::Sha256,
    id::{AccountId, AgentId, OrgId, TokenId},
    review::KeyDelivery,
    token::EnrolmentToken,
};
use argosy_store::{NewApiKey, Tx};
use argosy_wire::{
    problem::Code,
    rest::enrolment::Register,
    sign::Signed,
    statement::EnrolmentReceipt,
    token::{ApiKeyOf, ApiKeyString},
};
use serde_json::json;

pub(crate) use expiry::is_overdue;
use request::kind_of;
pub use request::{Presented, Registration, read as read_registration};

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    security::Sighting,
    streams::CloseReason,
};

/// How a proof of a token begins.
const PROOF_PREFIX: &str = "bootproof_";

/// The answer to a registration.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The agent as it stands now.
    pub agent: Agent,
    /// Present while the agent waits or was approved at once: never for a repeat after approval,
    /// and never where an operator hands it over.
    pub api_key: Option<ApiKeyString>,
    /// Signed by the identity key, where a statement was given.
    pub receipt: Option<Signed>,
}

/// How REST names the state of a registration.
pub fn approval_status(status: AgentStatus) -> &'static str {
    match status {
        AgentStatus::Pending => "pending_approval",
        AgentStatus::Approved | AgentStatus::Quarantined | AgentStatus::Revoked => "approved",
        AgentStatus::Rejected => "rejected",
        AgentStatus::Expired => "expired",
        AgentStatus::Cancelled => "cancelled",
    }
}

impl App {
    /// Registers a machine.
    pub async fn register(&self, origin: &Origin, request: &Register) -> AppResult<Registered> {
        // A raw token costs an Argon2id, so that a source that guesses is stopped before it.
        if !request.bootstrap_token.starts_with(PROOF_PREFIX) {
            self.admit_source(origin)?;
        }
        let outcome = self.try_register(origin, request).await;
        let counted = |code: Code| [401, 403, 409].contains(&code.http());
        self.judged(origin, outcome, counted)
    }

    async fn try_register(&self, origin: &Origin, request: &Register) -> AppResult<Registered> {
        let registration = match read_registration(request, &self.keyring()) {
            Ok(registration) => registration,
            // Somebody changed the statement on its way, or never had the key.
            Err(error) if error.code == Code::Unauthenticated => {
                let presented = Presented::read(&request.bootstrap_token);
                let org = self.org_of(&presented).await?;
                return Err(self.refused(origin, &org, &presented, &request.name, error).await);
            }
            Err(error) => {
                if let Some(kind) = kind_of(&error) {
                    let detail = json!({ "name": request.name, "reason": error.detail });
                    self.sighted(Sighting::anonymous(kind, origin, detail));
                }
                return Err(error);
            }
        };
        let judged = self.judge_token(&registration).await?;
        let outcome = match judged.token {
            Some(token) => self.use_token(origin, token, judged.earlier, &registration).await,
            None => Err(AppError::new(Code::InvalidToken)),
        };
        match outcome {
            Err(error) if error.code.http() < 500 => {
                let (presented, name) = (&registration.presented, &registration.name);
                Err(self.refused(origin, &judged.org, presented, name, error).await)
            }
            outcome => outcome,
        }
    }

    /// What a machine may do with a token that is its own.
    async fn use_token(
        &self,
        origin: &Origin,
        token: EnrolmentToken,
        earlier: Option<Agent>,
        registration: &Registration,
    ) -> AppResult<Registered> {
        if registration.signed.is_none() && !self.settings().allow_api_key_agents {
            return Err(AppError::new(Code::ApiKeyAgentsForbidden));
        }
        if token.require_proof && registration.signed.is_none() {
            let problem = "is missing: this token asks for an agent with keys";
            return Err(AppError::field("statement", problem));
        }
        let account = match (token.account, registration.account) {
            (Some(bound), Some(asked)) if bound != asked => {
                return Err(AppError::new(Code::AccountMismatch));
            }
            (Some(account), _) | (None, Some(account)) => account,
            (None, None) => self.first_account(&token.org).await?,
        };
        match earlier {
            Some(agent) => self.repeat(origin, agent, registration).await,
            None => self.admit(origin, &token, account, registration).await,
        }
    }

    /// Records a refusal and gives it back; a record that fails is the failure.
    async fn refused(
        &self,
        origin: &Origin,
        org: &OrgId,
        presented: &Presented,
        name: &str,
        error: AppError,
    ) -> AppError {
        let token = presented.token_id().map_or("-", TokenId::as_str);
        if let Some(kind) = kind_of(&error) {
            let detail = json!({ "token": token, "name": name, "reason": error.detail });
            let org = org.clone();
            self.sighted(Sighting { kind, org, agent: None, source: origin.source, detail });
        }
        let event = Event {
            action: AuditAction::EnrolmentRefused,
            org,
            target: Some(format!("token:{token}")),
            detail: json!({ "code": error.code.as_str(), "name": name, "reason": error.detail }),
        };
        let recorded = self.record_alone("register", "anonymous", origin, event).await;
        recorded.err().unwrap_or(error)
    }

    /// The same statement again: the same agent, and only while it waits a new API key, which
    /// voids the one before.
    async fn repeat(
        &self,
        origin: &Origin,
        earlier: Agent,
        registration: &Registration,
    ) -> AppResult<Registered> {
        let (org, id) = (&earlier.org, &earlier.id);
        let deleted = || AppError::wrong_state("the agent was deleted: enrol with a fresh token");
        let mut tx = self.store().write("register").await?;
        let mut agent = tx.agents().get(org, id).await?.ok_or_else(deleted)?;
        // Writing the state as it is holds the row: of two repeats one voids the key of the other,
        // and none overtakes an approval.
        let waits = agent.state.status() == AgentStatus::Pending
            && tx.agents().save_state(&agent, AgentStatus::Pending).await?;
        let api_key = if waits && agent.key_delivery == KeyDelivery::Direct {
            tx.api_keys().void_of_agent(id, self.now()).await?;
            Some(self.store_agent_key(&mut tx, &agent).await?)
        } else {
            agent = tx.agents().get(org, id).await?.ok_or_else(deleted)?;
            None
        };
        self.record_registration(&mut tx, origin, &agent, true).await?;
        tx.commit().await?;
        let receipt = self.receipt(&agent, registration);
        Ok(Registered { agent, api_key, receipt })
    }

    /// A new agent: takes a seat, and everything that goes with it, in one transaction.
    async fn admit(
        &self,
        origin: &Origin,
        token: &EnrolmentToken,
        account: AccountId,
        registration: &Registration,
    ) -> AppResult<Registered> {
        let now = self.now();
        let mut tx = self.store().write("register").await?;
        let seated = tx.tokens().take_seat(&token.id, now).await?;
        // Two copies of one statement may arrive at once: whoever waited for the seat finds here
        // what the other has made, and gives the seat back.
        if let Some(signed) = &registration.signed {
            let digest = Sha256::of(&signed.payload);
            if let Some(made) = tx.agents().find_by_statement(&token.org, &token.id, digest).await?
            {
                drop(tx);
                return self.repeat(origin, made, registration).await;
            }
        }
        if !seated {
            return Err(AppError::new(Code::InvalidToken));
        }
        if tx.accounts().get(&token.org, account).await?.is_none() {
            return Err(AppError::field("account_id", "is no account of this organisation"));
        }
        let retired = self.retire_earlier_self(&mut tx, origin, token, registration).await?;
        let approval = |by: String| Approval { by: Decider(by), at: now, fingerprint: None };
        // A key that an operator hands over needs an operator: nothing approves such an agent by
        // itself.
        let by_hand = registration.key_delivery == KeyDelivery::Operator;
        let state = if by_hand {
            AgentState::Pending { since: now }
        } else if token.auto_approve {
            AgentState::Approved(approval(format!("token:{}", token.id)))
        } else if self.rules().auto_approve_agents {
            AgentState::Approved(approval("server".to_owned()))
        } else {
            AgentState::Pending { since: now }
        };
        let agent = Agent {
            id: self.ids().fresh(),
            org: token.org.clone(),
            account,
            name: registration.name.clone(),
            state,
            identity: registration.identity(),
            version: registration.version.clone(),
            platform: registration.platform.clone(),
            hostname: registration.hostname.clone(),
            labels: token.labels.clone(),
            token: Some(token.id.clone()),
            source: origin.source.map(|source| source.to_string()),
            registered_at: now,
            epoch: 1,
            key_delivery: registration.key_delivery,
            last_origin: None,
            review: None,
        };
        tx.agents().insert(&agent).await?;
        tx.subsystems().ensure_defaults(&agent.org, &agent.id)?;
        let api_key = match agent.key_delivery {
            KeyDelivery::Direct => Some(self.store_agent_key(&mut tx, &agent).await?),
            KeyDelivery::Operator => None,
        };
        self.record_registration(&mut tx, origin, &agent, false).await?;
        if let Some(approval) = agent.state.approval() {
            let event = Event {
                action: AuditAction::AgentApproved,
                org: &agent.org,
                target: Some(format!("agent:{}", agent.id)),
                detail: json!({ "automatic": true, "by": approval.by.0 }),
            };
            self.record(&mut tx, &approval.by.0, origin, event).await?;
        }
        failpoint("register", "before_commit");
        tx.commit().await?;
        failpoint("register", "after_commit");
        if let Some(retired) = retired {
            self.hub().close(&retired, CloseReason::Revoked);
        }
        let receipt = self.receipt(&agent, registration);
        Ok(Registered { agent, api_key, receipt })
    }

    /// After lost credentials a machine enrols again with the same key, the same name and a fresh
    /// token: it has proved the key, so its earlier self is revoked to make room. Answers that
    /// one, whose stream is to be closed once this is durable.
    async fn retire_earlier_self(
        &self,
        tx: &mut Tx,
        origin: &Origin,
        token: &EnrolmentToken,
        registration: &Registration,
    ) -> AppResult<Option<AgentId>> {
        let Some(identity) = registration.identity() else { return Ok(None) };
        let earlier =
            tx.agents().find_by_identity_key_live(&token.org, &identity.identity_key).await?;
        let Some(mut earlier) = earlier else { return Ok(None) };
        if earlier.name != registration.name || earlier.token.as_ref() == Some(&token.id) {
            return Err(AppError::new(Code::DuplicateKey));
        }
        let now = self.now();
        let before = earlier.state.status();
        let closure = Closure {
            by: Decider(format!("agent:{}", earlier.id)),
            at: now,
            reason: Some("enrolled again with the same key and a fresh token".to_owned()),
        };
        earlier.state = match before {
            AgentStatus::Pending => earlier.state.cancel(now),
            AgentStatus::Approved
            | AgentStatus::Quarantined
            | AgentStatus::Rejected
            | AgentStatus::Expired
            | AgentStatus::Cancelled
            | AgentStatus::Revoked => earlier.state.revoke(closure),
        }
        .map_err(AppError::wrong_state)?;
        self.end_credentials(tx, &earlier).await?;
        tx.agents().save_state(&earlier, before).await?;
        let event = Event {
            action: AuditAction::AgentRevoked,
            org: &earlier.org,
            target: Some(format!("agent:{}", earlier.id)),
            detail: json!({ "reason": "enrolled again", "token": token.id }),
        };
        self.record(tx, &format!("agent:{}", earlier.id), origin, event).await?;
        Ok(Some(earlier.id))
    }

    pub(crate) async fn store_agent_key(
        &self,
        tx: &mut Tx,
        agent: &Agent,
    ) -> AppResult<ApiKeyString> {
        let secret = self.fresh_key(ApiKeyOf::Agent);
        let key = NewApiKey {
            id: secret.id.clone(),
            org: agent.org.clone(),
            agent: Some(agent.id.clone()),
            owner: format!("agent:{}", agent.id),
            name: agent.name.clone(),
            scopes: argosy_domain::access::Scopes::default(),
            secret_sha256: Sha256::of(secret.secret.expose()),
            created_at: self.now(),
            expires_at: None,
        };
        tx.api_keys().insert(&key)?;
        Ok(secret)
    }

    async fn record_registration(
        &self,
        tx: &mut Tx,
        origin: &Origin,
        agent: &Agent,
        repeated: bool,
    ) -> AppResult<()> {
        let fingerprint = agent.identity.as_ref().map(|identity| identity.fingerprint);
        let event = Event {
            action: AuditAction::AgentRegistered,
            org: &agent.org,
            target: Some(format!("agent:{}", agent.id)),
            detail: json!({
                "name": agent.name, "token": agent.token, "account_id": agent.account,
                "assurance": agent.assurance().as_str(), "fingerprint": fingerprint,
                "repeated": repeated, "key_delivery": agent.key_delivery.as_str(),
            }),
        };
        self.record(tx, &format!("agent:{}", agent.id), origin, event).await
    }

    fn receipt(&self, agent: &Agent, registration: &Registration) -> Option<Signed> {
        let signed = registration.signed.as_ref()?;
        Some(self.keyring().sign_identity(&EnrolmentReceipt {
            server: self.keyring().thumbprint(),
            agent_id: agent.id.clone(),
            enrolment_sha256: argosy_wire::bytes::Fixed(Sha256::of(&signed.payload).0),
            status: approval_status(agent.state.status()).to_owned(),
            time: self.now(),
        }))
    }
}
