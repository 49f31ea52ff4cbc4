//! What a database says of itself, for whoever looks after it.

use std::time::{Duration, Instant};

use argosy_domain::time::Timestamp;

use crate::{dialect::Dialect, error::StoreError, store::Store, value::Row};

/// The settings of PostgreSQL that decide whether what is acknowledged is kept, and for how many there is
/// room.
const POSTGRES: &str = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync',
    'full_page_writes', 'max_connections', 'server_version', 'superuser_reserved_connections',
    'synchronous_commit') ORDER BY name";

/// What a database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// Settings by name, in its own words.
    pub settings: Vec<(String, String)>,
    /// Its clock, where it has one of its own.
    pub clock: Option<Timestamp>,
    /// What is damaged, in its own words.
    pub damage: Option<String>,
    /// How long it takes to answer at least.
    pub answers_within: Duration,
}

impl Store {
    /// Asks the database about itself. A SQLite file is read from beginning to end.
    pub async fn examine(&self) -> Result<Examination, StoreError> {
        let mut reader = self.read("examine").await?;
        let conn = reader.conn();
        let mut answers_within = Duration::MAX;
        for _ in 0..5 {
            let asked = Instant::now();
            conn.query("none", "SELECT 1 AS n").fetch_all().await?;
            answers_within = answers_within.min(asked.elapsed());
        }
        let pair = |row: &Row| Ok((row.get("name")?, row.get("setting")?));
        Ok(match conn.dialect() {
            Dialect::Sqlite => {
                let sql = "SELECT 'server_version' AS name, sqlite_version() AS setting
                    UNION ALL SELECT 'journal_mode', journal_mode FROM pragma_journal_mode";
                let settings = conn.query("sqlite", sql).fetch_all().await?;
                let sql = "SELECT quick_check AS said FROM pragma_quick_check LIMIT 1";
                let said: String = conn.query("sqlite", sql).fetch_one().await?.get("said")?;
                Examination {
                    settings: settings.iter().map(pair).collect::<Result<_, StoreError>>()?,
                    clock: None,
                    damage: (said != "ok").then_some(said),
                    answers_within,
                }
            }
            Dialect::Postgres => {
                let settings = conn.query("pg_settings", POSTGRES).fetch_all().await?;
                let sql =
                    "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS at";
                let at: i64 = conn.query("clock", sql).fetch_one().await?.get("at")?;
                Examination {
                    settings: settings.iter().map(pair).collect::<Result<_, StoreError>>()?,
                    clock: Some(Timestamp::from_micros(at)),
                    damage: None,
                    answers_within,
                }
            }
        })
    }
}
