//! Inventory: what agents report about their hosts.

use argosy_domain::{
    access::{Caller, Permission},
    id::AgentId,
    limits::{ERROR_TEXT_CHARS_MAX, PAYLOAD_BYTES_MAX},
    subsystem::Subsystem,
    text::{self, clip},
    time::Timestamp,
};
use argosy_store::InventoryRow;
use argosy_wire::{problem::Code, report::SubsystemReport};

use super::{
    App,
    error::{AppError, AppResult},
    heartbeat::still_approved,
    updates::take_pending,
};

/// One run of a subsystem, as its agent reports it.
#[derive(Debug, Clone)]
pub struct SubsystemRun {
    /// Which one.
    pub subsystem: String,
    /// By the agent's clock.
    pub captured_at: Timestamp,
    /// How long it took.
    pub duration_ms: u32,
    /// The report, or why there is none.
    pub report: Result<Vec<u8>, String>,
    /// State of the breaker afterwards.
    pub breaker: String,
}

/// Reads and checks a report.
fn check_report(subsystem: Subsystem, report: &[u8]) -> AppResult<SubsystemReport> {
    if report.len() > PAYLOAD_BYTES_MAX {
        return Err(AppError::because(Code::TooLarge, "a report is at most 1 MiB"));
    }
    let parsed: SubsystemReport =
        serde_json::from_slice(report).map_err(|error| AppError::field("report", error))?;
    if parsed.subsystem() != subsystem {
        return Err(AppError::field("report", "is of another subsystem"));
    }
    parsed.check().map_err(|error| AppError::field("report", error))?;
    Ok(parsed)
}

/// The host's name, where a report tells it.
fn hostname(report: &SubsystemReport) -> Option<String> {
    match report {
        SubsystemReport::System(system) => text::name(&system.hostname).ok(),
        SubsystemReport::Storage(_)
        | SubsystemReport::Updates(_)
        | SubsystemReport::Containers(_) => None,
    }
}

impl App {
    /// Takes the report of one run. Answers once it is durable.
    pub async fn take_report(&self, caller: &Caller, run: SubsystemRun) -> AppResult<()> {
        let (org, agent) = self.approved_agent(caller)?;
        let subsystem = Subsystem::parse(&run.subsystem)
            .map_err(|error| AppError::field("subsystem", error))?;
        if !["closed", "open", "half_open"].contains(&run.breaker.as_str()) {
            return Err(AppError::field("breaker", "must be closed, open or half_open"));
        }
        let parsed = match &run.report {
            Ok(report) => Some(check_report(subsystem, report)?),
            Err(_) => None,
        };
        let hostname = parsed.as_ref().and_then(hostname);
        let now = self.now();
        let mut tx = self.store().write("inventory.put").await?;
        let known = still_approved(&mut tx, agent).await?;
        let error = run.report.as_ref().err().map(|error| clip(error, ERROR_TEXT_CHARS_MAX));
        tx.subsystems()
            .save_report(org, agent, subsystem, &run.breaker, now, error.as_deref())
            .await?;
        if let Ok(report) = run.report {
            let row = InventoryRow {
                org: org.clone(),
                agent: agent.clone(),
                subsystem,
                report,
                // An agent whose clock runs ahead must not block its own later reports.
                captured_at: run.captured_at.min(now),
                received_at: now,
                command: None,
                duration_ms: i64::from(run.duration_ms),
            };
            let newest = tx.inventory().put(&row).await?;
            if let (true, Some(SubsystemReport::Updates(updates))) = (newest, &parsed) {
                take_pending(&mut tx, (org, agent), updates).await?;
            }
        }
        tx.presence().touch_many(&[(agent.clone(), now)]).await?;
        if hostname.is_some() && hostname != known.hostname {
            tx.agents().save_reported(agent, None, hostname.as_deref(), None).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The latest reports of an agent.
    pub async fn show_inventory(
        &self,
        caller: &Caller,
        id: &AgentId,
        subsystem: Option<Subsystem>,
    ) -> AppResult<Vec<InventoryRow>> {
        let org = Self::own_org(caller, Permission::InventoryRead)?;
        let mut reader = self.store().read("inventory.show").await?;
        if reader.agents().get(org, id).await?.is_none() {
            return Err(AppError::not_found("agent"));
        }
        let mut rows = reader.inventory().all(org, id).await?;
        rows.retain(|row| subsystem.is_none_or(|wanted| wanted == row.subsystem));
        match subsystem {
            Some(_) if rows.is_empty() => Err(AppError::not_found("report of this subsystem yet")),
            Some(_) | None => Ok(rows),
        }
    }
}
