//! What the store did, counted per operation, for `/metrics` and for the tests that hold the cost
//! of an operation constant.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Counts of one operation.
#[derive(Debug, Default)]
pub(crate) struct OpCounters {
    transactions: AtomicU64,
    statements: AtomicU64,
}

impl OpCounters {
    pub(crate) fn statement(&self) {
        self.statements.fetch_add(1, Relaxed);
    }
}

/// Upper bounds of the sizes by which groups are counted; larger ones are counted too.
pub const GROUP_BOUNDS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// Counts of one store.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    ops: RwLock<BTreeMap<&'static str, Arc<OpCounters>>>,
    commits: AtomicU64,
    members: AtomicU64,
    members_max: AtomicU64,
    /// Commits by the size of their group: at most each of [`GROUP_BOUNDS`] and above the one before.
    groups: [AtomicU64; GROUP_BOUNDS.len()],
}

impl Counters {
    /// The counters of an operation that begins now.
    pub(crate) fn begin(&self, op: &'static str) -> Arc<OpCounters> {
        let known = self.ops.read().ok().and_then(|ops| ops.get(op).cloned());
        let counters = known.unwrap_or_else(|| match self.ops.write() {
            Ok(mut ops) => ops.entry(op).or_default().clone(),
            Err(_) => Arc::default(),
        });
        counters.transactions.fetch_add(1, Relaxed);
        counters
    }

    /// One commit of the database that carried `members` transactions.
    pub(crate) fn committed(&self, members: usize) {
        let members = u64::try_from(members).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Relaxed);
        self.members.fetch_add(members, Relaxed);
        self.members_max.fetch_max(members, Relaxed);
        if let Some(at) = GROUP_BOUNDS.iter().position(|bound| members <= *bound) {
            self.groups[at].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> CountersSnapshot {
        let ops = self.ops.read().map(|ops| {
            let count = |counters: &OpCounters| OpCount {
                transactions: counters.transactions.load(Relaxed),
                statements: counters.statements.load(Relaxed),
            };
            ops.iter().map(|(op, counters)| (*op, count(counters))).collect()
        });
        CountersSnapshot {
            ops: ops.unwrap_or_default(),
            commits: self.commits.load(Relaxed),
            committed_transactions: self.members.load(Relaxed),
            group_members_max: self.members_max.load(Relaxed),
            groups: self.groups.each_ref().map(|count| count.load(Relaxed)),
        }
    }
}

/// What one operation cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpCount {
    /// How often it was begun, to read or to write.
    pub transactions: u64,
    /// Statements that it sent, without those that frame a transaction.
    pub statements: u64,
}

/// What the store did so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CountersSnapshot {
    /// Per operation, by its label.
    pub ops: BTreeMap<&'static str, OpCount>,
    /// Commits of the database: on SQLite one carries a group of transactions.
    pub commits: u64,
    /// Transactions that these commits carried.
    pub committed_transactions: u64,
    /// The largest group.
    pub group_members_max: u64,
    /// Commits by the size of their group: at most each of [`GROUP_BOUNDS`] and above the one before.
    pub groups: [u64; GROUP_BOUNDS.len()],
}

/// How busy a store is at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Connections that are open: those that read (SQLite), or all (PostgreSQL).
    pub connections: u64,
    /// Of these, those that nobody uses.
    pub idle: u64,
    /// Transactions that wait for the one that writes (SQLite).
    pub waiting: u64,
}
