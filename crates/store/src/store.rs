//! Opening, migrating, backing up and closing a database.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Executor as _, PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    authorities::{AuthorityChange, Heard},
    conn::{Conn, Link},
    counters::{Counters, CountersSnapshot, Load},
    dialect::Dialect,
    error::{Cause, StoreError, unavailable},
    handle::{Reader, Tx},
    migrations::{MigrationStatus, STEPS, migrator, newest},
    watch::{self, Listener, Watch},
    writer::{GroupLimits, Writer},
};

/// Which database.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// A file, made when it does not exist (0600).
    Sqlite(PathBuf),
    /// A `postgres://` URL. It may hold a password and is never shown.
    Postgres(String),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

/// How much of the machine the store takes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections that read (SQLite), or connections in all (PostgreSQL).
    pub connections_max: u32,
    /// How long an operation waits for a connection before it is [`StoreError::Unavailable`].
    pub acquire_timeout: Duration,
    /// Transactions in one commit at most (SQLite).
    pub group_members_max: usize,
    /// How long one commit collects transactions at most (SQLite).
    pub group_span_max: Duration,
    /// Transactions that wait for the writer at most (SQLite); the rest wait to be let in.
    pub write_queue_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 8,
            acquire_timeout: Duration::from_secs(10),
            group_members_max: 512,
            group_span_max: Duration::from_millis(5),
            write_queue_max: 4_096,
        }
    }
}

/// How long SQLite waits for another process (a backup, `argosyd migrate`) to let go.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What PostgreSQL is told for each connection: nobody waits for a lock, a statement or a transaction that
/// was forgotten until all connections are taken. Longer than anything takes on a database that is well.
const POSTGRES_LIMITS: [(&str, &str); 3] = [
    ("lock_timeout", "5s"),
    ("statement_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "15s"),
];
/// Migrations take what they take.
const POSTGRES_UNLIMITED: &str = "SET lock_timeout = 0; SET statement_timeout = 0";

enum Database {
    Sqlite { path: PathBuf, readers: SqlitePool, writer: Writer },
    Postgres { pool: PgPool, options: Box<PgConnectOptions> },
}

struct Inner {
    database: Database,
    acquire_timeout: Duration,
    counters: Arc<Counters>,
    heard: Heard,
}

/// A database. Cheap to clone; all clones are the same database.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.database {
            Database::Sqlite { path, .. } => write!(f, "Store({})", path.display()),
            Database::Postgres { .. } => f.write_str("Store(postgres)"),
        }
    }
}

fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(256)
        .disable_statement_logging()
}

