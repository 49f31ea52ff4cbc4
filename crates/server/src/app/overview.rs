//! The fleet on one page: what wants attention, and how it has been.
//!
//! *Invariant:* whoever may not read a thing is told nothing of it, not even how many there are.

use std::time::Duration;

use argosy_domain::{
    access::{Caller, Decision, Permission, Target, decide},
    agent::AgentStatus,
    id::{AgentId, OrgId},
    time::Timestamp,
};
use argosy_store::{AgentFilter, PageRequest, Reader};

use super::{App, agents::AgentSnapshot, error::AppResult, status::FleetStatus};

/// Spans of silence in [`Overview::silence`]; two further counts are of longer, and of ever.
pub use argosy_store::SILENCE_BOUNDS;

/// How far back the history of commands goes, in steps of an hour.
pub const HISTORY_HOURS: usize = 24;
const HOUR: Duration = Duration::from_secs(3_600);
/// A key that ends within this wants attention.
const KEY_ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);
/// Items of one kind that an overview names; of the others it tells the number.
const NAMED_MAX: u32 = 5;

/// Commands that were given within one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandHour {
    /// When the hour begins.
    pub from: Timestamp,
    /// Succeeded.
    pub succeeded: u64,
    /// Ended otherwise, cancelled ones apart.
    pub failed: u64,
    /// Cancelled or not ended.
    pub other: u64,
}

/// A breaker that is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    /// Whose it is.
    pub agent: AgentId,
    /// That agent's name.
    pub name: String,
    /// Of which subsystem.
    pub subsystem: String,
}

/// What somebody should look at.
#[derive(Debug, Clone, Default)]
pub struct Attention {
    /// Registrations that wait for an operator.
    pub pending: u64,
    /// Agents under review.
    pub under_review: u64,
    /// The newest of those.
    pub reviewed: Vec<AgentSnapshot>,
    /// Versions below the minimum, with the number of their agents.
    pub outdated: Vec<(String, u64)>,
    /// Commands of the last hours that failed.
    pub failed_commands: u64,
    /// Breakers that are not closed, the first few.
    pub open_breakers: Vec<OpenBreaker>,
    /// API keys that end soon.
    pub ending_keys: u64,
}

impl Attention {
    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.pending == 0
            && self.under_review == 0
            && self.outdated.is_empty()
            && self.failed_commands == 0
            && self.open_breakers.is_empty()
            && self.ending_keys == 0
    }
}

/// The fleet on one page.
#[derive(Debug, Clone)]
pub struct Overview {
    /// In numbers.
    pub fleet: FleetStatus,
    /// What somebody should look at.
    pub attention: Attention,
    /// Admitted agents by how long they have been silent: less than each of [`SILENCE_BOUNDS`],
    /// longer, for ever.
    pub silence: [u64; SILENCE_BOUNDS.len() + 2],
    /// Commands by the hour in which they were given, oldest first; empty for who may not see any.
    pub commands: Vec<CommandHour>,
}

fn may(caller: &Caller, org: &OrgId, permission: Permission) -> bool {
    decide(caller, permission, Target { org, agent: None }) == Decision::Allow
}

impl App {
    /// The caller's fleet on one page.
    pub async fn overview(&self, caller: &Caller) -> AppResult<Overview> {
        let fleet = self.fleet_status(caller).await?;
        let org = Self::own_org(caller, Permission::AgentsRead)?;
        let mut reader = self.store().read("overview").await?;
        let silence = reader.agents().silence_in(org, self.now()).await?;
        let commands = match may(caller, org, Permission::CommandsRead) {
            true => self.command_hours(&mut reader, org).await?,
            false => Vec::new(),
        };
        let mut attention = self.odd_agents(&mut reader, org).await?;
        attention.pending = fleet.agents.get(AgentStatus::Pending.as_str()).copied().unwrap_or(0);
        attention.failed_commands = commands.iter().map(|hour| hour.failed).sum();
        if may(caller, org, Permission::InventoryRead) {
            let open = reader.subsystems().open_breakers_in(org, NAMED_MAX).await?;
            let breaker = |(agent, name, subsystem)| OpenBreaker { agent, name, subsystem };
            attention.open_breakers = open.into_iter().map(breaker).collect();
        }
        if may(caller, org, Permission::KeysRead) {
            let until = self.now().plus(KEY_ENDS_SOON);
            attention.ending_keys = reader.api_keys().count_ending(org, self.now(), until).await?;
        }
        Ok(Overview { fleet, attention, silence, commands })
    }

    async fn odd_agents(&self, reader: &mut Reader, org: &OrgId) -> AppResult<Attention> {
        let under_review = reader.agents().count_under_review(org).await?;
        let filter = AgentFilter { under_review: true, ..AgentFilter::default() };
        let page = PageRequest { limit: NAMED_MAX, after: None };
        let views = reader.agents().list(org, &filter, &page).await?.items;
        let reviewed = views.into_iter().map(|view| self.snapshot(view, Default::default()));
        let reviewed = reviewed.collect();
        let mut outdated = reader.agents().versions_in(org).await?;
        outdated.retain(|(version, _)| self.is_outdated(Some(version)));
        Ok(Attention { under_review, reviewed, outdated, ..Attention::default() })
    }

    async fn command_hours(&self, reader: &mut Reader, org: &OrgId) -> AppResult<Vec<CommandHour>> {
        let hour_us = i64::try_from(HOUR.as_micros()).unwrap_or(i64::MAX);
        let this_hour = self.now().as_micros().div_euclid(hour_us);
        let hours = i64::try_from(HISTORY_HOURS).unwrap_or(i64::MAX);
        let first = this_hour - hours + 1;
        let begin = |hour: i64| Timestamp::from_micros(hour * hour_us);
        let empty = |hour| CommandHour { from: begin(hour), succeeded: 0, failed: 0, other: 0 };
        let mut all: Vec<CommandHour> = (first..=this_hour).map(empty).collect();
        for count in reader.commands().history_in(org, begin(first), HOUR).await? {
            let Some(hour) = all.iter_mut().find(|hour| hour.from == count.from) else { continue };
            match count.state.as_str() {
                "succeeded" => hour.succeeded += count.commands,
                "failed" | "timed_out" | "rejected" | "expired" | "lost" => {
                    hour.failed += count.commands;
                }
                _ => hour.other += count.commands,
            }
        }
        Ok(all)
    }

    /// Registrations that wait for an operator; none for who may not see agents.
    pub async fn count_pending(&self, caller: &Caller) -> AppResult<u64> {
        let Ok(org) = Self::own_org(caller, Permission::AgentsRead) else { return Ok(0) };
        Ok(self.store().read("pending.count").await?.agents().count_pending(org).await?)
    }
}
