//! `argosy agent …` as it is written.

use std::time::Duration;

use argosy_domain::{digest::Fingerprint, time::parse_span};
use clap::{Args as Group, Subcommand};

use super::{AgentEvents, Limit, pair};

/// `argosy agent …`
#[derive(Debug, Subcommand)]
pub enum Agent {
    /// Agents in a table
    List(AgentList),
    /// Everything about one agent
    Show(OneAgent),
    /// Let a machine in, after its fingerprint has been compared
    Approve {
        /// Name or id
        agent: String,
        /// As the machine itself shows it; refused if it differs
        #[arg(long, value_name = "GROUPS", conflicts_with = "yes")]
        fingerprint: Option<Fingerprint>,
        /// Approve without comparing
        #[arg(long, short)]
        yes: bool,
    },
    /// Turn a machine away that asks to join
    Reject(WithReason),
    /// End an agent's membership for good
    Revoke(Revoke),
    /// Hand nothing out to an agent; its work runs on
    Quarantine(WithReason),
    /// End a quarantine, or confirm an agent that is under review
    Restore(WithReason),
    /// Bind an agent to the machine that it moved to
    Rebind {
        /// Name or id
        agent: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Let another agent take over from one, which is revoked
    Replace(Successor),
    /// Give an agent another name
    Rename {
        /// Name or id
        agent: String,
        /// The new name
        new_name: String,
    },
    /// Set labels (`key=value`) and take them off (`key-`)
    Label {
        /// Name or id
        agent: String,
        /// `key=value` or `key-`
        #[arg(required = true, value_name = "CHANGE", value_parser = label_change)]
        changes: Vec<LabelChange>,
    },
    /// Remove an agent and what it reported
    Delete {
        /// Name or id
        agent: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// When an agent's subsystems run, and how their breakers stand
    Subsystems(OneAgent),
    /// Change when a subsystem of an agent runs
    Schedule(Schedule),
    /// What an agent tells of, newest first
    Events(AgentEvents),
    /// Show changes as they happen, until interrupted
    Watch {
        /// Only this one; name or id
        agent: Option<String>,
        /// Seconds between looks
        #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
        every: u64,
    },
}

/// `argosy agent list`
#[derive(Debug, Group)]
pub struct AgentList {
    /// pending, approved, quarantined, rejected, expired, cancelled or revoked
    #[arg(long)]
    pub status: Option<String>,
    /// healthy, stale or offline
    #[arg(long)]
    pub health: Option<String>,
    /// Only this account
    #[arg(long, value_name = "ID")]
    pub account_id: Option<i64>,
    /// Only agents with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub label: Option<(String, String)>,
    /// Part of a name or host name
    #[arg(long, short, value_name = "TEXT")]
    pub q: Option<String>,
    /// See [`Limit`].
    #[command(flatten)]
    pub limit: Limit,
}

/// One agent.
#[derive(Debug, Group)]
pub struct OneAgent {
    /// Name or id
    pub agent: String,
}

/// `argosy agent schedule`
#[derive(Debug, Group)]
#[group(id = "change", required = true, multiple = true, args = ["enabled", "auto_run", "interval", "timeout"])]
pub struct Schedule {
    /// Name or id
    pub agent: String,
    /// Such as `storage`
    pub subsystem: String,
    /// Off: neither scheduled nor on command
    #[arg(long, value_name = "TRUE|FALSE")]
    pub enabled: Option<bool>,
    /// Runs by itself; off leaves it to commands
    #[arg(long, value_name = "TRUE|FALSE")]
    pub auto_run: Option<bool>,
    /// From one start to the next, such as `10m`
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub interval: Option<Duration>,
    /// A run that takes longer is stopped, such as `30s`
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub timeout: Option<Duration>,
}

/// One agent and a reason.
#[derive(Debug, Group)]
pub struct WithReason {
    /// Name or id
    pub agent: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `argosy agent revoke`
#[derive(Debug, Group)]
pub struct Revoke {
    /// Name or id
    pub agent: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// `argosy agent replace`
#[derive(Debug, Group)]
pub struct Successor {
    /// The agent that goes; name or id
    pub agent: String,
    /// The approved agent that takes over; name or id
    #[arg(long, value_name = "AGENT")]
    pub by: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// A label to set or to take off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelChange {
    /// `key=value`
    Set(String, String),
    /// `key-`
    Remove(String),
}

fn label_change(text: &str) -> Result<LabelChange, &'static str> {
    if let Ok((key, value)) = pair(text) {
        return Ok(LabelChange::Set(key, value));
    }
    match text.strip_suffix('-') {
        Some(key) if !key.is_empty() => Ok(LabelChange::Remove(key.to_owned())),
        Some(_) | None => Err("write it as KEY=VALUE, or KEY- to take it off"),
    }
}
