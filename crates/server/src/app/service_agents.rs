//! Agents of service keys: other people's programs that choose their own id (PROTOCOL §3).
//!
//! *Invariant:* the id in a body only says which of the key's own agents is meant. Who owns an id
//! was decided by the key that came with it first, and no body changes that.

use argosy_domain::{
    access::{Caller, Permission, Target},
    agent::{Agent, AgentState, AgentStatus, Approval, Decider},
    audit::AuditAction,
    id::{AccountId, AgentId, ApiKeyId, OrgId},
    labels::Labels,
    limits::SERVICE_AGENTS_MAX,
    review::KeyDelivery,
    security::SecurityKind,
    text,
};
use argosy_store::{ServiceAgent, StoreError};
use argosy_wire::{
    problem::Code,
    rest::{agents::Heartbeat, enrolment::Register},
};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    enrolment::Registered,
    error::{AppError, AppResult},
    security::Sighting,
};

/// Times that two first calls at the same moment are told apart.
const ATTEMPTS: usize = 3;

/// An agent as a program behind a service key names it.
#[derive(Debug, Clone)]
struct Called {
    id: String,
    name: Option<String>,
    account: Option<AccountId>,
    version: Option<String>,
    hostname: Option<String>,
    platform: Option<String>,
}

fn optional(field: &'static str, value: Option<&String>) -> AppResult<Option<String>> {
    let value = value.filter(|value| !value.is_empty()).map(|value| text::name(value));
    value.transpose().map_err(|error| AppError::field(field, error))
}

impl Called {
    fn read(
        id: Option<&String>,
        name: Option<&String>,
        account: Option<i64>,
        reported: [Option<&String>; 3],
    ) -> AppResult<Self> {
        let missing = || AppError::field("agent_id", "is missing: name the agent of this key");
        let [version, hostname, platform] = reported;
        Ok(Self {
            id: optional("agent_id", id)?.ok_or_else(missing)?,
            name: optional("name", name)?,
            account: account.map(AccountId),
            version: optional("version", version)?,
            hostname: optional("hostname", hostname)?,
            platform: optional("platform", platform)?,
        })
    }
}

/// A key that may bring agents into being.
#[derive(Debug, Clone, Copy)]
struct Service<'a> {
    key: &'a ApiKeyId,
    owner: &'a str,
    org: &'a OrgId,
}

impl<'a> Service<'a> {
    fn of(caller: &'a Caller) -> AppResult<Self> {
        let Caller::Key { key, owner, org, .. } = caller else {
            return Err(AppError::because(Code::Forbidden, "only a service key may do this"));
        };
        let target = Target { org, agent: None };
        App::authorize(caller, Permission::DiscoveryCreate, target, "organisation")?;
        Ok(Self { key, owner, org })
    }
}

impl App {
    /// The agent behind a heartbeat of a service key; brought into being by the first one.
    pub(crate) async fn agent_of_heartbeat(
        &self,
        caller: &Caller,
        origin: &Origin,
        heartbeat: &Heartbeat,
    ) -> AppResult<Agent> {
        let service = Service::of(caller)?;
        let reported = [heartbeat.version.as_ref(), heartbeat.hostname.as_ref(), None];
        let (id, name) = (heartbeat.agent_id.as_ref(), heartbeat.name.as_ref());
        let called = Called::read(id, name, heartbeat.account_id, reported)?;
        Ok(self.find_or_admit(service, origin, &called).await?.0)
    }

    /// A registration with a service key in place of a token.
    pub async fn register_with_key(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: &Register,
    ) -> AppResult<Registered> {
        let service = Service::of(caller)?;
        if request.statement.is_some() || !request.keys.is_empty() {
            let problem = "must be absent: an agent of a service key has no keys of its own";
            return Err(AppError::field("statement", problem));
        }
        let reported =
            [request.version.as_ref(), request.hostname.as_ref(), request.platform.as_ref()];
        let (id, name) = (request.agent_id.as_ref(), Some(&request.name));
        let called = Called::read(id, name, request.account_id, reported)?;
        let (agent, _) = self.find_or_admit(service, origin, &called).await?;
        Ok(Registered { agent, api_key: None, receipt: None })
    }

    /// The agent of an ingest, where a service key names one of its own. It must stand as if it had
    /// a key itself; an id that nobody goes by names no agent.
    pub(crate) async fn agent_of_ingest(
        &self,
        caller: &Caller,
        named: Option<&str>,
    ) -> AppResult<Option<AgentId>> {
        let (Caller::Key { .. }, Some(named)) = (caller, named) else { return Ok(None) };
        let (service, nowhere) = (Service::of(caller)?, Origin::default());
        let called = Called {
            id: named.to_owned(),
            name: None,
            account: None,
            version: None,
            hostname: None,
            platform: None,
        };
        let Some(agent) = self.find_called(service, &nowhere, &called).await? else {
            return Ok(None);
        };
        if !self.settings().allow_api_key_agents {
            return Err(self.forbidden(service, &nowhere, &called).await?);
        }
        if agent.state.status() != AgentStatus::Approved {
            return Err(AppError::new(Code::Quarantined));
        }
        self.must_reach(&self.keyless_caller(&agent))?;
        Ok(Some(agent.id))
    }

