//! Heartbeats, many in one transaction.

use std::collections::{BTreeSet, HashSet};

use argosy_domain::{
    access::Caller,
    agent::{Agent, AgentStatus, Assurance},
    id::{AccountId, AgentId, OrgId, SyncJobId},
    limits::ID_BYTES_MAX,
    security::SecurityKind,
    text,
    time::Timestamp,
};
use argosy_store::{StoreError, Tx};
use argosy_wire::{problem::Code, rest::agents::Heartbeat};
use serde_json::json;

use super::{
    App, Origin,
    error::{AppError, AppResult},
    groups::Group,
    security::Sighting,
};

/// A sign of life that was written, and what the agent may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Commands of the agent that have not ended.
    pub commands_open: u32,
    /// Whether a sync job waits for the agent, where that was asked for.
    pub job_waits: bool,
}

/// A sign of life.
pub(super) struct SignOfLife {
    agent: AgentId,
    at: Timestamp,
    asks_for_jobs: bool,
}

/// Signs of life, written together.
pub(super) struct SignsOfLife;

impl Group for SignsOfLife {
    type Item = SignOfLife;
    type Answer = Seen;
    const OPERATION: &'static str = "heartbeat";
    const ITEMS_MAX: usize = 4_096;

    async fn write(tx: &mut Tx, signs: &[&SignOfLife]) -> Result<Vec<Seen>, StoreError> {
        let seen: Vec<_> = signs.iter().map(|sign| (sign.agent.clone(), sign.at)).collect();
        let asking = signs.iter().filter(|sign| sign.asks_for_jobs);
        let asking: BTreeSet<_> = asking.map(|sign| &sign.agent).collect();
        tx.presence().touch_many(&seen).await?;
        let commands = tx.commands().count_open_of(seen.iter().map(|(agent, _)| agent)).await?;
        let jobs = match asking.is_empty() {
            true => HashSet::new(),
            false => tx.sync_jobs().waiting_for_any(&asking).await?,
        };
        let seen = |sign: &&SignOfLife| Seen {
            commands_open: commands.get(&sign.agent).copied().unwrap_or_default(),
            job_waits: jobs.contains(&sign.agent),
        };
        Ok(signs.iter().map(seen).collect())
    }
}

/// What a heartbeat is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatReceived {
    /// Server time.
    pub at: Timestamp,
    /// The caller's account.
    pub account: AccountId,
    /// Commands that wait for the agent.
    pub commands_pending: u32,
    /// A sync job that waits for the agent.
    pub sync_job: Option<SyncJobId>,
}

/// The agent that a caller is.
pub(crate) fn own_agent(caller: &Caller) -> AppResult<(&AgentId, AccountId, AgentStatus)> {
    match caller {
        Caller::Agent { agent, account, status, .. } => Ok((agent, *account, *status)),
        Caller::Key { .. } | Caller::User { .. } | Caller::Server => {
            Err(AppError::because(Code::Forbidden, "only an agent may do this"))
        }
    }
}

/// What the calling agent has proved.
fn assurance_of(caller: &Caller) -> Assurance {
    match caller {
        Caller::Agent { assurance, .. } => *assurance,
        Caller::Key { .. } | Caller::User { .. } | Caller::Server => Assurance::ApiKey,
    }
}

/// The agent as it stands in this transaction. Refuses what it began to send before it was revoked
/// or quarantined.
pub(crate) async fn still_approved(tx: &mut Tx, agent: &AgentId) -> AppResult<Agent> {
    let agent = tx.agents().find(agent).await?;
    let agent = agent.ok_or_else(|| AppError::new(Code::Unauthenticated))?;
    match agent.state.status() {
        AgentStatus::Approved => Ok(agent),
        AgentStatus::Quarantined => Err(AppError::new(Code::Quarantined)),
        AgentStatus::Pending
        | AgentStatus::Rejected
        | AgentStatus::Expired
        | AgentStatus::Cancelled
        | AgentStatus::Revoked => Err(AppError::new(Code::Unauthenticated)),
    }
}

impl App {
    /// Records that an agent was seen; answers once that is durable.
    pub(crate) async fn seen(
        &self,
        agent: &AgentId,
        at: Timestamp,
        asks_for_jobs: bool,
    ) -> AppResult<Seen> {
        self.groups().signs.ask(SignOfLife { agent: agent.clone(), at, asks_for_jobs }).await
    }

