//! Durable state: one implementation for SQLite and PostgreSQL, one file for each aggregate.
//!
//! A [`Store`] gives a [`Reader`] or a [`Tx`]; each reaches the aggregates (`tx.agents()`,
//! `tx.audit()`, …). Rows become domain values here, at the edge. On SQLite all writes go through
//! one connection with group commit (`writer`); on PostgreSQL each transaction is its own.
//!
//! *Invariant:* nothing is answered before it is committed. This crate decides nothing: whether a
//! change is allowed is decided by `domain`, and whether it still fits by conditional statements.

mod accounts;
mod agent_events;
mod agent_keys;
mod agents;
mod api_keys;
mod approvals;
mod audit;
mod authorities;
mod commands;
mod configurations;
mod conn;
mod counters;
mod deferred;
mod dialect;
mod error;
mod examine;
mod fan_outs;
mod feed;
mod handle;
mod handshakes;
mod idempotency;
mod inventory;
mod migrations;
mod orgs;
mod packages;
mod page;
mod presence;
mod replicas;
mod resources;
mod security;
mod server_keys;
mod service_agents;
mod sessions;
mod settings;
mod store;
mod subsystems;
mod sync_jobs;
mod telemetry;
mod times;
mod tokens;
mod uploads;
mod user_sessions;
mod users;
mod value;
mod watch;
mod writer;

pub use accounts::Accounts;
pub use agent_events::{AgentEventFilter, AgentEventRow, AgentEvents};
pub use agent_keys::{AgentKeys, KeyRotationRow};
pub use agents::{AgentFilter, AgentView, Agents, HealthCounts, SILENCE_BOUNDS};
pub use api_keys::{ApiKey, ApiKeys, KeyOwner, NewApiKey};
pub use approvals::{
    ApprovalRow, ApprovedAgents, ApprovedPackages, ApprovedVersion, UpdateApprovals,
};
pub use audit::{Audit, AuditEntry, AuditFilter, AuditRow, CheckpointRow, OrgChain, SealedRow};
pub use authorities::{AUTHORITY_CHANGES_KEPT, Authorities, AuthorityChange, Seen};
pub use commands::{Alike, CommandCount, CommandFilter, Commands, DueCommand, NewPlace, Said};
pub use configurations::{ConfigurationRow, Configurations};
pub use counters::{CountersSnapshot, GROUP_BOUNDS, Load, OpCount};
pub use error::{CONFLICTS, Cause, StoreError};
pub use examine::Examination;
pub use fan_outs::{FanOutPlace, FanOutPlaces, FanOutTarget, FanOuts};
pub use feed::{AgentNow, CommandNow, Feed, SyncNow};
pub use handle::{Handle, ReadOnly, ReadWrite, Reader, Tx};
pub use handshakes::{Answered, Continuation, Handshakes, NewChallenge};
pub use idempotency::{AskedWrite, Claim, Claimed, IdempotentWrites, Keeping, within};
pub use inventory::{Inventory, InventoryRow};
pub use migrations::MigrationStatus;
pub use orgs::{Organisation, OrganisationChange, Orgs};
pub use packages::{
    FleetPackage, OfferedVersion, PendingFilter, PendingPackages, PendingRow, ReportedPackage,
};
pub use page::{Cursor, InvalidCursor, Page, PageRequest};
pub use presence::Presence;
pub use replicas::Replicas;
pub use resources::{
    NetworkRow, ReadStretch, ResourceChange, ResourceFilter, ResourceRow, Resources, RunEnd,
    UpsertCounts, Upserted,
};
pub use security::{SecurityEvent, SecurityEvents, SecurityFilter, SecurityRow};
pub use server_keys::{KeyCertificate, ServerKeyRow, ServerKeys};
pub use service_agents::{ServiceAgent, ServiceAgents};
pub use sessions::{Session, Sessions};
pub use settings::Settings;
pub use store::{Options, Store, Target};
pub use subsystems::{SubsystemRow, Subsystems};
pub use sync_jobs::{SyncChunk, SyncFilter, SyncJob, SyncJobs};
pub use telemetry::{BucketRow, SeriesRow, Telemetry};
pub use tokens::{TokenSecret, Tokens};
pub use uploads::Uploads;
pub use user_sessions::{UserSession, UserSessions};
pub use users::{NewUser, UserChange, Users};
pub use watch::{Listener, Watch};