/// Makes a file that only its owner can read; `-wal` and `-shm` take its permissions over.
fn create_private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Store {
    /// Opens a database; a SQLite file is made when it does not exist. Nothing is migrated.
    pub async fn open(target: Target, options: Options) -> Result<Self, StoreError> {
        let counters = Arc::<Counters>::default();
        let database = match target {
            Target::Sqlite(path) => open_sqlite(path, &options, &counters).await?,
            Target::Postgres(url) => open_postgres(&url, &options).await?,
        };
        let acquire_timeout = options.acquire_timeout;
        Ok(Self {
            inner: Arc::new(Inner { database, acquire_timeout, counters, heard: Heard::default() }),
        })
    }

    /// The kind of database: `sqlite` or `postgres`.
    pub fn kind(&self) -> &'static str {
        match &self.inner.database {
            Database::Sqlite { .. } => "sqlite",
            Database::Postgres { .. } => "postgres",
        }
    }

    /// A connection that reads. `op` labels the operation in the counters.
    pub async fn read(&self, op: &'static str) -> Result<Reader, StoreError> {
        let link = match &self.inner.database {
            Database::Sqlite { readers, .. } => {
                Link::SqliteReader(readers.acquire().await.map_err(unavailable)?)
            }
            Database::Postgres { pool, .. } => {
                Link::PostgresReader(pool.acquire().await.map_err(unavailable)?)
            }
        };
        let counters = self.inner.counters.clone();
        Ok(Reader::new(Conn::new(link, counters.begin(op)), counters, self.inner.heard.clone()))
    }

    /// A transaction. `op` labels the operation in the counters.
    pub async fn write(&self, op: &'static str) -> Result<Tx, StoreError> {
        let link = match &self.inner.database {
            Database::Sqlite { writer, .. } => {
                let lease = tokio::time::timeout(self.inner.acquire_timeout, writer.lease());
                let late = |_| StoreError::Unavailable(Cause::new("the writer is busy"));
                Link::SqliteWriter(lease.await.map_err(late)??)
            }
            Database::Postgres { pool, .. } => {
                Link::PostgresTx(pool.begin().await.map_err(unavailable)?)
            }
        };
        let counters = self.inner.counters.clone();
        Ok(Tx::new(Conn::new(link, counters.begin(op)), counters, self.inner.heard.clone()))
    }

    /// Whether other servers may use this database at the same time.
    pub fn is_shared(&self) -> bool {
        match &self.inner.database {
            Database::Sqlite { .. } => false,
            Database::Postgres { .. } => true,
        }
    }

    /// Whoever hears of authorities that change in this process, each time before the commit is
    /// answered. One listener at most.
    pub fn heard_by(&self, ear: impl Fn(&[AuthorityChange]) + Send + Sync + 'static) {
        self.inner.heard.by(Box::new(ear));
    }

    /// The eyes and ears of a server that shares its database; none where it does not.
    pub fn watch(&self) -> Option<(Watch, Listener)> {
        match &self.inner.database {
            Database::Sqlite { .. } => None,
            Database::Postgres { options, .. } => {
                let options = PgConnectOptions::clone(options);
                Some((Watch::new(options.clone()), Listener::new(options)))
            }
        }
    }

    /// Tells other servers that there is something to read.
    pub async fn wake_others(&self) -> Result<(), StoreError> {
        match &self.inner.database {
            Database::Sqlite { .. } => Ok(()),
            Database::Postgres { pool, .. } => {
                let sql = "SELECT pg_notify($1, '')";
                let said = sqlx::query(sql).bind(watch::CHANNEL).execute(pool).await;
                said.map(drop).map_err(unavailable)
            }
        }
    }

    /// What was done so far.
    pub fn counters(&self) -> CountersSnapshot {
        self.inner.counters.snapshot()
    }

    /// How busy it is now.
    pub fn load(&self) -> Load {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        match &self.inner.database {
            Database::Sqlite { readers, writer, .. } => Load {
                connections: readers.size().into(),
                idle: count(readers.num_idle()),
                waiting: count(writer.waiting()),
            },
            Database::Postgres { pool, .. } => {
                Load { connections: pool.size().into(), idle: count(pool.num_idle()), waiting: 0 }
            }
        }
    }

    /// Applies what is missing. On PostgreSQL several servers may do so at once.
    ///
    /// Errors: [`StoreError::Newer`] when the database is ahead of this program.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.check_not_newer().await?;
        match &self.inner.database {
            Database::Sqlite { path, .. } => {
                let mut connection = sqlite_options(path).connect().await.map_err(unavailable)?;
                migrator(Dialect::Sqlite).run_direct(None, &mut connection, false).await
            }
            Database::Postgres { pool, .. } => {
                // Not the pool's any more: after a failure it still holds the migrations' lock,
                // which ends with the connection.
                let mut connection = pool.acquire().await.map_err(unavailable)?.detach();
                connection.execute(POSTGRES_UNLIMITED).await.map_err(unavailable)?;
                migrator(Dialect::Postgres).run_direct(None, &mut connection, false).await
            }
        }
        .map_err(|error| StoreError::Migration(Cause::new(error)))
    }

    /// Every migration that this program knows, and whether the database has it.
    ///
    /// Errors: [`StoreError::Newer`] when the database is ahead of this program.
    pub async fn migration_status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        let applied = self.check_not_newer().await?;
        let status = |step: &crate::migrations::Step| MigrationStatus {
            number: step.number,
            name: step.name.to_owned(),
            applied: applied.contains(&step.number),
        };
        Ok(STEPS.iter().map(status).collect())
    }

    /// How many migrations that this program knows the database lacks.
    ///
    /// Errors: [`StoreError::Newer`] when the database is ahead of this program.
    pub async fn migrations_missing(&self) -> Result<usize, StoreError> {
        let status = self.migration_status().await?;
        Ok(status.iter().filter(|migration| !migration.applied).count())
    }

    /// The numbers of the applied migrations.
    async fn check_not_newer(&self) -> Result<Vec<i64>, StoreError> {
        const TABLE: &str = "_sqlx_migrations";
        let exists = match &self.inner.database {
            Database::Sqlite { .. } => {
                "SELECT COUNT(*) AS n FROM sqlite_schema WHERE name = '_sqlx_migrations'"
            }
            Database::Postgres { .. } => "SELECT COUNT(to_regclass('_sqlx_migrations')) AS n",
        };
        let mut reader = self.read("migrations").await?;
        let conn = reader.conn();
        if conn.query(TABLE, exists).fetch_one().await?.get::<i64>("n")? == 0 {
            return Ok(Vec::new());
        }
        let rows = conn
            .query(TABLE, "SELECT version FROM _sqlx_migrations ORDER BY version")
            .fetch_all()
            .await?;
        let applied: Vec<i64> =
            rows.iter().map(|row| row.get("version")).collect::<Result<_, _>>()?;
        match applied.last() {
            Some(&found) if found > newest() => Err(StoreError::Newer { found, known: newest() }),
            Some(_) | None => Ok(applied),
        }
    }

    /// Writes a consistent copy of a SQLite database while it is in use. The file must not exist;
    /// it is made 0600, for it holds what the database holds.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let Database::Sqlite { readers, .. } = &self.inner.database else {
            return Err(StoreError::BackupByPgDump);
        };
        let failed = |error: std::io::Error| StoreError::Backup(Cause::new(error));
        let text = to
            .to_str()
            .ok_or_else(|| StoreError::Backup(Cause::new("the path is not valid UTF-8")))?;
        let file = create_private(to).map_err(failed)?;
        let copied = sqlx::query("VACUUM INTO $1").bind(text).execute(readers).await;
        let durable = match copied {
            Ok(_) => file.sync_all().and_then(|()| sync_directory(to)).map_err(failed),
            Err(error) => Err(StoreError::Backup(Cause::new(error))),
        };
        if durable.is_err()
            && let Err(error) = std::fs::remove_file(to)
        {
            tracing::warn!(%error, "an unfinished backup could not be removed");
        }
        durable
    }

    /// Waits for what is under way and closes every connection that this store can reach.
    pub async fn close(&self) {
        match &self.inner.database {
            Database::Sqlite { readers, writer, .. } => {
                writer.close().await;
                readers.close().await;
            }
            Database::Postgres { pool, .. } => pool.close().await,
        }
    }
}

fn sync_directory(file: &Path) -> std::io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

async fn open_sqlite(
    path: PathBuf,
    options: &Options,
    counters: &Arc<Counters>,
) -> Result<Database, StoreError> {
    if let Err(error) = create_private(&path)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(StoreError::Unavailable(Cause::new(error)));
    }
    let limits =
        GroupLimits { members_max: options.group_members_max, span_max: options.group_span_max };
    let writer =
        Writer::start(sqlite_options(&path), limits, options.write_queue_max, counters.clone())
            .await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(options.connections_max)
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .connect_with(sqlite_options(&path).read_only(true))
        .await
        .map_err(unavailable)?;
    Ok(Database::Sqlite { path, readers, writer })
}

async fn open_postgres(url: &str, options: &Options) -> Result<Database, StoreError> {
    let connect: PgConnectOptions = url.parse().map_err(unavailable)?;
    let connect = connect.application_name("argosy").options(POSTGRES_LIMITS);
    let connect = connect.disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(options.connections_max)
        .acquire_timeout(options.acquire_timeout)
        .connect_with(connect.clone())
        .await
        .map_err(unavailable)?;
    Ok(Database::Postgres { pool, options: Box::new(connect) })
}
