//! From credentials to a [`Caller`].

use std::sync::Arc;

use argosy_domain::{
    access::Caller,
    agent::{Agent, AgentStatus, Assurance, Reach},
    audit::AuditAction,
    digest::Sha256,
    id::SessionId,
    security::SecurityKind,
};
use argosy_store::ApiKey;
use argosy_wire::{
    problem::Code,
    token::{ApiKeyOf, ApiKeyString},
};
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::{
    App, Origin,
    audit::Event,
    enrolment::is_overdue,
    error::{AppError, AppResult},
    security::Sighting,
    sessions::ProvedSession,
};

/// The caller that an agent is.
fn agent_caller(agent: &Agent, session: Option<SessionId>, reach: Reach) -> Caller {
    Caller::Agent {
        agent: agent.id.clone(),
        org: agent.org.clone(),
        account: agent.account,
        assurance: agent.assurance(),
        status: agent.state.status(),
        session,
        reach,
    }
}

impl From<ProvedSession> for Caller {
    fn from(proved: ProvedSession) -> Self {
        agent_caller(&proved.agent, Some(proved.session), proved.reach)
    }
}

impl App {
    /// Finds the key behind a text. Every refusal is the same.
    pub(crate) async fn find_key(&self, text: &str) -> AppResult<(ApiKeyString, Arc<ApiKey>)> {
        let refused = || AppError::new(Code::Unauthenticated);
        let presented = ApiKeyString::parse(text).map_err(|_| refused())?;
        let key = self.api_key(&presented.id).await?.ok_or_else(refused)?;
        let digest = Sha256::of(presented.secret.expose());
        let same = bool::from(digest.0.ct_eq(&key.secret_sha256.0));
        let alive = key.revoked_at.is_none() && key.expires_at.is_none_or(|at| self.now() < at);
        let own_kind = (presented.of == ApiKeyOf::Agent) == key.agent.is_some();
        let good = same && alive && own_kind && self.lets_in(&key.org).await?;
        if good { Ok((presented, key)) } else { Err(refused()) }
    }

    /// The agent behind an API key, whatever its state; 401 for one that left.
    pub(crate) async fn agent_of_key(&self, key: &ApiKey) -> AppResult<Arc<Agent>> {
        let refused = || AppError::new(Code::Unauthenticated);
        let id = key.agent.as_ref().ok_or_else(refused)?;
        if let Some(agent) = self.standing(id).await? {
            return Ok(agent);
        }
        // It does not stand: what to answer depends on what it is.
        let agent = self.store().read("authn.agent").await?.agents().find(id).await?;
        let agent = agent.ok_or_else(refused)?;
        // The sweep that writes it down may come a moment later.
        if is_overdue(&agent, self.now()) {
            return Err(refused());
        }
        match agent.state.status() {
            AgentStatus::Pending => Err(AppError::new(Code::NotApproved)),
            AgentStatus::Approved | AgentStatus::Quarantined => Ok(Arc::new(agent)),
            AgentStatus::Rejected
            | AgentStatus::Expired
            | AgentStatus::Cancelled
            | AgentStatus::Revoked => Err(refused()),
        }
    }

    /// The caller that an agent without keys is.
    pub(crate) fn keyless_caller(&self, agent: &Agent) -> Caller {
        agent_caller(agent, None, self.reach_of(agent.version.as_deref()))
    }

    /// Refuses an agent without keys where the installation forbids them; who tries again and
    /// again is recorded once a minute.
    async fn admit_keyless(&self, origin: &Origin, agent: &Agent) -> AppResult<()> {
        if self.settings().allow_api_key_agents {
            return Ok(());
        }
        if self.misuses().is_news(&agent.id, self.now()) {
            let actor = format!("agent:{}", agent.id);
            let event = Event {
                action: AuditAction::ApiKeyAgentRefused,
                org: &agent.org,
                target: Some(actor.clone()),
                detail: json!({ "name": agent.name }),
            };
            self.record_alone("authn.api_key_refused", &actor, origin, event).await?;
        }
        Err(AppError::new(Code::ApiKeyAgentsForbidden))
    }

    /// Authenticates `Authorization: Bearer`.
    pub async fn authenticate_key(&self, origin: &Origin, text: &str) -> AppResult<Caller> {
        self.sight().clear().await?;
        let outcome = self.caller_of_key(origin, text).await;
        let outcome = outcome.and_then(|caller| self.counted(caller));
        let counted = |code| [Code::Unauthenticated, Code::ProofRequired].contains(&code);
        self.judged(origin, outcome, counted)
    }

    /// A key of a user grants no more than the user may now, and nothing once the user is gone.
    pub(crate) async fn caller_of_operator_key(&self, key: ApiKey) -> AppResult<Caller> {
        let refused = || AppError::new(Code::Unauthenticated);
        let mut scopes = key.scopes;
        if let Some(user) = key.minted.and_then(|minted| minted.user) {
            let mut reader = self.store().read("authn.owner").await?;
            let user = reader.users().get(&key.org, &user).await?.ok_or_else(refused)?;
            if user.disabled_at.is_some() {
                return Err(refused());
            }
            scopes = scopes.within(&user.role.scopes());
        }
        self.uses().of_key(&key.id, key.last_used_at, self.now());
        Ok(Caller::Key { key: key.id, owner: key.owner, org: key.org, scopes })
    }

    async fn caller_of_key(&self, origin: &Origin, text: &str) -> AppResult<Caller> {
        let (presented, key) = self.find_key(text).await?;
        if presented.of == ApiKeyOf::Operator {
            return self.caller_of_operator_key(Arc::unwrap_or_clone(key)).await;
        }
        let agent = self.agent_of_key(&key).await?;
        match agent.assurance() {
            Assurance::ApiKey => {
                self.admit_keyless(origin, &agent).await?;
                Ok(self.keyless_caller(&agent))
            }
            Assurance::ProofOfPossession => {
                let event = Event {
                    action: AuditAction::ProofRequired,
                    org: &agent.org,
                    target: Some(format!("agent:{}", agent.id)),
                    detail: json!({}),
                };
                let (kind, about) = (SecurityKind::BareKey, (&agent.org, &agent.id));
                self.sighted(Sighting::of_agent(kind, about, origin, json!({})));
                let actor = format!("agent:{}", agent.id);
                self.record_alone("authn.proof_required", &actor, origin, event).await?;
                Err(AppError::new(Code::ProofRequired))
            }
        }
    }
}