    async fn find_or_admit(
        &self,
        service: Service<'_>,
        origin: &Origin,
        called: &Called,
    ) -> AppResult<(Agent, bool)> {
        if !self.settings().allow_api_key_agents {
            return Err(self.forbidden(service, origin, called).await?);
        }
        let mut taken = AppError::new(Code::Unavailable);
        for _ in 0..ATTEMPTS {
            if let Some(agent) = self.find_called(service, origin, called).await? {
                return Ok((agent, false));
            }
            match self.admit_called(service, origin, called).await {
                Ok(agent) => return Ok((agent, true)),
                Err(Admission::Refused(error)) => return Err(error),
                // Somebody may have been faster by a moment: look whose it is once that is committed.
                Err(Admission::Taken(error)) => {
                    taken = error;
                    self.store().write("service_agents.find").await?.commit().await?;
                }
            }
        }
        Err(taken)
    }

    /// The installation admits no such agents; recorded once a minute for each key.
    async fn forbidden(
        &self,
        service: Service<'_>,
        origin: &Origin,
        called: &Called,
    ) -> AppResult<AppError> {
        let key: AgentId = service.key.as_str().parse().map_err(AppError::internal)?;
        if self.misuses().is_news(&key, self.now()) {
            let event = Event {
                action: AuditAction::ApiKeyAgentRefused,
                org: service.org,
                target: Some(format!("key:{}", service.key)),
                detail: json!({ "external_id": called.id }),
            };
            self.record_alone("service_agents", service.owner, origin, event).await?;
        }
        Ok(AppError::new(Code::ApiKeyAgentsForbidden))
    }

    async fn find_called(
        &self,
        service: Service<'_>,
        origin: &Origin,
        called: &Called,
    ) -> AppResult<Option<Agent>> {
        let mut reader = self.store().read("service_agents.find").await?;
        let Some(bound) = reader.service_agents().find(service.org, &called.id).await? else {
            // An agent that joined in another way is nobody's to name.
            if let Ok(id) = called.id.parse::<AgentId>()
                && reader.agents().get(service.org, &id).await?.is_some()
            {
                return Err(AppError::because(Code::Forbidden, "agent_id is another agent's"));
            }
            return Ok(None);
        };
        if bound.key != *service.key {
            let (kind, about) = (SecurityKind::CrossAgent, (service.org, &bound.agent));
            let detail = json!({ "key": service.key });
            self.sighted(Sighting::of_agent(kind, about, origin, detail));
            return Err(another_keys());
        }
        let agent = reader.agents().get(service.org, &bound.agent).await?;
        let agent = agent.ok_or_else(|| AppError::new(Code::Unauthenticated))?;
        match agent.state.status() {
            AgentStatus::Approved | AgentStatus::Quarantined => Ok(Some(agent)),
            AgentStatus::Pending => Err(AppError::new(Code::NotApproved)),
            AgentStatus::Rejected
            | AgentStatus::Expired
            | AgentStatus::Cancelled
            | AgentStatus::Revoked => {
                Err(AppError::because(Code::Unauthenticated, "this agent was revoked"))
            }
        }
    }

    async fn admit_called(
        &self,
        service: Service<'_>,
        origin: &Origin,
        called: &Called,
    ) -> Result<Agent, Admission> {
        let (org, now) = (service.org, self.now());
        let mut tx = self.store().write("service_agents.admit").await?;
        // The organisation's first account unless the first call names another.
        let accounts = tx.accounts().list(org).await?;
        let account = match called.account {
            None => accounts.iter().map(|known| known.id).min(),
            Some(asked) => accounts.iter().map(|known| known.id).find(|known| *known == asked),
        };
        let Some(account) = account else {
            let problem = "is no account of this organisation";
            return Err(Admission::Refused(AppError::field("account_id", problem)));
        };
        if tx.service_agents().count_of(org, service.key).await? >= SERVICE_AGENTS_MAX {
            let detail = format!("this key has {SERVICE_AGENTS_MAX} agents already");
            return Err(Admission::Refused(AppError::wrong_state(detail)));
        }
        let by = Decider(service.owner.to_owned());
        let agent = Agent {
            id: self.ids().fresh(),
            org: org.clone(),
            account,
            name: called.name.clone().unwrap_or_else(|| called.id.clone()),
            state: AgentState::Approved(Approval { by, at: now, fingerprint: None }),
            identity: None,
            version: called.version.clone(),
            platform: called.platform.clone(),
            hostname: called.hostname.clone(),
            labels: Labels::default(),
            token: None,
            source: origin.source.map(|source| source.to_string()),
            registered_at: now,
            epoch: 1,
            key_delivery: KeyDelivery::Direct,
            last_origin: None,
            review: None,
        };
        tx.agents().insert(&agent).await?;
        tx.service_agents()
            .insert(&ServiceAgent {
                org: org.clone(),
                called: called.id.clone(),
                key: service.key.clone(),
                agent: agent.id.clone(),
            })
            .await?;
        let detail = json!({
            "name": agent.name, "account_id": account, "assurance": agent.assurance().as_str(),
            "service_key": service.key, "external_id": called.id,
        });
        for action in [AuditAction::AgentRegistered, AuditAction::AgentApproved] {
            let target = Some(format!("agent:{}", agent.id));
            let event = Event { action, org, target, detail: detail.clone() };
            self.record(&mut tx, service.owner, origin, event).await?;
        }
        tx.commit().await?;
        Ok(agent)
    }
}

fn another_keys() -> AppError {
    AppError::because(Code::Forbidden, "agent_id belongs to another key")
}

/// Why an id did not come into being.
enum Admission {
    /// The id or the name is taken, perhaps since a moment ago and by the same agent.
    Taken(AppError),
    /// The answer is no.
    Refused(AppError),
}

impl From<AppError> for Admission {
    fn from(error: AppError) -> Self {
        Self::Refused(error)
    }
}

impl From<StoreError> for Admission {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Conflict { what: "service_agent" | "agent_name" }) {
            Self::Taken(error.into())
        } else {
            Self::Refused(error.into())
        }
    }
}
