//! The recorder: takes down what the agent's parts measure and tell, into the spool.
//!
//! *Invariant:* whoever tells something waits for nobody: neither for the disk nor for the server.
//! What finds no room in the queue is counted, and told later.

mod look;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use argosy_domain::{
    telemetry::Severity,
    time::{Clock, Timestamp},
};
use tokio::sync::mpsc;

use crate::{
    journal::JournalError, scheduler::InventoryOutcome, spool::Spool, status::StatusBoard,
};
use look::{News, Seen};

/// What waits for the disk at most.
const QUEUE_MAX: usize = 256;

enum Item {
    Outcome(InventoryOutcome),
    News(News),
}

/// Where the agent's parts tell what happens. Clones share one.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Item>,
    missed: Arc<AtomicU64>,
}

/// What was told and is not on disk yet.
pub struct Inbox {
    items: mpsc::Receiver<Item>,
    missed: Arc<AtomicU64>,
    seen: Seen,
}

impl Recorder {
    /// A recorder, and what a [`Clerk`] needs to write down what it is told.
    pub fn new() -> (Self, Inbox) {
        let (queue, items) = mpsc::channel(QUEUE_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        let inbox = Inbox { items, missed: Arc::clone(&missed), seen: Seen::default() };
        (Self { queue, missed }, inbox)
    }

    /// A subsystem ran.
    pub fn outcome(&self, outcome: &InventoryOutcome) {
        self.tell(Item::Outcome(outcome.clone()));
    }

    /// Something happened, of a kind such as `agent.started`.
    pub fn event(&self, kind: &'static str, severity: Severity, message: &str) {
        self.tell(Item::News(News::new(kind, severity, message)));
    }

    fn tell(&self, item: Item) {
        if self.queue.try_send(item).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Who writes down what is told.
pub struct Clerk {
    inbox: tokio::sync::Mutex<Inbox>,
    spool: Arc<Spool>,
    clock: Arc<dyn Clock>,
    board: Arc<StatusBoard>,
}

impl Clerk {
    /// Writes into `spool`, and shows on `board` that there is more.
    pub fn new(
        inbox: Inbox,
        spool: Arc<Spool>,
        clock: Arc<dyn Clock>,
        board: Arc<StatusBoard>,
    ) -> Self {
        Self { inbox: tokio::sync::Mutex::new(inbox), spool, clock, board }
    }

    /// Writes down what is told, until the journal's disk fails.
    pub async fn keep(&self) -> Result<(), JournalError> {
        let mut inbox = self.inbox.lock().await;
        while let Some(item) = inbox.items.recv().await {
            let now = self.clock.now();
            let (at, values, mut news) = match item {
                Item::Outcome(outcome) => {
                    let (values, news) = inbox.seen.look(&outcome);
                    (outcome.captured_at, values, news)
                }
                Item::News(news) => (now, Vec::new(), vec![news]),
            };
            let missed = inbox.missed.swap(0, Ordering::Relaxed);
            if missed > 0 {
                let message =
                    format!("{missed} outcomes or events found no room and were not recorded");
                news.push(News::new("recorder.missed", Severity::Warning, &message));
            }
            let spool = Arc::clone(&self.spool);
            let written =
                tokio::task::spawn_blocking(move || write(&spool, at, now, values, &news));
            if let Ok(Err(error)) = written.await {
                if error.is_of_the_disk() {
                    return Err(error);
                }
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "telemetry and events could not be written down");
            }
            self.board.touch();
        }
        Ok(())
    }
}

fn write(
    spool: &Spool,
    at: Timestamp,
    now: Timestamp,
    values: Vec<crate::spool::Measured>,
    news: &[News],
) -> Result<(), JournalError> {
    if !values.is_empty() {
        spool.measured(at, values)?;
    }
    for news in news {
        spool.told(now, news.kind, news.severity, news.message.clone())?;
    }
    Ok(())
}
