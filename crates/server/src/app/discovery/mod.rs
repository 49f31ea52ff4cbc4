//! Discovery: what agents see of clouds, in runs, and what is kept of it.
//!
//! *Invariant:* whose a resource is follows from the caller and never from a body; and only what lies
//! in a region that a run read whole can become stale by it.

mod accounts;
mod agents;
mod delivery;
mod ingest;
mod insight;
mod jobs;
mod lines;
mod reaping;
mod resources;
mod searches;

use argosy_domain::discovery::SyncSource;

pub use self::{
    agents::Discoverer,
    delivery::{Delivery, Part, Place},
    ingest::IngestOutcome,
    insight::{Crowded, Insight, Overlap},
    jobs::{SyncQuery, SyncWanted},
    resources::{ResourceDetail, ResourceQuery, Tree, TreeNode},
};

/// Who is said to have begun a run that nobody asked for.
const UNASKED: SyncSource = SyncSource::Schedule;
