//! Migrations: paired by number, one text for each database.

use sqlx::{
    SqlSafeStr as _,
    migrate::{Migration, MigrationType, Migrator},
};

use crate::dialect::Dialect;

/// One step of the schema.
pub(crate) struct Step {
    pub(crate) number: i64,
    pub(crate) name: &'static str,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

macro_rules! step {
    ($number:literal, $file:literal, $name:literal) => {
        Step {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!("../migrations/sqlite/", $file)),
            postgres: include_str!(concat!("../migrations/postgres/", $file)),
        }
    };
}

/// Every step, in order.
pub(crate) const STEPS: &[Step] = &[
    step!(1, "0001_initial.sql", "initial"),
    step!(2, "0002_users.sql", "users"),
    step!(3, "0003_replicas.sql", "security events and replicas"),
    step!(4, "0004_ways.sql", "ways in, and hosts over their life"),
    step!(5, "0005_keys.sql", "replaced keys of agents"),
    step!(6, "0006_telemetry.sql", "telemetry"),
    step!(7, "0007_idempotency.sql", "writes with an idempotency key"),
    step!(8, "0008_commands.sql", "withdrawn commands, journals, fan-outs"),
    step!(9, "0009_packages.sql", "pending packages and their approvals"),
    step!(10, "0010_discovery.sql", "sync jobs in chunks, history of resources"),
    step!(11, "0011_sync_lists.sql", "runs of discovery by agent, by account and by end"),
    step!(12, "0012_plans.sql", "an index by which registrations are found"),
    step!(13, "0013_searches.sql", "an index for searches in resources"),
];

/// A migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its number; they are applied in this order.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// The newest step that this program knows.
pub(crate) fn newest() -> i64 {
    STEPS.last().map_or(0, |step| step.number)
}

pub(crate) fn migrator(dialect: Dialect) -> Migrator {
    let migration = |step: &Step| {
        let sql = match dialect {
            Dialect::Sqlite => step.sqlite,
            Dialect::Postgres => step.postgres,
        };
        Migration::new(
            step.number,
            step.name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations(STEPS.iter().map(migration).collect())
}
