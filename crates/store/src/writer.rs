//! The one writer of a SQLite database, and its group commit.
//!
//! One task owns the one connection that writes. It opens a transaction, lends the connection to
//! whoever asks, one after another, each inside a savepoint, and commits once for all of them. A
//! caller that drops its lease, or vanishes, has its savepoint undone and nobody else's.
//!
//! *Invariant:* a lease's `commit` answers only after the group's `COMMIT`: with success when that
//! succeeded, with [`StoreError::Unavailable`] for every member when it did not.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    counters::Counters,
    error::{Cause, StoreError, unavailable},
};

/// How large a group grows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupLimits {
    pub(crate) members_max: usize,
    pub(crate) span_max: Duration,
}

/// A lease has been out for this long: whoever holds it is waiting for something else.
const LEASE_WARNING: Duration = Duration::from_secs(10);

type Answer = oneshot::Sender<Result<(), StoreError>>;

/// What a caller asks of the writer.
struct Request {
    lease: oneshot::Sender<Result<Lease, StoreError>>,
}

/// What a lease says when it comes back.
struct Return {
    connection: SqliteConnection,
    /// Who waits for the commit; nobody does after a rollback.
    answer: Option<Answer>,
}

/// The connection while a caller has it.
pub(crate) struct Lease {
    held: Option<Held>,
}

struct Held {
    connection: SqliteConnection,
    back: oneshot::Sender<Return>,
}

impl Lease {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.held.as_mut().expect("a lease is held until it is consumed").connection
    }

    /// Gives the connection back and waits until the group is committed.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        let (answer, committed) = oneshot::channel();
        self.give_back(Some(answer));
        committed.await.unwrap_or_else(|_| Err(gone()))
    }

    fn give_back(&mut self, answer: Option<Answer>) {
        if let Some(Held { connection, back }) = self.held.take() {
            // Without a writer there is nobody to give it back to: it closes, which rolls back.
            let _gone = back.send(Return { connection, answer });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back(None);
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable(Cause::new("the writer has stopped"))
}

/// The way to the writer task. The task ends when this is closed or dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    requests: mpsc::Sender<Request>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Opens the connection and starts the task.
    pub(crate) async fn start(
        options: SqliteConnectOptions,
        limits: GroupLimits,
        queue_max: usize,
        counters: Arc<Counters>,
    ) -> Result<Self, StoreError> {
        let connection = SqliteConnection::connect_with(&options).await.map_err(unavailable)?;
        let (requests, queue) = mpsc::channel(queue_max);
        let task = Task { options, limits, queue, counters, connection: Some(connection) };
        let running = Running { requests, task: tokio::spawn(task.run()) };
        Ok(Self { running: Mutex::new(Some(running)) })
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the connection. Requests are served in order; the queue is bounded.
    pub(crate) async fn lease(&self) -> Result<Lease, StoreError> {
        let (lease, granted) = oneshot::channel();
        let requests = self.running().as_ref().map(|running| running.requests.clone());
        let requests = requests.ok_or_else(gone)?;
        requests.send(Request { lease }).await.map_err(|_| gone())?;
        granted.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        let requests = self.running().as_ref().map(|running| running.requests.clone());
        requests.map_or(0, |requests| requests.max_capacity() - requests.capacity())
    }

    /// Serves what is queued, closes the connection, and refuses whatever comes later.
    pub(crate) async fn close(&self) {
        let Some(Running { requests, task }) = self.running().take() else { return };
        drop(requests);
        if let Err(error) = task.await {
            tracing::error!(%error, "the writer ended badly");
        }
    }
}

struct Task {
    options: SqliteConnectOptions,
    limits: GroupLimits,
    queue: mpsc::Receiver<Request>,
    counters: Arc<Counters>,
    connection: Option<SqliteConnection>,
}

impl Task {
    async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            self.group(first).await;
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the writer's connection did not close cleanly");
        }
    }

    /// Serves one group: from `BEGIN` to the answers. A member costs the group one round trip to
    /// the connection's thread: what settles one savepoint opens the next.
    ///
    /// Where SQLite has undone the whole transaction by itself (a full disk, an I/O error), the
    /// savepoint is gone and the settling statement fails: that is how a lost group is noticed.
    async fn group(&mut self, first: Request) {
        let mut connection = match self.open_group().await {
            Ok(connection) => connection,
            Err(error) => return drop(first.lease.send(Err(error))),
        };
        let began = Instant::now();
        let mut answers = Vec::new();
        let mut request = first;
        loop {
            let Some(returned) = lend(connection, request).await else {
                return lose(answers, &gone());
            };
            connection = returned.connection;
            let kept = returned.answer.is_some();
            answers.extend(returned.answer);
            let room =
                answers.len() < self.limits.members_max && began.elapsed() < self.limits.span_max;
            let next = if room { self.queue.try_recv().ok() } else { None };
            let Some(next) = next else {
                return self.close_group(connection, answers, kept).await;
            };
            let settle =
                if kept { "RELEASE member; SAVEPOINT member" } else { "ROLLBACK TO member" };
            if let Err(error) = connection.execute(settle).await {
                let error = unavailable(error);
                lose(answers, &error);
                return drop(next.lease.send(Err(error)));
            }
            request = next;
        }
    }

    async fn open_group(&mut self) -> Result<SqliteConnection, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => SqliteConnection::connect_with(&self.options).await.map_err(unavailable)?,
        };
        connection.execute("BEGIN IMMEDIATE; SAVEPOINT member").await.map_err(unavailable)?;
        Ok(connection)
    }

    /// Commits, without the last member when it was not `kept`. A connection that fails here is
    /// dropped with whatever is left open in it; the next group opens another.
    async fn close_group(
        &mut self,
        mut connection: SqliteConnection,
        answers: Vec<Answer>,
        kept: bool,
    ) {
        let sql = match (answers.is_empty(), kept) {
            (true, _) => "ROLLBACK",
            (false, true) => "COMMIT",
            (false, false) => "ROLLBACK TO member; COMMIT",
        };
        if let Err(error) = connection.execute(sql).await {
            return lose(answers, &unavailable(error));
        }
        self.connection = Some(connection);
        if !answers.is_empty() {
            self.counters.committed(answers.len());
        }
        answer_all(answers, &Ok(()));
    }
}

