//! Subsystems of agents, as operators see and change them.

use std::time::Duration;

use argosy_domain::{
    access::{Caller, Permission},
    agent::Assurance,
    audit::AuditAction,
    command::Command,
    id::{AgentId, OrgId},
    subsystem::{InvalidSchedule, Schedule, Subsystem},
};
use argosy_store::{AgentEventFilter, AgentEventRow, ConfigurationRow, PageRequest, SubsystemRow};
use argosy_wire::rest::{commands::CreateCommand, subsystems::UpdateSubsystem};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
};

/// Changes of breakers that are shown at most.
const HISTORY_MAX: u32 = 100;

/// The subsystems of an agent, and the configuration that holds their schedules.
#[derive(Debug, Clone)]
pub struct AgentSubsystems {
    /// Where the configuration stands.
    pub configuration: ConfigurationRow,
    /// By name.
    pub subsystems: Vec<SubsystemRow>,
    /// What the agent told of their breakers, newest first.
    pub history: Vec<AgentEventRow>,
}

impl App {
    /// The subsystems of an agent.
    pub async fn show_subsystems(
        &self,
        caller: &Caller,
        id: &AgentId,
    ) -> AppResult<AgentSubsystems> {
        let org = Self::own_org(caller, Permission::InventoryRead)?;
        self.subsystems_of(org, id).await
    }

    async fn subsystems_of(&self, org: &OrgId, id: &AgentId) -> AppResult<AgentSubsystems> {
        let mut reader = self.store().read("subsystems.show").await?;
        if reader.agents().get(org, id).await?.is_none() {
            return Err(AppError::not_found("agent"));
        }
        let mut history = Vec::new();
        for kind in ["breaker.opened", "breaker.closed"] {
            let filter = AgentEventFilter {
                agent: Some(id.clone()),
                kind: Some(kind.to_owned()),
                ..AgentEventFilter::default()
            };
            let page = PageRequest::first(HISTORY_MAX);
            history.extend(reader.agent_events().list(org, &filter, &page).await?.items);
        }
        history.sort_by_key(|event| std::cmp::Reverse(event.at));
        Ok(AgentSubsystems {
            configuration: reader.configurations().get(id).await?,
            subsystems: reader.subsystems().list(org, id).await?,
            history,
        })
    }

    /// Changes the schedule of a subsystem; the agent is told, and says when it has it.
    pub async fn update_subsystem(
        &self,
        caller: &Caller,
        origin: &Origin,
        (id, subsystem): (&AgentId, Subsystem),
        change: &UpdateSubsystem,
    ) -> AppResult<AgentSubsystems> {
        let org = Self::own_org(caller, Permission::SubsystemsUpdate)?;
        let mut tx = self.store().write("subsystems.update").await?;
        let agent = tx.agents().get(org, id).await?;
        let agent = agent.ok_or_else(|| AppError::not_found("agent"))?;
        if agent.assurance() == Assurance::ApiKey {
            let why = "the agent has no keys and so no stream that a schedule could reach it by";
            return Err(AppError::wrong_state(why));
        }
        let rows = tx.subsystems().list(org, id).await?;
        let row = rows.into_iter().find(|row| row.subsystem == subsystem);
        let row = row.ok_or_else(|| AppError::not_found("subsystem of this agent"))?;
        let schedule = changed(row.schedule, change)?;
        if schedule != row.schedule {
            tx.subsystems().save_schedule(org, id, subsystem, &schedule).await?;
            let held = tx.configurations().get(id).await?.applied;
            let generation = tx.configurations().change((org, id), held, self.now()).await?;
            let event = Event {
                action: AuditAction::SubsystemUpdated,
                org,
                target: Some(format!("agent:{id}")),
                detail: json!({
                    "subsystem": subsystem.as_str(), "generation": generation,
                    "enabled": schedule.enabled, "auto_run": schedule.auto_run,
                    "interval_s": schedule.interval.as_secs(),
                    "timeout_s": schedule.timeout.as_secs(),
                }),
            };
            self.record(&mut tx, &caller.actor(), origin, event).await?;
        }
        tx.commit().await?;
        self.wake_agent(id);
        self.subsystems_of(org, id).await
    }

    /// Runs a subsystem of an agent now, by a command.
    pub async fn run_subsystem(
        &self,
        caller: &Caller,
        origin: &Origin,
        (id, subsystem): (&AgentId, Subsystem),
    ) -> AppResult<Command> {
        let request = CreateCommand {
            kind: "subsystem.run".to_owned(),
            params: json!({ "subsystem": subsystem.as_str() }),
            expires_in: None,
            idempotency_key: None,
        };
        self.create_command(caller, origin, id, &request).await
    }

    /// Gives every agent the subsystems that this version has and its row does not know. Returns how
    /// many rows were made.
    pub async fn ensure_subsystems(&self) -> AppResult<u64> {
        let mut tx = self.store().write("subsystems.ensure").await?;
        let made = tx.subsystems().ensure_defaults_of_all().await?;
        tx.commit().await?;
        Ok(made)
    }
}

fn changed(schedule: Schedule, change: &UpdateSubsystem) -> AppResult<Schedule> {
    let UpdateSubsystem { enabled, auto_run, interval_s, timeout_s } = *change;
    let schedule = Schedule {
        enabled: enabled.unwrap_or(schedule.enabled),
        auto_run: auto_run.unwrap_or(schedule.auto_run),
        interval: interval_s.map_or(schedule.interval, Duration::from_secs),
        timeout: timeout_s.map_or(schedule.timeout, Duration::from_secs),
    };
    schedule.checked().map_err(|why| match why {
        InvalidSchedule::Interval => AppError::field("interval_s", "must be 60 to 86400"),
        InvalidSchedule::Timeout => {
            AppError::field("timeout_s", "must be at least 1 and no longer than the interval")
        }
    })
}
