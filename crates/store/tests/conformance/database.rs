//! Transactions among each other, the schema, migrations, counters and backups.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _};

use argosy_domain::id::OrgId;
use argosy_store::{CONFLICTS, Options, Store, StoreError, Target};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use crate::common::{Db, at, conformance, id, org};

conformance!(
    exactly_the_committed_writers_are_there,
    migrations_are_applied_once_and_listed,
    a_newer_database_is_refused,
    every_unique_constraint_has_a_name,
    operations_are_counted,
    a_backup_is_a_private_copy_of_a_running_store,
);

/// What a writer does with its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Commit,
    Drop,
    Conflict,
    Vanish,
}

async fn write_one(db: Db, name: OrgId, fate: Fate) {
    let mut tx = db.store.write("writer").await.unwrap();
    tx.orgs().create(&name, "x", at(1)).await.unwrap();
    match fate {
        Fate::Commit => {
            tx.commit().await.unwrap();
            let mut reader = db.store.read("reader").await.unwrap();
            let seen = reader.orgs().exists(&name).await.unwrap();
            assert!(seen, "answered before it was committed");
        }
        Fate::Drop => drop(tx),
        Fate::Conflict => {
            let twice = tx.orgs().create(&name, "x", at(1)).await;
            assert!(matches!(twice, Err(StoreError::Conflict { what: "organisation_id" })));
            assert!(matches!(tx.commit().await, Err(StoreError::Aborted)));
        }
        // Cut off in the middle of a statement, by whoever polls this.
        Fate::Vanish => {
            tx.orgs().create(&id("cut-off"), "x", at(1)).await.unwrap();
            std::future::pending::<()>().await;
        }
    }
}

