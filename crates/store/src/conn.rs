//! One connection of either database, and the statements that are sent through it.
//!
//! *Invariant:* after a statement has failed inside a transaction nothing more is sent through it,
//! so that both databases behave alike (PostgreSQL refuses what follows, SQLite would go on).

use std::{fmt, sync::Arc};

use argosy_domain::id::AgentId;
use sqlx::{
    Arguments as _, Postgres, SqlSafeStr, SqlStr, Sqlite, SqliteConnection, Transaction,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnection},
    sqlite::SqliteArguments,
};

use crate::{
    authorities::AuthorityChange,
    counters::OpCounters,
    deferred::Deferred,
    dialect::Dialect,
    error::{StoreError, of_statement, unavailable},
    page::Select,
    value::{Cells, Row, Value},
    writer::Lease,
};

/// Where statements go.
pub(crate) enum Link {
    SqliteReader(PoolConnection<Sqlite>),
    SqliteWriter(Lease),
    PostgresReader(PoolConnection<Postgres>),
    PostgresTx(Transaction<'static, Postgres>),
}

/// A connection that is in use by one operation.
pub(crate) struct Conn {
    link: Link,
    counters: Arc<OpCounters>,
    failed: bool,
    deferred: Deferred,
    authority_changes: Vec<AuthorityChange>,
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Conn")
    }
}

impl Conn {
    pub(crate) fn new(link: Link, counters: Arc<OpCounters>) -> Self {
        let (deferred, authority_changes) = (Deferred::default(), Vec::new());
        Self { link, counters, failed: false, deferred, authority_changes }
    }

    /// Somebody's authority changes with this transaction. Said by whatever writes what
    /// authorities are made of.
    pub(crate) fn authority_changed(&mut self, change: AuthorityChange) {
        if !self.authority_changes.contains(&change) {
            self.authority_changes.push(change);
        }
    }

    /// What was said so far.
    pub(crate) fn take_authority_changes(&mut self) -> Vec<AuthorityChange> {
        std::mem::take(&mut self.authority_changes)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.link {
            Link::SqliteReader(_) | Link::SqliteWriter(_) => Dialect::Sqlite,
            Link::PostgresReader(_) | Link::PostgresTx(_) => Dialect::Postgres,
        }
    }

    /// A statement; `table` is blamed for rows that cannot be read.
    pub(crate) fn query(&mut self, table: &'static str, sql: impl SqlSafeStr) -> Query<'_> {
        Query { conn: self, table, sql: sql.into_sql_str(), values: Vec::new() }
    }

    /// A statement whose conditions were put together.
    pub(crate) fn select(&mut self, table: &'static str, select: Select) -> Query<'_> {
        let (sql, values) = select.into_parts();
        Query { conn: self, table, sql, values }
    }

    /// Holds agents, in the order of their ids, until the transaction ends. On SQLite whoever writes is
    /// alone.
    pub(crate) async fn hold_agents(
        &mut self,
        agents: impl Iterator<Item = &AgentId>,
    ) -> Result<(), StoreError> {
        if self.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let agents: serde_json::Value = agents.map(|agent| serde_json::json!(agent)).collect();
        let named = self.dialect().texts_of_json("$1", "n");
        let select = Select::dynamic([
            "SELECT id FROM agents WHERE id IN (SELECT n.value FROM ",
            &named,
            ") ORDER BY id FOR NO KEY UPDATE",
        ]);
        self.select("agents", select).bind(agents.to_string()).fetch_all().await?;
        Ok(())
    }

    /// Makes the writes durable; what an earlier statement spoilt is undone instead.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Aborted);
        }
        self.send_deferred().await?;
        match self.link {
            Link::SqliteWriter(lease) => lease.commit().await,
            Link::PostgresTx(transaction) => transaction.commit().await.map_err(unavailable),
            Link::SqliteReader(_) | Link::PostgresReader(_) => Ok(()),
        }
    }

    /// Whether a commit is counted here; a group's commit is counted by its writer.
    pub(crate) fn commits_alone(&self) -> bool {
        matches!(self.link, Link::PostgresTx(_))
    }

    /// Spoils the transaction: a statement that should have changed something did not.
    pub(crate) fn fail(&mut self) {
        self.failed = match self.link {
            Link::SqliteWriter(_) | Link::PostgresTx(_) => true,
            Link::SqliteReader(_) | Link::PostgresReader(_) => false,
        };
    }
}

/// A statement that is being put together.
pub(crate) struct Query<'c> {
    conn: &'c mut Conn,
    table: &'static str,
    sql: SqlStr,
    values: Vec<Value>,
}

