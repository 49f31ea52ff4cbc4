//! What changed in what somebody may do, in the order of the commits.
//!
//! Whoever changes an agent or a key through this crate says so on the connection; the transaction
//! writes it down with the rest, and the listener of this process hears of it before the commit is
//! answered. Other servers on the same database read it. *Invariant:* a number is visible only
//! when every smaller one is, because the sequence's row is held until the commit. SQLite has one
//! server, so nothing is written there.

use std::sync::{Arc, OnceLock};

use argosy_domain::id::{AgentId, ApiKeyId};

use crate::{
    conn::Conn,
    dialect::{Dialect, JsonType},
    error::StoreError,
    handle::{ReadWrite, aggregate},
    page::Select,
    value::Row,
};

const TABLE: &str = "authority_changes";
/// Changes that are kept for servers that were away; whoever missed more forgets all it knew.
pub const AUTHORITY_CHANGES_KEPT: i64 = 10_000;

/// Whose authority changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityChange {
    /// An agent's: its state, its keys, its place, or everything.
    Agent(AgentId),
    /// An API key's.
    Key(ApiKeyId),
    /// That of users: their sessions, or keys of theirs that nobody lists. No agent's.
    People,
    /// Somebody's, and nobody can say whose.
    Anybody,
}

impl AuthorityChange {
    fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::Agent(id) => ("agent", id.as_str()),
            Self::Key(id) => ("key", id.as_str()),
            Self::People => ("people", ""),
            Self::Anybody => ("anybody", ""),
        }
    }

    /// What a newer version may have written is anybody's.
    fn of_row(row: &Row) -> Result<Self, StoreError> {
        let (kind, subject): (String, String) = (row.get("kind")?, row.get("subject")?);
        Ok(match (kind.as_str(), subject.parse(), subject.parse()) {
            ("agent", Ok(id), _) => Self::Agent(id),
            ("key", _, Ok(id)) => Self::Key(id),
            ("people", _, _) => Self::People,
            (_, _, _) => Self::Anybody,
        })
    }
}

aggregate! {
    /// Changes of authority.
    Authorities
}

impl<A> Authorities<'_, A> {
    /// The number of the last change; 0 when there was none.
    pub async fn last(&mut self) -> Result<i64, StoreError> {
        let sql = "SELECT n FROM authority_sequence WHERE name = 'last'";
        let row = self.conn.query("authority_sequence", sql).fetch_optional().await?;
        row.map_or(Ok(0), |row| row.get("n"))
    }
}

impl Authorities<'_, ReadWrite> {
    /// Says that somebody's authority changed in this transaction.
    pub fn changed(&mut self, change: AuthorityChange) {
        self.conn.authority_changed(change);
    }

    /// Forgets changes that every server has read long ago. Answers how many.
    pub async fn purge(&mut self) -> Result<u64, StoreError> {
        let sql = "DELETE FROM authority_changes
            WHERE n <= (SELECT n FROM authority_sequence WHERE name = 'last') - $1";
        self.conn.query(TABLE, sql).bind(AUTHORITY_CHANGES_KEPT).execute().await
    }
}

/// Writes changes down as the last thing before the commit, so that the sequence is held briefly.
pub(crate) async fn write(conn: &mut Conn, changes: &[AuthorityChange]) -> Result<(), StoreError> {
    if changes.is_empty() || conn.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let count = i64::try_from(changes.len()).unwrap_or(i64::MAX);
    let sql = "UPDATE authority_sequence SET n = n + $1 WHERE name = 'last' RETURNING n";
    let row = conn.query("authority_sequence", sql).bind(count).fetch_one().await?;
    let last: i64 = row.get("n")?;
    let rows: serde_json::Value = (last - count + 1..)
        .zip(changes)
        .map(|(n, change)| {
            let (kind, subject) = change.columns();
            serde_json::json!({ "n": n, "kind": kind, "subject": subject })
        })
        .collect();
    let columns = [("n", JsonType::Int), ("kind", JsonType::Text), ("subject", JsonType::Text)];
    let table = conn.dialect().rows_of_json(1, &columns);
    let insert = "INSERT INTO authority_changes (n, kind, subject) SELECT r.n, r.kind, r.subject
        FROM ";
    let select = Select::dynamic([insert, &table]);
    conn.select(TABLE, select).bind(rows.to_string()).execute().await?;
    Ok(())
}

type Ear = Box<dyn Fn(&[AuthorityChange]) + Send + Sync>;

/// Who hears of changes in this process.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<OnceLock<Ear>>);

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heard")
    }
}

impl Heard {
    /// From now on; the first one stays.
    pub(crate) fn by(&self, ear: Ear) {
        // Who comes second is told nothing, and is a fault of the program that its tests see.
        drop(self.0.set(ear));
    }

    pub(crate) fn tell(&self, changes: &[AuthorityChange]) {
        if let Some(ear) = self.0.get() {
            ear(changes);
        }
    }
}

/// What a look at the sequence found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The number of the last change.
    pub last: i64,
    /// What changed since the look before; [`AuthorityChange::Anybody`] where some are gone.
    pub changes: Vec<AuthorityChange>,
}

/// Compares what was read with what must be there.
pub(crate) fn seen(before: Option<i64>, last: i64, rows: &[Row]) -> Result<Seen, StoreError> {
    let expected = before.map(|before| last - before);
    let whole = expected.is_some_and(|expected| usize::try_from(expected) == Ok(rows.len()));
    let changes = if whole {
        rows.iter().map(AuthorityChange::of_row).collect::<Result<_, _>>()?
    } else {
        vec![AuthorityChange::Anybody]
    };
    Ok(Seen { last, changes })
}