async fn exactly_the_committed_writers_are_there(db: Db) {
    const WRITERS: usize = 120;
    let fates =
        [Fate::Commit, Fate::Drop, Fate::Commit, Fate::Conflict, Fate::Vanish, Fate::Commit];
    let writers: Vec<_> = (0..WRITERS).map(|n| (n, fates[(n * 7 + n / 5) % fates.len()])).collect();
    let mut tasks = Vec::new();
    for &(n, fate) in &writers {
        let name = id(&format!("org-{n}"));
        let writer = write_one(db.clone(), name, fate);
        tasks.push(tokio::spawn(async move {
            match fate {
                Fate::Commit | Fate::Drop | Fate::Conflict => writer.await,
                Fate::Vanish => polled_a_few_times(writer, n % 9).await,
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut reader = db.store.read("after").await.unwrap();
    for (n, fate) in writers {
        let there = reader.orgs().exists(&id(&format!("org-{n}"))).await.unwrap();
        assert_eq!(there, fate == Fate::Commit, "writer {n}, {fate:?}");
    }
    assert!(!reader.orgs().exists(&id("cut-off")).await.unwrap());
}

/// Polls a future a few times and drops it wherever it is then.
async fn polled_a_few_times(work: impl Future<Output = ()>, polls: usize) {
    let mut work = Box::pin(work);
    for _ in 0..polls {
        tokio::select! {
            biased;
            () = &mut work => return,
            () = tokio::task::yield_now() => {}
        }
    }
}

async fn migrations_are_applied_once_and_listed(db: Db) {
    db.store.migrate().await.unwrap();
    let status = db.store.migration_status().await.unwrap();
    assert!(!status.is_empty() && status.iter().all(|migration| migration.applied));
    assert_eq!((status[0].number, status[0].name.as_str()), (1, "initial"));
}

async fn a_newer_database_is_refused(db: Db) {
    db.raw(
        "INSERT INTO _sqlx_migrations
         (version, description, installed_on, success, checksum, execution_time)
         SELECT 9999, 'later', installed_on, success, checksum, 0 FROM _sqlx_migrations
         WHERE version = 1",
    )
    .await;
    for refused in [db.store.migrate().await, db.store.migration_status().await.map(drop)] {
        let known = 1;
        assert!(
            matches!(refused, Err(StoreError::Newer { found: 9999, known: k }) if k >= known),
            "{refused:?}"
        );
    }
}

/// The unique constraints of the database, as [`CONFLICTS`] names them on this kind.
async fn unique_constraints(db: &Db) -> BTreeSet<String> {
    let sql = match &db.target {
        Target::Sqlite(_) => {
            "SELECT (SELECT group_concat(t.name || '.' || c.name, ', ')
               FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno) AS c) AS name
             FROM sqlite_schema AS t JOIN pragma_index_list(t.name) AS i
             WHERE t.type = 'table' AND i.\"unique\" AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\'
             UNION SELECT t.name || '.' || c.name
             FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c
             WHERE t.type = 'table' AND c.pk = 1 AND c.type = 'INTEGER'"
        }
        Target::Postgres(_) => {
            "SELECT CAST(c.relname AS TEXT) AS name FROM pg_index AS i
             JOIN pg_class AS c ON c.oid = i.indexrelid
             JOIN pg_class AS t ON t.oid = i.indrelid
             JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE i.indisunique AND n.nspname = 'public' AND t.relname <> '_sqlx_migrations'"
        }
    };
    let sql = AssertSqlSafe(sql);
    match &db.target {
        Target::Sqlite(path) => {
            let url = format!("sqlite://{}", path.display());
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
            rows.iter().map(|row| row.get("name")).collect()
        }
        Target::Postgres(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
            rows.iter().map(|row| row.get("name")).collect()
        }
    }
}

async fn every_unique_constraint_has_a_name(db: Db) {
    let named: BTreeSet<String> = match db.target {
        Target::Sqlite(_) => CONFLICTS.iter().map(|(sqlite, ..)| (*sqlite).to_owned()).collect(),
        Target::Postgres(_) => CONFLICTS.iter().map(|(_, name, _)| (*name).to_owned()).collect(),
    };
    assert_eq!(unique_constraints(&db).await, named);
}

async fn operations_are_counted(db: Db) {
    let before = db.store.counters();
    for _ in 0..3 {
        let mut tx = db.store.write("agent.count").await.unwrap();
        tx.settings().put(None, "a", "b").await.unwrap();
        tx.settings().get(None, "a").await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut reader = db.store.read("agent.look").await.unwrap();
    reader.orgs().exists(&org()).await.unwrap();
    let after = db.store.counters();
    let (count, look) = (after.ops["agent.count"], after.ops["agent.look"]);
    assert_eq!((count.transactions, count.statements), (3, 6));
    assert_eq!((look.transactions, look.statements), (1, 1));
    assert_eq!(after.commits - before.commits, 3, "one after the other: no group");
    assert_eq!(after.committed_transactions - before.committed_transactions, 3);
}

async fn a_backup_is_a_private_copy_of_a_running_store(db: Db) {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("copy.db");
    if matches!(db.target, Target::Postgres(_)) {
        let refused = db.store.backup(&to).await.unwrap_err();
        assert!(refused.to_string().contains("pg_dump"), "{refused}");
        return;
    }
    // An open write transaction neither delays the copy nor gets into it.
    let mut tx = db.store.write("open").await.unwrap();
    tx.settings().put(None, "open", "x").await.unwrap();
    db.store.backup(&to).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = Store::open(Target::Sqlite(to.clone()), Options::default()).await.unwrap();
    let mut reader = copy.read("look").await.unwrap();
    assert!(reader.orgs().exists(&org()).await.unwrap());
    assert_eq!(reader.settings().get(None, "open").await.unwrap(), None);
    let before = std::fs::read(&to).unwrap();
    assert!(matches!(db.store.backup(&to).await, Err(StoreError::Backup(_))));
    assert_eq!(std::fs::read(&to).unwrap(), before, "an existing file is left alone");
    let Target::Sqlite(path) = &db.target else { return };
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}
