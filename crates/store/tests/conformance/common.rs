//! A database for each test, of both kinds, and the things that tests put into it.
use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use argosy_domain::{
    agent::{Agent, AgentIdentity, AgentState},
    digest::{Fingerprint, Sha256},
    id::{AccountId, OrgId},
    labels::Labels,
    review::KeyDelivery,
    time::Timestamp,
};
use argosy_store::{Options, Store, StoreError, Target, Tx};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// A database with the schema, organisation `default` and its account.
#[derive(Clone)]
pub(crate) struct Db {
    pub(crate) store: Store,
    pub(crate) target: Target,
}

impl Db {
    /// Runs SQL behind the store's back.
    pub(crate) async fn raw(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.target {
            Target::Sqlite(path) => {
                let url = format!("sqlite://{}", path.display());
                let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
                connection.execute(sql).await.unwrap();
                connection.close().await.unwrap();
            }
            Target::Postgres(url) => {
                let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                connection.execute(sql).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    /// Does something in a transaction that has to succeed.
    pub(crate) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut Tx) -> Result<T, StoreError>,
    ) -> T {
        let mut tx = self.store.write("test").await.unwrap();
        let done = work(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        done
    }
}

async fn prepared(target: Target) -> Db {
    let store = Store::open(target.clone(), Options::default()).await.unwrap();
    store.migrate().await.unwrap();
    let db = Db { store, target };
    db.write(async |tx| tx.orgs().ensure_default(at(1)).await).await;
    db
}

/// Runs a test on a SQLite file.
pub(crate) async fn on_sqlite<F: Future<Output = ()> + Send + 'static>(test: fn(Db) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let db = prepared(Target::Sqlite(directory.path().join("argosy.db"))).await;
    within_a_minute(test(db)).await;
}

/// Runs a test on a PostgreSQL database that is dropped afterwards, whatever happens.
pub(crate) async fn on_postgres<F: Future<Output = ()> + Send + 'static>(test: fn(Db) -> F) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("ARGOSY_TEST_POSTGRES_URL")
        .expect("ARGOSY_TEST_POSTGRES_URL is not set; run the tests under scripts/with-postgres");
    let name = format!("argosy_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
    let (base, _) = server.rsplit_once('/').unwrap();
    let url = format!("{base}/{name}");
    let mut admin = sqlx::PgConnection::connect(&server).await.unwrap();
    let sql = |verb: &str| AssertSqlSafe(format!("{verb} DATABASE {name}"));
    admin.execute(sql("CREATE")).await.unwrap();
    let run = tokio::spawn(async move {
        let db = prepared(Target::Postgres(url)).await;
        let store = db.store.clone();
        test(db).await;
        store.close().await;
    });
    let outcome = within_a_minute(run).await;
    admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn within_a_minute<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("done within a minute")
}

/// Makes of each `async fn name(db: Db)` one test for each database.
macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::common::on_sqlite(super::$name).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::common::on_postgres(super::$name).await;
            })*
        }
    };
}

pub(crate) use conformance;

pub(crate) fn at(s: i64) -> Timestamp {
    Timestamp::from_seconds(s)
}

pub(crate) fn org() -> OrgId {
    OrgId::default_org()
}

pub(crate) fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub(crate) fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    let map = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    std::collections::BTreeMap::from(map).try_into().unwrap()
}

/// A pending agent with keys of its own; `name` makes everything about it.
pub(crate) fn agent(name: &str) -> Agent {
    let digest = Sha256::of(name.as_bytes());
    Agent {
        id: id(name),
        org: org(),
        account: AccountId::DEFAULT,
        name: format!("name of {name}"),
        state: AgentState::Pending { since: at(10) },
        identity: Some(AgentIdentity {
            identity_key: digest.0,
            encryption_key: Sha256::of(&digest.0).0,
            fingerprint: Fingerprint::of(digest),
            statement_sha256: digest,
            machine_id: Some("machine".into()),
        }),
        version: Some("1.0.0".into()),
        platform: Some("linux-amd64".into()),
        hostname: Some(format!("{name}.example")),
        labels: labels([("role", "web")]),
        token: None,
        source: Some("192.0.2.1".into()),
        registered_at: at(10),
        epoch: 1,
        key_delivery: KeyDelivery::Direct,
        last_origin: None,
        review: None,
    }
}

/// Keeps pending agents of these names.
pub(crate) async fn insert_agents(db: &Db, names: &[&str]) {
    db.write(async |tx| {
        for name in names {
            tx.agents().insert(&agent(name)).await?;
        }
        Ok(())
    })
    .await;
}
