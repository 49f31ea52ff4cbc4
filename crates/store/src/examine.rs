//! What a database says of itself, for whoever looks after it.

use std::time::{Duration, Instant};

use argosy_domain::time::Timestamp;

use crate::{dialect::Dialect, error::StoreError, page::Select, store::Store, value::Row};

/// The settings of PostgreSQL that decide whether what is acknowledged is kept, and for how many there is
/// room.
const POSTGRES: &str = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync',
    'full_page_writes', 'max_connections', 'server_version', 'superuser_reserved_connections',
    'synchronous_commit') ORDER BY name";

/// What SQLite says in their place.
const SQLITE: &str = "SELECT 'server_version' AS name, sqlite_version() AS setting
    UNION ALL SELECT 'journal_mode', journal_mode FROM pragma_journal_mode";

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
        let shared = conn.dialect() == Dialect::Postgres;
        let sql = if shared { POSTGRES } else { SQLITE };
        let settings = conn.query("settings", sql).fetch_all().await?;
        let pair = |row: &Row| Ok((row.get("name")?, row.get("setting")?));
        let settings = settings.iter().map(pair).collect::<Result<_, StoreError>>()?;
        let (mut clock, mut damage) = (None, None);
        if shared {
            let sql = Select::dynamic(["SELECT ", conn.dialect().now_micros(), " AS at"]);
            clock = Some(conn.select("clock", sql).fetch_one().await?.get("at")?);
        } else {
            let sql = "SELECT quick_check AS said FROM pragma_quick_check LIMIT 1";
            let said: String = conn.query("sqlite", sql).fetch_one().await?.get("said")?;
            damage = Some(said).filter(|said| said != "ok");
        }
        Ok(Examination { settings, clock, damage, answers_within })
    }
}
