//! Heartbeats, many in one transaction.
//!
//! *Invariant:* a heartbeat is answered only after the commit that holds it; a failed commit
//! answers every heartbeat of its group with 503.

use std::collections::{BTreeSet, HashMap, HashSet};

use argosy_domain::{
    access::Caller,
    agent::{Agent, AgentStatus, Assurance},
    id::{AccountId, AgentId, OrgId, SyncJobId},
    limits::ID_BYTES_MAX,
    security::SecurityKind,
    text,
    time::Timestamp,
};
use argosy_store::{Store, StoreError, Tx};
use argosy_wire::{problem::Code, rest::agents::Heartbeat};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{
    App, Origin,
    error::{AppError, AppResult},
    security::Sighting,
};

/// Heartbeats that wait at most; more are answered with 503.
const QUEUE_MAX: usize = 65_536;
/// Heartbeats in one transaction at most.
const GROUP_MAX: usize = 4_096;

/// A sign of life that was written, and what the agent may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Commands of the agent that have not ended.
    pub commands_open: u32,
    /// Whether a sync job waits for the agent, where that was asked for.
    pub job_waits: bool,
}

/// A sign of life that waits to be written.
struct Waiting {
    agent: AgentId,
    at: Timestamp,
    asks_for_jobs: bool,
    done: oneshot::Sender<Result<Seen, StoreError>>,
}

/// Writes presence in groups.
pub struct PresenceWriter {
    queue: mpsc::Sender<Waiting>,
}

impl PresenceWriter {
    /// Starts the task that writes. It ends when the last writer is dropped.
    pub fn start(store: Store) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write_groups(store, waiting));
        Self { queue }
    }

    /// Records that an agent was seen; answers once that is durable.
    pub async fn seen(
        &self,
        agent: &AgentId,
        at: Timestamp,
        asks_for_jobs: bool,
    ) -> AppResult<Seen> {
        let busy = || AppError { retry_after_s: Some(1), ..AppError::new(Code::Unavailable) };
        let (done, answer) = oneshot::channel();
        let waiting = Waiting { agent: agent.clone(), at, asks_for_jobs, done };
        self.queue.try_send(waiting).map_err(|_| busy())?;
        Ok(answer.await.map_err(|_| busy())??)
    }
}

async fn write_groups(store: Store, mut waiting: mpsc::Receiver<Waiting>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, GROUP_MAX).await > 0 {
        let written = write(&store, &group).await;
        for Waiting { agent, done, .. } in group.drain(..) {
            let answer = |found: &Found| Seen {
                commands_open: found.commands.get(&agent).copied().unwrap_or_default(),
                job_waits: found.jobs.contains(&agent),
            };
            // Whoever no longer waits needs no answer.
            let _ = done.send(written.as_ref().map(answer).map_err(StoreError::clone));
        }
    }
}

/// What a group of agents may be told of.
struct Found {
    /// How many commands of an agent have not ended, where it has such.
    commands: HashMap<AgentId, u32>,
    /// For whom a sync job waits.
    jobs: HashSet<AgentId>,
}

/// Records signs of life, and finds what their agents may be told of.
async fn write(store: &Store, group: &[Waiting]) -> Result<Found, StoreError> {
    let seen: Vec<_> = group.iter().map(|waiting| (waiting.agent.clone(), waiting.at)).collect();
    let asking = group.iter().filter(|waiting| waiting.asks_for_jobs);
    let asking: BTreeSet<_> = asking.map(|waiting| &waiting.agent).collect();
    let mut tx = store.write("heartbeat").await?;
    tx.presence().touch_many(&seen).await?;
    let commands = tx.commands().count_open_of(seen.iter().map(|(agent, _)| agent)).await?;
    let jobs = match asking.is_empty() {
        true => HashSet::new(),
        false => tx.sync_jobs().waiting_for_any(&asking).await?,
    };
    tx.commit().await?;
    Ok(Found { commands, jobs })
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
        let seen = self.presence().seen(agent, at, true).await?;
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
