//! A database for each test, of both kinds.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// Where a test's server keeps its state.
#[derive(Debug, Clone)]
pub struct Place {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Set for PostgreSQL; without it SQLite in the data directory is used.
    pub database_url: Option<String>,
}

/// Minutes that a test may take; `ARGOSY_TEST_MINUTES` says so for long runs.
const MINUTES_MAX: u64 = 3;

async fn within_minutes<T>(work: impl Future<Output = T>) -> T {
    let asked = std::env::var("ARGOSY_TEST_MINUTES").ok();
    let minutes = asked.map_or(MINUTES_MAX, |text| text.parse().unwrap());
    let limit = Duration::from_secs(minutes * 60);
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| panic!("not done within {minutes} minutes"))
}

/// Runs a test on SQLite.
pub async fn on_sqlite<F: Future<Output = ()> + Send + 'static>(test: fn(Place) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { data_dir: data_dir(folder.path()), database_url: None };
    within_minutes(test(place)).await;
}

/// Runs a test on a PostgreSQL database that is dropped afterwards, whatever happens.
pub async fn on_postgres<F: Future<Output = ()> + Send + 'static>(test: fn(Place) -> F) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("ARGOSY_TEST_POSTGRES_URL")
        .expect("ARGOSY_TEST_POSTGRES_URL is not set; run the tests under scripts/with-postgres");
    let name = format!("argosy_e2e_{}_{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
    let (base, _) = server.rsplit_once('/').unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place =
        Place { data_dir: data_dir(folder.path()), database_url: Some(format!("{base}/{name}")) };
    let mut admin = sqlx::PgConnection::connect(&server).await.unwrap();
    let sql = |verb: &str| AssertSqlSafe(format!("{verb} DATABASE {name}"));
    admin.execute(sql("CREATE")).await.unwrap();
    let outcome = within_minutes(tokio::spawn(test(place))).await;
    let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
    admin.execute(drop).await.unwrap();
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Runs SQL behind the server's back.
pub async fn raw(place: &Place, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    match &place.database_url {
        Some(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            connection.execute(sql).await.unwrap();
        }
        None => {
            let url = format!("sqlite://{}", place.data_dir.join("argosy.db").display());
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            connection.execute(sql).await.unwrap();
        }
    }
}

/// Makes of each `async fn name(place: Place)` one test for each database.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::database::on_sqlite(super::$name).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::database::on_postgres(super::$name).await;
            })*
        }
    };
}

/// Makes of each `async fn name(place: Place)` a test for PostgreSQL, which several servers share.
#[macro_export]
macro_rules! on_shared {
    ($($name:ident),* $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::database::on_postgres(super::$name).await;
            })*
        }
    };
}
