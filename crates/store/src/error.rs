//! What can go wrong in the store, and how a database's own errors become that.
//!
//! *Invariant:* no variant carries a stored value: an error may be logged.

use std::{error::Error, fmt, sync::Arc};

/// Why an operation of the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A value that must be unique is taken.
    #[error("{what} is taken")]
    Conflict {
        /// Which one: `agent_name`, `agent_identity_key`, `account_name`,
        /// `command_idempotency_key`, …; see `CONFLICTS` for all of them.
        what: &'static str,
    },
    /// A row names another row that does not exist in its organisation.
    #[error("a referenced row does not exist in this organisation")]
    BrokenReference,
    /// A stored row that no version of this program can have written.
    #[error("corrupt row in {table}: column {column}")]
    CorruptRow {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// An earlier statement of this transaction failed, so nothing more can be done in it.
    #[error("an earlier statement of this transaction failed")]
    Aborted,
    /// The database did not do it, or nobody can say whether it did. Worth trying again.
    #[error("the database is not available")]
    Unavailable(#[source] Cause),
    /// The database was migrated by a newer version of this program.
    #[error("the database has migration {found}, this program knows up to {known}")]
    Newer {
        /// Newest migration in the database.
        found: i64,
        /// Newest migration of this program.
        known: i64,
    },
    /// A migration failed, or differs from the one that was applied.
    #[error("migration failed")]
    Migration(#[source] Cause),
    /// A backup was asked of PostgreSQL.
    #[error("PostgreSQL is backed up with its own tools: use pg_dump")]
    BackupByPgDump,
    /// A backup could not be written; an existing file is never overwritten.
    #[error("the backup could not be written")]
    Backup(#[source] Cause),
}

/// What lies beneath a [`StoreError`], shared because one failed commit answers many callers.
#[derive(Debug, Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    pub(crate) fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Every unique constraint: its columns as SQLite names them, its name on PostgreSQL, and what
/// [`StoreError::Conflict`] calls it. A test holds the list complete.
pub const CONFLICTS: &[(&str, &str, &str)] = &[
    ("organisations.id", "organisations_pkey", "organisation_id"),
    (
        "idempotent_writes.org_id, idempotent_writes.caller, idempotent_writes.idempotency_key",
        "idempotent_writes_pkey",
        "idempotency_claim",
    ),
    ("accounts.id", "accounts_pkey", "account_id"),
    ("accounts.org_id, accounts.id", "accounts_org_id_id_key", "account_id"),
    ("accounts.org_id, accounts.name", "accounts_name", "account_name"),
    ("enrolment_tokens.id", "enrolment_tokens_pkey", "token_id"),
    ("enrolment_tokens.org_id, enrolment_tokens.id", "enrolment_tokens_org_id_id_key", "token_id"),
    ("agents.id", "agents_pkey", "agent_id"),
    ("agents.org_id, agents.id", "agents_org_id_id_key", "agent_id"),
    ("agents.org_id, agents.name", "agents_live_name", "agent_name"),
    ("agents.org_id, agents.identity_key", "agents_live_identity_key", "agent_identity_key"),
    (
        "agent_key_rotations.agent_id, agent_key_rotations.serial",
        "agent_key_rotations_pkey",
        "agent_key_rotation",
    ),
    ("agent_replacements.agent_id", "agent_replacements_pkey", "agent_replacement"),
    ("service_agents.org_id, service_agents.called", "service_agents_pkey", "service_agent"),
    ("service_agents.org_id, service_agents.agent_id", "service_agents_agent", "service_agent"),
    ("agent_presence.agent_id", "agent_presence_pkey", "presence"),
    ("api_keys.id", "api_keys_pkey", "key_id"),
    ("api_keys.org_id, api_keys.id", "api_keys_org_id_id_key", "key_id"),
    (
        "handshake_challenges.agent_id, handshake_challenges.challenge_sha256",
        "handshake_challenges_pkey",
        "challenge",
    ),
    ("continuations.agent_id", "continuations_pkey", "continuation"),
    ("sessions.id", "sessions_pkey", "session_id"),
    ("sessions.org_id, sessions.id", "sessions_org_id_id_key", "session_id"),
    ("dpop_proofs.jti_sha256", "dpop_proofs_pkey", "proof"),
    ("commands.id", "commands_pkey", "command_id"),
    ("commands.org_id, commands.id", "commands_org_id_id_key", "command_id"),
    ("commands.agent_id, commands.sequence", "commands_sequence", "command_sequence"),
    (
        "commands.org_id, commands.idempotency_key",
        "commands_idempotency_key",
        "command_idempotency_key",
    ),
    ("agent_configurations.agent_id", "agent_configurations_pkey", "agent_configuration"),
    ("agent_journals.agent_id", "agent_journals_pkey", "agent_journal"),
    ("fan_outs.id", "fan_outs_pkey", "fan_out_id"),
    ("fan_outs.org_id, fan_outs.id", "fan_outs_org_id_id_key", "fan_out_id"),
    (
        "fan_outs.org_id, fan_outs.idempotency_key",
        "fan_outs_idempotency_key",
        "fan_out_idempotency_key",
    ),
    (
        "fan_out_targets.fan_out_id, fan_out_targets.position",
        "fan_out_targets_pkey",
        "fan_out_target",
    ),
    ("inventory.agent_id, inventory.subsystem", "inventory_pkey", "inventory"),
    ("subsystems.agent_id, subsystems.subsystem", "subsystems_pkey", "subsystem"),
    ("uploaded_batches.agent_id, uploaded_batches.batch", "uploaded_batches_pkey", "batch"),
    (
        "telemetry_series.agent_id, telemetry_series.metric, telemetry_series.label",
        "telemetry_series_pkey",
        "series",
    ),
    (
        "telemetry_buckets.agent_id, telemetry_buckets.metric, telemetry_buckets.resolution_s, \
         telemetry_buckets.bucket_at, telemetry_buckets.label",
        "telemetry_buckets_pkey",
        "bucket",
    ),
    ("agent_events.agent_id, agent_events.id", "agent_events_pkey", "event_id"),
    ("sync_jobs.id", "sync_jobs_pkey", "sync_job_id"),
    ("sync_jobs.org_id, sync_jobs.id", "sync_jobs_org_id_id_key", "sync_job_id"),
    ("sync_jobs.org_id, sync_jobs.agent_id", "sync_jobs_open", "sync_job_open"),
    ("sync_chunks.job_id, sync_chunks.chunk", "sync_chunks_pkey", "sync_chunk"),
    (
        "sync_regions.account_id, sync_regions.provider, sync_regions.region",
        "sync_regions_pkey",
        "sync_region",
    ),
    (
        "resource_changes.row_id, resource_changes.job_id, resource_changes.kind",
        "resource_changes_pkey",
        "resource_change",
    ),
    (
        "pending_packages.agent_id, pending_packages.name, pending_packages.architecture",
        "pending_packages_pkey",
        "pending_package",
    ),
    ("update_approvals.id", "update_approvals_pkey", "approval_id"),
    (
        "update_approvals.org_id, update_approvals.id",
        "update_approvals_org_id_id_key",
        "approval_id",
    ),
    ("resources.id", "resources_pkey", "resource_id"),
    ("resources.org_id, resources.id", "resources_org_id_id_key", "resource_id"),
    ("resource_searches.org_id", "resource_searches_pkey", "resource_search"),
    (
        "resource_stretches.org_id, resource_stretches.number",
        "resource_stretches_pkey",
        "resource_stretch",
    ),
    (
        "resource_postings.org_id, resource_postings.stretch, resource_postings.bucket",
        "resource_postings_pkey",
        "resource_postings",
    ),
    ("audit_entries.ordinal", "audit_entries_pkey", "audit_ordinal"),
    ("audit_entries.id", "audit_entries_id_key", "audit_entry_id"),
    ("audit_entries.org_id, audit_entries.position", "audit_entries_position", "audit_position"),
    ("audit_chains.org_id", "audit_chains_pkey", "audit_chain"),
    (
        "audit_checkpoints.org_id, audit_checkpoints.position",
        "audit_checkpoints_pkey",
        "audit_checkpoint",
    ),
    ("authority_sequence.name", "authority_sequence_pkey", "authority_sequence"),
    ("authority_changes.n", "authority_changes_pkey", "authority_change"),
    ("replicas.id", "replicas_pkey", "replica"),
    ("leases.name", "leases_pkey", "lease"),
    ("security_events.id", "security_events_pkey", "security_event_id"),
    (
        "security_events.org_id, security_events.id",
        "security_events_org_id_id_key",
        "security_event_id",
    ),
    ("security_events.org_id, security_events.fold_key", "security_events_fold", "security_event"),
    ("server_keys.key_use, server_keys.serial", "server_keys_pkey", "server_key"),
    ("users.id", "users_pkey", "user_id"),
    ("users.org_id, users.id", "users_org_id_id_key", "user_id"),
    ("users.org_id, users.name", "users_name", "user_name"),
    ("user_sessions.id", "user_sessions_pkey", "user_session_id"),
    ("user_sessions.org_id, user_sessions.id", "user_sessions_org_id_id_key", "user_session_id"),
    ("api_key_owners.key_id", "api_key_owners_pkey", "key_owner"),
    ("settings.name", "settings_pkey", "setting"),
    ("org_settings.org_id, org_settings.name", "org_settings_pkey", "setting"),
];

fn conflict(error: &dyn sqlx::error::DatabaseError) -> &'static str {
    let columns = error.message().strip_prefix("UNIQUE constraint failed: ");
    CONFLICTS
        .iter()
        .find(|(sqlite, postgres, _)| {
            columns == Some(sqlite) || error.constraint() == Some(postgres)
        })
        .map_or("a unique value", |(_, _, what)| what)
}

/// A statement's error as the store's own.
pub(crate) fn of_statement(error: sqlx::Error) -> StoreError {
    if let sqlx::Error::Database(database) = &error {
        if database.is_unique_violation() {
            return StoreError::Conflict { what: conflict(database.as_ref()) };
        }
        if database.is_foreign_key_violation() {
            return StoreError::BrokenReference;
        }
    }
    StoreError::Unavailable(Cause::new(error))
}

pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(Cause::new(error))
}
