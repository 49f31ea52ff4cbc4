//! Looking at what other servers on the same PostgreSQL have changed, over connections of its own:
//! what fills the pool must not make a server blind.

use std::time::Duration;

use sqlx::{
    ConnectOptions as _, PgConnection,
    postgres::{PgConnectOptions, PgListener},
};
use tokio::time::timeout;

use crate::{
    authorities::{self, Seen},
    error::{Cause, StoreError, unavailable},
    value::{Cells, Row},
};

/// The channel of wake-ups. They carry no payload: whoever is woken reads what is due.
pub(crate) const CHANNEL: &str = "argosy_wake";
/// A look that takes longer is given up, and its connection with it.
const LOOK_WITHIN: Duration = Duration::from_millis(500);
/// To connect (TCP, TLS, login) takes longer than to look.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Changes that one look reads; more than that are anybody's.
const CHANGES_MAX: i64 = 1_000;

/// Looks at the sequence of authority changes.
pub struct Watch {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    last: Option<i64>,
}

impl Watch {
    pub(crate) fn new(options: PgConnectOptions) -> Self {
        Self { options, connection: None, last: None }
    }

    /// What changed since the look before. The first look over a connection finds that anybody may
    /// have changed: what answers now may not be what answered before. A look that fails, takes
    /// long, or is abandoned gives its connection up.
    pub async fn look(&mut self) -> Result<Seen, StoreError> {
        let late = |_| StoreError::Unavailable(Cause::new("the database does not answer in time"));
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.last = None;
                let connected = timeout(CONNECT_WITHIN, self.options.connect()).await;
                connected.map_err(late)?.map_err(unavailable)?
            }
        };
        let looked = timeout(LOOK_WITHIN, look(connection, self.last)).await;
        let (connection, seen) = looked.map_err(late)??;
        (self.connection, self.last) = (Some(connection), Some(seen.last));
        Ok(seen)
    }
}

async fn look(
    mut connection: PgConnection,
    before: Option<i64>,
) -> Result<(PgConnection, Seen), StoreError> {
    let sql = "SELECT n FROM authority_sequence WHERE name = 'last'";
    let last: i64 =
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.map_err(unavailable)?;
    if before == Some(last) {
        return Ok((connection, Seen { last, changes: Vec::new() }));
    }
    let after = before.unwrap_or(last);
    let sql = "SELECT n, kind, subject FROM authority_changes WHERE n > $1 AND n <= $2
        ORDER BY n LIMIT $3";
    let query = sqlx::query(sql).bind(after).bind(last).bind(CHANGES_MAX);
    let rows = query.fetch_all(&mut connection).await.map_err(unavailable)?;
    let row = |row| Row { table: "authority_changes", cells: Cells::Postgres(row) };
    let rows: Vec<Row> = rows.into_iter().map(row).collect();
    let seen = authorities::seen(before, last, &rows)?;
    Ok((connection, seen))
}

/// Hears when another server says that there is something to read.
pub struct Listener {
    options: PgConnectOptions,
    listening: Option<PgListener>,
}

impl Listener {
    pub(crate) fn new(options: PgConnectOptions) -> Self {
        Self { options, listening: None }
    }

    /// Returns when something was said, or when the connection was lost and made again: then
    /// something may have been missed. An error says that nothing can be heard now.
    pub async fn heard(&mut self) -> Result<(), StoreError> {
        match &mut self.listening {
            Some(listening) => match listening.try_recv().await {
                Ok(Some(_)) => {
                    while listening.next_buffered().is_some() {}
                    Ok(())
                }
                Ok(None) => Ok(()),
                Err(error) => {
                    self.listening = None;
                    Err(unavailable(error))
                }
            },
            None => {
                let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1);
                let pool = pool.connect_lazy_with(self.options.clone());
                let mut listening = PgListener::connect_with(&pool).await.map_err(unavailable)?;
                listening.listen(CHANNEL).await.map_err(unavailable)?;
                self.listening = Some(listening);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_slow_to_connect_has_longer_than_a_look() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port);
        let mut watch = Watch::new(options);
        let looked = timeout(LOOK_WITHIN * 2, watch.look()).await;
        assert!(looked.is_err(), "it still connects");
    }

    #[tokio::test]
    async fn what_was_seen_over_a_connection_that_is_lost_is_forgotten() {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = gone.local_addr().unwrap().port();
        drop(gone);
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port);
        let mut watch = Watch { options, connection: None, last: Some(7) };
        assert!(watch.look().await.is_err());
        assert_eq!(watch.last, None, "the next look finds that anybody may have changed");
    }
}