impl Query<'_> {
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// All rows.
    pub(crate) async fn fetch_all(self) -> Result<Vec<Row>, StoreError> {
        let Self { conn, table, sql, values } = self;
        conn.begin().await?;
        let cells = match &mut conn.link {
            Link::SqliteReader(link) => sqlite_rows(link, sql, values).await,
            Link::SqliteWriter(lease) => sqlite_rows(lease.connection(), sql, values).await,
            Link::PostgresReader(link) => postgres_rows(link, sql, values).await,
            Link::PostgresTx(link) => postgres_rows(link, sql, values).await,
        };
        let cells = conn.outcome(cells)?;
        Ok(cells.into_iter().map(|cells| Row { table, cells }).collect())
    }

    /// The first row, if there is one.
    pub(crate) async fn fetch_optional(self) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all().await?.into_iter().next())
    }

    /// The row of a statement that always has one.
    pub(crate) async fn fetch_one(self) -> Result<Row, StoreError> {
        let table = self.table;
        self.fetch_optional().await?.ok_or(StoreError::CorruptRow { table, column: "(no row)" })
    }

    /// The number of rows that were changed.
    pub(crate) async fn execute(self) -> Result<u64, StoreError> {
        let Self { conn, sql, values, table: _ } = self;
        conn.begin().await?;
        conn.send(sql, values).await
    }

    /// Sends it with whatever is asked next, or with the commit, whose errors are its errors too. For
    /// writes whose answer nobody needs: on SQLite those that wait travel together.
    pub(crate) fn later(self) -> Result<(), StoreError> {
        let Self { conn, sql, values, table: _ } = self;
        if conn.failed {
            return Err(StoreError::Aborted);
        }
        conn.counters.statement();
        conn.deferred.push(sql, values);
        Ok(())
    }

    /// Whether the statement changed anything.
    pub(crate) async fn changed(self) -> Result<bool, StoreError> {
        Ok(self.execute().await? > 0)
    }
}

impl Conn {
    async fn begin(&mut self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Aborted);
        }
        self.send_deferred().await?;
        self.counters.statement();
        Ok(())
    }

    /// Sends what waits: in one trip on SQLite, one after another on PostgreSQL, which takes one
    /// statement with parameters at a time.
    async fn send_deferred(&mut self) -> Result<(), StoreError> {
        let deferred = std::mem::take(&mut self.deferred);
        if deferred.is_empty() {
            return Ok(());
        }
        let parts = match self.dialect() {
            Dialect::Sqlite => vec![deferred.joined()],
            Dialect::Postgres => deferred.into_statements(),
        };
        for (sql, values) in parts {
            self.send(sql, values).await?;
        }
        Ok(())
    }

    async fn send(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<u64, StoreError> {
        let changed = match &mut self.link {
            Link::SqliteReader(link) => sqlite_execute(link, sql, values).await,
            Link::SqliteWriter(lease) => sqlite_execute(lease.connection(), sql, values).await,
            Link::PostgresReader(link) => postgres_execute(link, sql, values).await,
            Link::PostgresTx(link) => postgres_execute(link, sql, values).await,
        };
        self.outcome(changed)
    }

    fn outcome<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        result.map_err(of_statement).inspect_err(|_| self.fail())
    }
}

async fn sqlite_rows(
    connection: &mut SqliteConnection,
    sql: SqlStr,
    values: Vec<Value>,
) -> Result<Vec<Cells>, sqlx::Error> {
    let rows = sqlx::query_with(sql, sqlite_arguments(values)?).fetch_all(connection).await?;
    Ok(rows.into_iter().map(Cells::Sqlite).collect())
}

async fn sqlite_execute(
    connection: &mut SqliteConnection,
    sql: SqlStr,
    values: Vec<Value>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query_with(sql, sqlite_arguments(values)?).execute(connection).await?;
    Ok(done.rows_affected())
}

async fn postgres_rows(
    connection: &mut PgConnection,
    sql: SqlStr,
    values: Vec<Value>,
) -> Result<Vec<Cells>, sqlx::Error> {
    let rows = sqlx::query_with(sql, postgres_arguments(values)?).fetch_all(connection).await?;
    Ok(rows.into_iter().map(Cells::Postgres).collect())
}

async fn postgres_execute(
    connection: &mut PgConnection,
    sql: SqlStr,
    values: Vec<Value>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query_with(sql, postgres_arguments(values)?).execute(connection).await?;
    Ok(done.rows_affected())
}

macro_rules! arguments {
    ($name:ident, $arguments:ty) => {
        fn $name(values: Vec<Value>) -> Result<$arguments, sqlx::Error> {
            let mut arguments = <$arguments>::default();
            for value in values {
                match value {
                    Value::Text(text) => arguments.add(text),
                    Value::Int(number) => arguments.add(number),
                    Value::Bytes(bytes) => arguments.add(bytes),
                    Value::Bool(flag) => arguments.add(flag),
                }
                .map_err(sqlx::Error::Encode)?;
            }
            Ok(arguments)
        }
    };
}
arguments!(sqlite_arguments, SqliteArguments);
arguments!(postgres_arguments, PgArguments);
