//! Discovery: what agents see of clouds, the runs in which it comes, and the agents that deliver it.

mod agents;
mod hints;
mod resource;
mod resources;
mod start;
mod syncs;
mod tree;

use argosy_domain::{discovery::SyncStatus, resource::ResourceStatus};

pub(super) use self::{
    agents::list as agents,
    resource::show as resource,
    resources::list,
    start::{form as start_form, start},
    syncs::{list as syncs, show as sync},
};
use super::show::{self, Badge, When, when};
use crate::app::{App, records::SyncJobRecord};

/// Its place in the navigation.
const HERE: &str = "discovery";
const RESOURCES: &str = "/console/discovery";
const SYNCS: &str = "/console/discovery/sync";
const AGENTS: &str = "/console/discovery/agents";

/// Whether the last run over its region saw a resource.
fn resource_status(status: ResourceStatus) -> Badge {
    let tone = match status {
        ResourceStatus::Active => "ok",
        ResourceStatus::Stale => "warn",
    };
    Badge::new(tone, status.as_str())
}

/// How far a run is.
fn sync_status(status: SyncStatus) -> Badge {
    let tone = match status {
        SyncStatus::Pending | SyncStatus::Running => "info",
        SyncStatus::Completed => "ok",
        SyncStatus::Partial => "warn",
        SyncStatus::Failed => "bad",
    };
    Badge::new(tone, status.as_str())
}

/// A type as people say it.
fn kind(resource_type: &str) -> String {
    resource_type.replace('_', " ")
}

/// The name for people, or else the provider's id.
fn called(name: &str, resource_id: &str) -> String {
    if name.is_empty() { resource_id.to_owned() } else { name.to_owned() }
}

/// A run in short.
struct Run {
    id: String,
    status: Badge,
    /// When it was last heard of.
    at: When,
    /// What it brought.
    brought: String,
}

fn run(app: &App, job: &SyncJobRecord) -> Run {
    let heard = job.finished_at.or(job.heard_at).unwrap_or(job.created_at);
    Run {
        id: job.id.to_string(),
        status: sync_status(job.status),
        at: when(heard, app.now()),
        brought: brought(job),
    }
}

/// What a run brought so far, in words.
fn brought(job: &SyncJobRecord) -> String {
    if job.chunks == 0 && job.finished_at.is_none() {
        return String::new();
    }
    let found = show::several(job.counts.found(), "resource", "resources");
    let changes =
        [(job.counts.created, "new"), (job.counts.updated, "changed"), (job.stale, "gone")];
    let told = changes.into_iter().filter(|(n, _)| *n > 0);
    let told: Vec<String> = told.map(|(n, word)| format!("{} {word}", show::count(n))).collect();
    if told.is_empty() { found } else { format!("{found}: {}", told.join(", ")) }
}
