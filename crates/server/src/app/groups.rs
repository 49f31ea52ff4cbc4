//! What many callers ask for at the same time, written in one transaction.
//!
//! *Invariant:* an item is answered only after the commit that holds it; a failed commit answers every
//! item of its group with 503. A group of which a statement fails is written again item by item, so that
//! one spoils only itself, until two in a row find no database.

use std::{future::Future, panic::AssertUnwindSafe};

use argosy_config::failpoint::failpoint;
use argosy_store::{Store, StoreError, Tx};
use argosy_wire::problem::Code;
use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};

use super::{
    configuration::Configurations,
    delivery::{DueCommands, Statements},
    error::{AppError, AppResult},
    handshake::{Challenges, Handshakes},
    heartbeat::SignsOfLife,
    results::Results,
};

/// Items that wait at most; more are answered with 503.
const QUEUE_MAX: usize = 65_536;

/// A kind of write that is done for many at once.
pub(super) trait Group: Send + Sync + 'static {
    /// What one caller asks for.
    type Item: Send + Sync + 'static;
    /// What it is told.
    type Answer: Send + 'static;
    /// Its name among the operations of the store.
    const OPERATION: &'static str;
    /// Items in one transaction at most.
    const ITEMS_MAX: usize;

    /// Writes the items, and answers each, in their order.
    fn write(
        tx: &mut Tx,
        items: &[&Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, StoreError>> + Send;

    /// The step around whose commit a test may end the process.
    fn step(_item: &Self::Item) -> &'static str {
        Self::OPERATION
    }
}

type Outcome<T> = Result<T, StoreError>;

struct Waiting<G: Group> {
    item: G::Item,
    done: oneshot::Sender<Outcome<G::Answer>>,
}

/// The way to the task that writes a group.
pub(super) struct Queue<G: Group> {
    waiting: mpsc::Sender<Waiting<G>>,
}

impl<G: Group> Queue<G> {
    /// Starts the task. It ends when this is dropped.
    fn start(store: &Store) -> Self {
        let (waiting, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write_groups::<G>(store.clone(), queue));
        Self { waiting }
    }

    /// Answers once the item is durable.
    pub(super) async fn ask(&self, item: G::Item) -> AppResult<G::Answer> {
        let busy = || AppError { retry_after_s: Some(1), ..AppError::new(Code::Unavailable) };
        let (done, answer) = oneshot::channel();
        self.waiting.try_send(Waiting { item, done }).map_err(|_| busy())?;
        Ok(answer.await.map_err(|_| busy())??)
    }
}

async fn write_groups<G: Group>(store: Store, mut queue: mpsc::Receiver<Waiting<G>>) {
    let mut group = Vec::new();
    while queue.recv_many(&mut group, G::ITEMS_MAX).await > 0 {
        let items: Vec<&G::Item> = group.iter().map(|waiting| &waiting.item).collect();
        let answers = match write::<G>(&store, &items).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(Failed::Statement(_)) if items.len() > 1 => one_by_one::<G>(&store, &items).await,
            Err(failed) => {
                let error = failed.into_error();
                items.iter().map(|_| Err(error.clone())).collect()
            }
        };
        for (waiting, answer) in group.drain(..).zip(answers) {
            // Whoever no longer waits needs no answer.
            let _ = waiting.done.send(answer);
        }
    }
}

/// Why a group was not written.
enum Failed {
    /// Nothing of it is.
    Statement(StoreError),
    /// Nobody can say whether it is.
    Commit(StoreError),
}

impl Failed {
    fn into_error(self) -> StoreError {
        match self {
            Self::Statement(error) | Self::Commit(error) => error,
        }
    }
}

async fn one_by_one<G: Group>(store: &Store, items: &[&G::Item]) -> Vec<Outcome<G::Answer>> {
    let (mut answers, mut gone) = (Vec::with_capacity(items.len()), 0);
    for item in items {
        if gone > 1 {
            answers.push(Err(StoreError::Aborted));
            continue;
        }
        let written = write::<G>(store, &[item]).await.map_err(Failed::into_error);
        let is_gone = matches!(written, Err(StoreError::Unavailable(_)));
        gone = if is_gone { gone + 1 } else { 0 };
        let none = StoreError::Aborted;
        answers.push(written.and_then(|answers| answers.into_iter().next().ok_or(none)));
    }
    answers
}

