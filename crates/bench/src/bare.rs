//! Bare batch upserts: what a database takes when it is asked for nothing else. A thousand rows to a
//! transaction, each a statement, into tables with the columns and indexes of those that heartbeats and
//! resources go to; the ids of the former come again and again, those of the latter are new.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection,
    SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::{Outcome, report::spread};

/// Rows of one transaction.
const BATCH: usize = 1_000;
/// Agents whose signs of life come again and again.
const AGENTS: usize = 10_000;

/// Both tables; none is left behind.
const TABLES: [&str; 4] = [
    "CREATE TABLE bare_presence (agent_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL,
     last_seen BIGINT, connected BOOLEAN NOT NULL, replica TEXT, stream BIGINT NOT NULL DEFAULT 0)",
    "CREATE TABLE bare_resources (id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL,
     account_id BIGINT NOT NULL, job_id TEXT NOT NULL, provider TEXT NOT NULL, region TEXT NOT NULL,
     resource_type TEXT NOT NULL, resource_id TEXT NOT NULL, name TEXT NOT NULL, cidr TEXT,
     parent_resource_id TEXT, metadata TEXT NOT NULL, content_sha256 TEXT NOT NULL,
     status TEXT NOT NULL, first_seen_at BIGINT NOT NULL, last_seen_at BIGINT NOT NULL,
     UNIQUE (org_id, id))",
    "CREATE INDEX bare_resources_list ON bare_resources (org_id, first_seen_at, id)",
    "CREATE INDEX bare_resources_scope ON bare_resources (org_id, account_id, provider, region)",
];
const GONE: [&str; 2] =
    ["DROP TABLE IF EXISTS bare_presence", "DROP TABLE IF EXISTS bare_resources"];

const PRESENCE: &str = "INSERT INTO bare_presence (agent_id, org_id, last_seen, connected) ";
const PRESENCE_AGAIN: &str = " ON CONFLICT (agent_id) DO UPDATE SET last_seen = excluded.last_seen";
const RESOURCES: &str = "INSERT INTO bare_resources (id, resource_id, name, cidr, content_sha256,
    org_id, account_id, job_id, provider, region, resource_type, parent_resource_id, metadata,
    status, first_seen_at, last_seen_at) ";
/// What is the same in each resource.
const RESOURCE_REST: &str = "'00000000-0000-0000-0000-000000000001', 1,
    '00000000-0000-0000-0000-000000000002', 'aws', 'eu-central-1', 'subnet', 'vpc-1',
    '{\"free\":251,\"zone\":\"a\"}', 'active', 1767225600000000, 1767225600000000";
const RESOURCES_AGAIN: &str = " ON CONFLICT (id) DO UPDATE SET name = excluded.name,
    cidr = excluded.cidr, content_sha256 = excluded.content_sha256,
    last_seen_at = excluded.last_seen_at";

/// A database that is asked.
enum Bare {
    Sqlite { connection: SqliteConnection, presence: Arc<str>, resources: Arc<str> },
    Postgres(PgConnection),
}

/// What the database takes in a second, of each table; on PostgreSQL where an address is given, else on
/// SQLite in a new file.
pub(crate) async fn measure(
    database_url: Option<&str>,
    directory: &Path,
    rounds: usize,
    span: Duration,
) -> Outcome<Value> {
    let mut bare = match database_url {
        Some(url) => Bare::Postgres(PgConnection::connect(url).await?),
        None => Bare::sqlite(&directory.join("bare.db")).await?,
    };
    bare.execute(&GONE).await?;
    bare.execute(&TABLES).await?;
    let (mut presence, mut resources) = (Vec::new(), Vec::new());
    let mut batches = 0..;
    for _ in 0..rounds {
        for (is_presence, rates) in [(true, &mut presence), (false, &mut resources)] {
            let (began, mut rows) = (Instant::now(), 0_u32);
            while began.elapsed() < span {
                let batch = batches.next().ok_or("too many batches")?;
                let first = batch * BATCH;
                if is_presence {
                    bare.presence(first).await?;
                } else {
                    bare.resources(first).await?;
                }
                rows += u32::try_from(BATCH)?;
            }
            rates.push(f64::from(rows) / began.elapsed().as_secs_f64());
        }
    }
    bare.execute(&GONE).await?;
    Ok(json!({
        "database": if database_url.is_some() { "postgres" } else { "sqlite" },
        "rows_in_a_transaction": BATCH,
        "presence_rows_per_second": spread(presence),
        "resource_rows_per_second": spread(resources),
    }))
}

