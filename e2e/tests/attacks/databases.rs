//! Attack 38: somebody else holds the database's locks. Whoever asks meanwhile is told so soon, nobody waits
//! for ever, what was said to be done is done once, and all goes on afterwards.

use std::time::{Duration, Instant};

use argosy_e2e::{agent::TestAgent, database::Place, on_both, process::until, server::TestServer};
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};

use crate::commands::order;

/// More than there are connections to the database.
const AT_ONCE: usize = 24;
/// Until every one of them has an answer; they wait for each other.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);

/// Somebody who holds the locks, until dropped.
enum Holder {
    Sqlite(#[expect(dead_code, reason = "held, not used")] SqliteConnection),
    Postgres(#[expect(dead_code, reason = "held, not used")] PgConnection),
}

impl Holder {
    async fn take(place: &Place) -> Self {
        match &place.database_url {
            Some(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let sql = "BEGIN; LOCK TABLE commands, audit_entries IN ACCESS EXCLUSIVE MODE";
                connection.execute(sql).await.unwrap();
                Self::Postgres(connection)
            }
            None => {
                let url = format!("sqlite://{}", place.data_dir.join("argosy.db").display());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                connection.execute("BEGIN IMMEDIATE").await.unwrap();
                Self::Sqlite(connection)
            }
        }
    }
}

async fn who_asks_a_locked_database_is_told_so(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::admitted(&server, "web-1").await;
    let ask = |n: usize| order(&server, &agent, json!({ "idempotency_key": format!("order-{n}") }));
    let holder = Holder::take(&place).await;
    let began = Instant::now();
    let answers = join_all((0..AT_ONCE).map(ask)).await;
    assert!(began.elapsed() < ANSWERED_WITHIN, "{:?}", began.elapsed());
    for answer in answers {
        answer.refused(503, "unavailable");
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    }
    let alive = server.client.send(Method::GET, "/health", &[], None).await;
    assert_eq!(alive.status, 200);

    drop(holder);
    for n in 0..AT_ONCE {
        until("the command to be taken", async || (ask(n).await.status == 202).then_some(())).await;
    }
    let path = format!("/api/v1/commands?limit=500&agent_id={}", agent.agent_id);
    let page = server.client.get(&path, &server.admin_key).await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), AT_ONCE);
}

on_both!(who_asks_a_locked_database_is_told_so);