    /// The agent that a caller is, with its tenant, if it may deliver reports.
    pub(crate) fn approved_agent<'c>(
        &self,
        caller: &'c Caller,
    ) -> AppResult<(&'c OrgId, &'c AgentId)> {
        self.must_reach(caller)?;
        let (agent, _, status) = own_agent(caller)?;
        let org = caller.org().ok_or_else(|| AppError::new(Code::Forbidden))?;
        match status {
            AgentStatus::Approved => Ok((org, agent)),
            AgentStatus::Quarantined
            | AgentStatus::Pending
            | AgentStatus::Rejected
            | AgentStatus::Expired
            | AgentStatus::Cancelled
            | AgentStatus::Revoked => Err(AppError::new(Code::Quarantined)),
        }
    }

    /// Refuses a body that speaks for somebody else.
    pub(crate) fn must_be_own(
        &self,
        caller: &Caller,
        agent: &AgentId,
        named: Option<&str>,
    ) -> AppResult<()> {
        match named {
            Some(named) if !named.is_empty() && named != agent.as_str() => {
                if let Some(org) = caller.org() {
                    let (kind, about) = (SecurityKind::CrossAgent, (org, agent));
                    let detail = json!({ "named": text::clip(named, ID_BYTES_MAX) });
                    let nowhere = Origin::default();
                    self.sighted(Sighting::of_agent(kind, about, &nowhere, detail));
                }
                Err(AppError::because(Code::Forbidden, "agent_id is another agent's"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A heartbeat over REST or RPC.
    pub async fn heartbeat(
        &self,
        caller: &Caller,
        origin: &Origin,
        heartbeat: &Heartbeat,
    ) -> AppResult<HeartbeatReceived> {
        let behind_key;
        let caller = match caller {
            Caller::Key { .. } => {
                let agent = self.agent_of_heartbeat(caller, origin, heartbeat).await?;
                behind_key = self.keyless_caller(&agent);
                &behind_key
            }
            Caller::Agent { agent, .. } => {
                self.must_be_own(caller, agent, heartbeat.agent_id.as_deref())?;
                caller
            }
            Caller::User { .. } | Caller::Server => caller,
        };
        let (agent, account, status) = own_agent(caller)?;
        if assurance_of(caller) == Assurance::ApiKey {
            self.note_reported(agent, heartbeat).await?;
        }
        let at = self.now();
        let seen = self.seen(agent, at, true).await?;
        let (commands_pending, sync_job) = match status {
            AgentStatus::Approved => {
                let org = caller.org().ok_or_else(|| AppError::new(Code::Forbidden))?;
                let hint = if seen.job_waits {
                    self.sync_hint((org, account, agent), assurance_of(caller)).await?
                } else {
                    None
                };
                (seen.commands_open, hint)
            }
            AgentStatus::Quarantined
            | AgentStatus::Pending
            | AgentStatus::Rejected
            | AgentStatus::Expired
            | AgentStatus::Cancelled
            | AgentStatus::Revoked => (0, None),
        };
        Ok(HeartbeatReceived { at, account, commands_pending, sync_job })
    }

    /// Keeps version and hostname where they changed. Only of agents without keys: the others sign
    /// what they are, and a body is not signed.
    async fn note_reported(&self, agent: &AgentId, heartbeat: &Heartbeat) -> AppResult<()> {
        let check = |field: &'static str, value: &Option<String>| {
            let value = value.as_deref().filter(|value| !value.is_empty()).map(text::name);
            value.transpose().map_err(|error| AppError::field(field, error))
        };
        let version = check("version", &heartbeat.version)?;
        let hostname = check("hostname", &heartbeat.hostname)?;
        if version.is_none() && hostname.is_none() {
            return Ok(());
        }
        let known = self.standing(agent).await?;
        let same = known.is_some_and(|known| {
            (version.is_none() || known.version == version)
                && (hostname.is_none() || known.hostname == hostname)
        });
        if !same {
            let mut tx = self.store().write("heartbeat.reported").await?;
            let (version, hostname) = (version.as_deref(), hostname.as_deref());
            tx.agents().save_reported(agent, version, hostname, None).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