fn answer_all(answers: Vec<Answer>, result: &Result<(), StoreError>) {
    for answer in answers {
        // A caller that is gone does not hear it.
        drop(answer.send(result.clone()));
    }
}

fn lose(answers: Vec<Answer>, error: &StoreError) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        members = answers.len(),
        "a group of writes was lost"
    );
    answer_all(answers, &Err(error.clone()));
}

/// Lends the connection to one caller, and waits for it.
async fn lend(connection: SqliteConnection, request: Request) -> Option<Return> {
    let (back, mut returned) = oneshot::channel();
    let held = Some(Held { connection, back });
    // When the requester has vanished the lease is dropped right here, which gives it back.
    drop(request.lease.send(Ok(Lease { held })));
    loop {
        match tokio::time::timeout(LEASE_WARNING, &mut returned).await {
            Ok(returned) => return returned.ok(),
            Err(_) => tracing::warn!("the write connection has been lent out for ten seconds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use argosy_domain::{id::OrgId, time::Timestamp};

    use crate::{Options, Store, StoreError, Target, Tx};

    async fn store(directory: &tempfile::TempDir) -> Store {
        let path = directory.path().join("argosy.db");
        let store = Store::open(Target::Sqlite(path), Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    async fn create(tx: &mut Tx, org: &OrgId) {
        tx.orgs().create(org, "x", Timestamp::from_seconds(1)).await.unwrap();
    }

    async fn exists(store: &Store, org: &OrgId) -> bool {
        store.read("test").await.unwrap().orgs().exists(org).await.unwrap()
    }

    /// Two members of one group: the second asks while the first holds the lease.
    async fn two_members(
        store: &Store,
        second: impl AsyncFnOnce(&mut Tx),
    ) -> [Result<(), StoreError>; 2] {
        let (a, b): (OrgId, OrgId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut first = store.write("first").await.unwrap();
        create(&mut first, &a).await;
        let other = store.clone();
        let asking = async move {
            let mut tx = other.write("second").await.unwrap();
            create(&mut tx, &b).await;
            second(&mut tx).await;
            tx.commit().await
        };
        // `join!` polls the second first, so its request is queued when the first commits.
        let (second, first) = tokio::join!(asking, first.commit());
        [first, second]
    }

    #[tokio::test]
    async fn a_failed_commit_answers_every_member_unavailable_and_the_writer_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let answers = two_members(&store, async |tx| {
            let broken = "INSERT INTO org_settings (org_id, name, value) VALUES ('none', 'a', 'b')";
            tx.conn().query("t", "PRAGMA defer_foreign_keys = ON").execute().await.unwrap();
            tx.conn().query("t", broken).execute().await.unwrap();
        })
        .await;
        for answer in answers {
            assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        }
        let (a, b): (OrgId, OrgId) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert!(!exists(&store, &a).await && !exists(&store, &b).await);
        let mut tx = store.write("again").await.unwrap();
        create(&mut tx, &a).await;
        tx.commit().await.unwrap();
        assert!(exists(&store, &a).await);
    }

    #[tokio::test]
    async fn one_commit_carries_both_members() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let answers = two_members(&store, async |_| {}).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let counters = store.counters();
        assert_eq!((counters.commits, counters.committed_transactions), (1, 2));
        assert_eq!(counters.group_members_max, 2);
    }

    #[tokio::test]
    async fn a_member_whose_statement_fails_spoils_only_itself() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let answers = two_members(&store, async |tx| {
            let nonsense = tx.conn().query("t", "SELECT nonsense").execute().await;
            assert!(matches!(nonsense, Err(StoreError::Unavailable(_))));
        })
        .await;
        assert!(answers[0].is_ok());
        assert!(matches!(answers[1], Err(StoreError::Aborted)));
        assert!(!exists(&store, &"b".parse().unwrap()).await);
    }

    #[tokio::test]
    async fn a_group_whose_transaction_is_gone_is_lost_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let answers = two_members(&store, async |tx| {
            // What SQLite does by itself when the disk is full.
            tx.conn().query("t", "ROLLBACK").execute().await.unwrap();
        })
        .await;
        for answer in answers {
            assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        }
        assert!(!exists(&store, &"a".parse().unwrap()).await);
    }

    #[tokio::test]
    async fn a_caller_that_vanishes_while_it_waits_blocks_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let first = store.write("first").await.unwrap();
        let other = store.clone();
        let waiting = tokio::spawn(async move { other.write("second").await.map(drop) });
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        first.commit().await.unwrap();
        let third = tokio::time::timeout(Duration::from_secs(60), store.write("third"));
        third.await.unwrap().unwrap().commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_closed_store_refuses_writes() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        store.close().await;
        assert!(matches!(store.write("late").await, Err(StoreError::Unavailable(_))));
    }
}
