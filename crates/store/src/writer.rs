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
    trusted: bool,
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
    trusted: bool,
}

impl Lease {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.held.as_mut().expect("a lease is held until it is consumed").connection
    }

    /// A statement failed in a way after which SQLite may have undone more than the statement.
    pub(crate) fn distrust(&mut self) {
        if let Some(held) = &mut self.held {
            held.trusted = false;
        }
    }

    /// Gives the connection back and waits until the group is committed.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        let (answer, committed) = oneshot::channel();
        self.give_back(Some(answer));
        committed.await.unwrap_or_else(|_| Err(gone()))
    }

    fn give_back(&mut self, answer: Option<Answer>) {
        if let Some(Held { connection, back, trusted }) = self.held.take() {
            // Without a writer there is nobody to give it back to: it closes, which rolls back.
            let _gone = back.send(Return { connection, trusted, answer });
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

/// How a lease ended for the group.
enum Turn {
    /// The connection is fit for the next member.
    Fit(SqliteConnection),
    /// Nothing of this group can be relied on.
    Broken(StoreError),
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

    /// Serves one group: from `BEGIN` to the answers.
    async fn group(&mut self, first: Request) {
        let mut connection = match self.open_group().await {
            Ok(connection) => connection,
            Err(error) => {
                let _vanished = first.lease.send(Err(error));
                return;
            }
        };
        let began = Instant::now();
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next.take() {
            match turn(connection, request, &mut answers).await {
                Turn::Fit(fit) => connection = fit,
                Turn::Broken(error) => {
                    tracing::error!(%error, members = answers.len(), "a write group was lost");
                    return answer_all(answers, &Err(error));
                }
            }
            let room = answers.len() < self.limits.members_max;
            if room && began.elapsed() < self.limits.span_max {
                next = self.queue.try_recv().ok();
            }
        }
        self.close_group(connection, answers).await;
    }

    async fn open_group(&mut self) -> Result<SqliteConnection, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => SqliteConnection::connect_with(&self.options).await.map_err(unavailable)?,
        };
        connection.execute("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        Ok(connection)
    }

    async fn close_group(&mut self, mut connection: SqliteConnection, answers: Vec<Answer>) {
        let sql = if answers.is_empty() { "ROLLBACK" } else { "COMMIT" };
        match connection.execute(sql).await {
            Ok(_) => {
                self.connection = Some(connection);
                if !answers.is_empty() {
                    self.counters.committed(answers.len());
                }
                answer_all(answers, &Ok(()));
            }
            // The connection is dropped with whatever is left open in it.
            Err(error) => {
                tracing::error!(%error, members = answers.len(), "a group could not be committed");
                answer_all(answers, &Err(unavailable(error)));
            }
        }
    }
}

fn answer_all(answers: Vec<Answer>, result: &Result<(), StoreError>) {
    for answer in answers {
        // A caller that is gone does not hear it.
        let _vanished = answer.send(result.clone());
    }
}

/// Lends the connection to one caller and settles its savepoint.
async fn turn(
    mut connection: SqliteConnection,
    request: Request,
    answers: &mut Vec<Answer>,
) -> Turn {
    if let Err(error) = connection.execute("SAVEPOINT member").await {
        let error = unavailable(error);
        let _vanished = request.lease.send(Err(error.clone()));
        return Turn::Broken(error);
    }
    let (back, mut returned) = oneshot::channel();
    let held = Some(Held { connection, back, trusted: true });
    // A requester that has vanished drops the lease right here, which gives it back.
    let _vanished = request.lease.send(Ok(Lease { held }));
    let returned = loop {
        match tokio::time::timeout(LEASE_WARNING, &mut returned).await {
            Ok(Ok(returned)) => break returned,
            Ok(Err(_)) => return Turn::Broken(gone()),
            Err(_) => tracing::warn!("the write connection has been lent out for ten seconds"),
        }
    };
    settle(returned, answers).await
}

async fn settle(returned: Return, answers: &mut Vec<Answer>) -> Turn {
    let Return { mut connection, trusted, answer } = returned;
    if !trusted {
        let error = StoreError::Unavailable(Cause::new("the write connection was reset"));
        answer_all(answer.into_iter().collect(), &Err(error.clone()));
        return Turn::Broken(error);
    }
    let sql = match &answer {
        Some(_) => "RELEASE member",
        None => "ROLLBACK TO member; RELEASE member",
    };
    let settled = connection.execute(sql).await;
    match settled {
        Ok(_) => {
            answers.extend(answer);
            Turn::Fit(connection)
        }
        Err(error) => {
            let error = unavailable(error);
            answer_all(answer.into_iter().collect(), &Err(error.clone()));
            Turn::Broken(error)
        }
    }
}