/// Ids as long as those of the store.
fn ids(first: usize, of: usize) -> Vec<String> {
    let id = |number| format!("00000000-0000-4000-8000-{:012}", number % of);
    (first..first + BATCH).map(id).collect()
}

/// What differs from resource to resource: id, id of the provider, name, range, digest.
fn different(first: usize) -> [Vec<String>; 5] {
    let all = |of: fn(usize) -> String| (first..first + BATCH).map(of).collect();
    [
        ids(first, usize::MAX),
        all(|number| format!("subnet-{number:08}")),
        all(|number| format!("subnet {number}")),
        all(|number| format!("10.{}.{}.0/24", number / 256 % 256, number % 256)),
        all(|number| format!("{number:064x}")),
    ]
}

impl Bare {
    async fn sqlite(file: &Path) -> Outcome<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let rows = |row: &str| vec![row; BATCH].join(", ");
        let presence = format!("{PRESENCE}VALUES {}{PRESENCE_AGAIN}", rows("(?, '1', ?, FALSE)"));
        let row = format!("(?, ?, ?, ?, ?, {RESOURCE_REST})");
        let resources = format!("{RESOURCES}VALUES {}{RESOURCES_AGAIN}", rows(&row));
        let connection = options.connect().await?;
        Ok(Self::Sqlite { connection, presence: presence.into(), resources: resources.into() })
    }

    async fn execute(&mut self, statements: &[&'static str]) -> Outcome<()> {
        for sql in statements {
            match self {
                Self::Sqlite { connection, .. } => {
                    connection.execute(*sql).await?;
                }
                Self::Postgres(connection) => {
                    connection.execute(*sql).await?;
                }
            }
        }
        Ok(())
    }

    /// Signs of life of a thousand agents.
    async fn presence(&mut self, first: usize) -> Outcome<()> {
        let (ids, at) = (ids(first, AGENTS), i64::try_from(first)?);
        match self {
            Self::Sqlite { connection, presence, .. } => {
                let mut query = sqlx::query(AssertSqlSafe(Arc::clone(presence)));
                for id in ids {
                    query = query.bind(id).bind(at);
                }
                query.execute(connection).await?;
            }
            Self::Postgres(connection) => {
                let sql = format!(
                    "{PRESENCE}SELECT r.id, '1', r.at, FALSE
                     FROM UNNEST($1::text[], $2::bigint[]) AS r (id, at){PRESENCE_AGAIN}"
                );
                let query = sqlx::query(AssertSqlSafe(sql)).bind(ids).bind(vec![at; BATCH]);
                query.execute(connection).await?;
            }
        }
        Ok(())
    }

    /// A thousand new resources.
    async fn resources(&mut self, first: usize) -> Outcome<()> {
        let columns = different(first);
        match self {
            Self::Sqlite { connection, resources, .. } => {
                let mut query = sqlx::query(AssertSqlSafe(Arc::clone(resources)));
                let mut columns = columns.map(Vec::into_iter);
                for _ in 0..BATCH {
                    for column in &mut columns {
                        query = query.bind(column.next());
                    }
                }
                query.execute(connection).await?;
            }
            Self::Postgres(connection) => {
                let sql = format!(
                    "{RESOURCES}SELECT r.a, r.b, r.c, r.d, r.e, {RESOURCE_REST}
                     FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                     AS r (a, b, c, d, e){RESOURCES_AGAIN}"
                );
                let query = columns
                    .into_iter()
                    .fold(sqlx::query(AssertSqlSafe(sql)), |query, of| query.bind(of));
                query.execute(connection).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bare_upserts_leave_a_thousand_rows_each_and_presence_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut bare = Bare::sqlite(&folder.path().join("bare.db")).await.unwrap();
        bare.execute(&TABLES).await.unwrap();
        for first in [0, BATCH, AGENTS] {
            bare.presence(first).await.unwrap();
            bare.resources(first).await.unwrap();
        }
        let Bare::Sqlite { mut connection, .. } = bare else { panic!("it is SQLite") };
        for (sql, rows) in [
            ("SELECT COUNT(*) FROM bare_presence", 2_000_i64),
            ("SELECT COUNT(*) FROM bare_presence WHERE last_seen = 10000", 1_000),
            ("SELECT COUNT(*) FROM bare_resources WHERE cidr IS NOT NULL", 3_000),
        ] {
            let found: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
            assert_eq!(found, rows, "{sql}");
        }
    }
}