async fn write<G: Group>(store: &Store, items: &[&G::Item]) -> Result<Vec<G::Answer>, Failed> {
    let mut tx = store.write(G::OPERATION).await.map_err(Failed::Commit)?;
    // One that panics must not end what all others wait for.
    let written = AssertUnwindSafe(G::write(&mut tx, items)).catch_unwind().await;
    let answers = written.unwrap_or(Err(StoreError::Aborted)).map_err(Failed::Statement)?;
    let pass = |moment| items.iter().for_each(|item| failpoint(G::step(item), moment));
    pass("before_commit");
    tx.commit().await.map_err(Failed::Commit)?;
    pass("after_commit");
    Ok(answers)
}

/// Everything that is written in groups.
pub(super) struct Groups {
    /// Signs of life.
    pub(super) signs: Queue<SignsOfLife>,
    /// Challenges of handshakes.
    pub(super) challenges: Queue<Challenges>,
    /// Handshakes in which nothing is out of the ordinary.
    pub(super) handshakes: Queue<Handshakes>,
    /// Configurations that may be on their way out.
    pub(super) configurations: Queue<Configurations>,
    /// Commands on their way out.
    pub(super) due: Queue<DueCommands>,
    /// What agents say of their commands.
    pub(super) statements: Queue<Statements>,
    /// Results.
    pub(super) results: Queue<Results>,
}

impl Groups {
    /// Starts the tasks that write. They end when this is dropped.
    pub(super) fn start(store: &Store) -> Self {
        Self {
            signs: Queue::start(store),
            challenges: Queue::start(store),
            handshakes: Queue::start(store),
            configurations: Queue::start(store),
            due: Queue::start(store),
            statements: Queue::start(store),
            results: Queue::start(store),
        }
    }
}

#[cfg(test)]
mod tests {
    use argosy_domain::{id::OrgId, time::Timestamp};
    use argosy_store::{Options, Target};

    use super::*;

    /// Makes organisations; one that is there already is a conflict.
    struct Making;

    impl Group for Making {
        type Item = OrgId;
        type Answer = usize;
        const OPERATION: &'static str = "test.making";
        const ITEMS_MAX: usize = 8;

        async fn write(tx: &mut Tx, orgs: &[&OrgId]) -> Result<Vec<usize>, StoreError> {
            for org in orgs {
                tx.orgs().create(org, "x", Timestamp::from_seconds(1)).await?;
            }
            Ok(vec![orgs.len(); orgs.len()])
        }
    }

    async fn store(directory: &tempfile::TempDir) -> Store {
        let target = Target::Sqlite(directory.path().join("argosy.db"));
        let store = Store::open(target, Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    /// Asks for all of these at once; answers how many shared the transaction of each.
    async fn ask(store: &Store, names: &[&str]) -> Vec<Outcome<usize>> {
        let (waiting, queue) = mpsc::channel(names.len());
        let mut answers = Vec::new();
        for name in names {
            let (done, answer) = oneshot::channel();
            let item = name.parse().unwrap();
            assert!(waiting.try_send(Waiting::<Making> { item, done }).is_ok());
            answers.push(answer);
        }
        drop(waiting);
        write_groups(store.clone(), queue).await;
        let mut told = Vec::new();
        for answer in answers {
            told.push(answer.await.unwrap());
        }
        told
    }

    #[tokio::test]
    async fn a_group_is_one_transaction() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let before = store.counters().committed_transactions;
        let told = ask(&store, &["a", "b", "c"]).await;
        assert!(told.iter().all(|answer| matches!(answer, Ok(3))), "{told:?}");
        assert_eq!(store.counters().committed_transactions - before, 1);
    }

    #[tokio::test]
    async fn one_that_the_database_refuses_spoils_only_itself() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        ask(&store, &["b"]).await;
        let told = ask(&store, &["a", "b", "c"]).await;
        assert!(matches!(told[0], Ok(1)) && matches!(told[2], Ok(1)), "{told:?}");
        assert!(matches!(told[1], Err(StoreError::Conflict { .. })), "{told:?}");
        for name in ["a", "b", "c"] {
            let mut reader = store.read("test").await.unwrap();
            assert!(reader.orgs().exists(&name.parse().unwrap()).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_store_that_is_gone_is_everybodys_answer() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        store.close().await;
        let told = ask(&store, &["a", "b"]).await;
        assert!(told.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))));
    }
}
