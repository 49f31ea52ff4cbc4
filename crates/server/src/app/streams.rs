//! Open streams of this process: who is connected, how to wake them, how to end them.
//!
//! *Invariant:* a wake-up carries no payload: whoever is woken reads what is due. An agent has at
//! most one live stream; the newest that proved itself wins.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use argosy_domain::{entropy::random_bytes, id::AgentId};
use tokio::sync::{Notify, oneshot};

use super::App;

/// Why the server ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// A newer stream of the same agent.
    Replaced,
    /// The agent was revoked or deleted.
    Revoked,
    /// The session ended without a renewal.
    SessionEnded,
    /// The server shuts down.
    Draining,
    /// The server cannot see what others on its database change.
    Blind,
}

impl CloseReason {
    /// The name in the goaway frame.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
            Self::SessionEnded => "session_ended",
            Self::Draining => "draining",
            Self::Blind => "blind",
        }
    }
}

struct Entry {
    number: u64,
    held: Held,
    wake: Arc<Notify>,
    close: oneshot::Sender<CloseReason>,
}

/// What a stream holds its place by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The agent's epoch.
    pub epoch: i64,
    /// Its number among all streams of the agent, on all servers; none until it is recorded.
    pub stream: Option<i64>,
}

/// A place among the open streams.
#[derive(Debug)]
pub struct Ticket {
    agent: AgentId,
    number: u64,
    /// Woken when something may be due.
    pub wake: Arc<Notify>,
    /// Answers when the server ends the stream.
    pub closed: oneshot::Receiver<CloseReason>,
}

#[derive(Default)]
struct Streams {
    draining: bool,
    /// How many were open when all of them were last ended.
    drained: usize,
    last_number: u64,
    open: HashMap<AgentId, Entry>,
}

/// All open streams.
#[derive(Default)]
pub struct Hub {
    streams: Mutex<Streams>,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the agent's place; an older stream of it is ended.
    pub fn enter(&self, agent: &AgentId, epoch: i64) -> Ticket {
        let (close, closed) = oneshot::channel();
        let wake = Arc::new(Notify::new());
        let mut streams = self.lock();
        streams.last_number += 1;
        let number = streams.last_number;
        let held = Held { epoch, stream: None };
        let entry = Entry { number, held, wake: Arc::clone(&wake), close };
        if streams.draining {
            let _ = entry.close.send(CloseReason::Draining);
            return Ticket { agent: agent.clone(), number, wake, closed };
        }
        if let Some(older) = streams.open.insert(agent.clone(), entry) {
            // It may have ended by itself just now.
            let _ = older.close.send(CloseReason::Replaced);
        }
        Ticket { agent: agent.clone(), number, wake, closed }
    }

    /// The stream is recorded under this number, or renewed under this epoch.
    pub fn hold(&self, ticket: &Ticket, held: Held) {
        let mut streams = self.lock();
        if let Some(entry) = streams.open.get_mut(&ticket.agent)
            && entry.number == ticket.number
        {
            entry.held = held;
        }
    }

    /// The agent's open stream, by its number here, and what it holds its place by.
    pub fn held(&self, agent: &AgentId) -> Option<(u64, Held)> {
        self.lock().open.get(agent).map(|entry| (entry.number, entry.held))
    }

    /// The streams that are recorded, by their agents and numbers.
    pub fn recorded(&self) -> Vec<(AgentId, i64)> {
        let streams = self.lock();
        let recorded =
            |(agent, entry): (&AgentId, &Entry)| Some((agent.clone(), entry.held.stream?));
        streams.open.iter().filter_map(recorded).collect()
    }

    /// Agents with an open stream.
    pub fn agents(&self) -> Vec<AgentId> {
        self.lock().open.keys().cloned().collect()
    }

    /// Gives the place up. True when no newer stream had taken it.
    pub fn leave(&self, ticket: &Ticket) -> bool {
        let mut streams = self.lock();
        let current =
            streams.open.get(&ticket.agent).is_some_and(|entry| entry.number == ticket.number);
        if current {
            streams.open.remove(&ticket.agent);
        }
        current
    }

    /// Something may be due for an agent.
    pub fn wake(&self, agent: &AgentId) {
        if let Some(entry) = self.lock().open.get(agent) {
            entry.wake.notify_one();
        }
    }

    /// Ends the stream of an agent.
    pub fn close(&self, agent: &AgentId, reason: CloseReason) {
        if let Some(entry) = self.lock().open.remove(agent) {
            let _ = entry.close.send(reason);
        }
    }

    /// Ends this one stream of an agent; a newer one stays.
    pub fn close_one(&self, agent: &AgentId, number: u64, reason: CloseReason) {
        let mut streams = self.lock();
        if streams.open.get(agent).is_some_and(|entry| entry.number == number)
            && let Some(entry) = streams.open.remove(agent)
        {
            let _ = entry.close.send(reason);
        }
    }

    /// Ends every stream that is open now.
    pub fn close_all(&self, reason: CloseReason) {
        let mut streams = self.lock();
        if !streams.open.is_empty() {
            streams.drained = streams.open.len();
        }
        for (_, entry) in streams.open.drain() {
            let _ = entry.close.send(reason);
        }
    }

    /// Ends every stream, and those that are still to come, because the server shuts down.
    pub fn drain(&self) {
        let mut streams = self.lock();
        streams.draining = true;
        streams.drained = streams.open.len();
        for (_, entry) in streams.open.drain() {
            let _ = entry.close.send(CloseReason::Draining);
        }
    }

    /// Whether the server shuts down.
    pub fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// How many streams were open when all of them were last ended.
    pub fn drained(&self) -> usize {
        self.lock().drained
    }

    /// Whether a stream of the agent is open.
    pub fn has(&self, agent: &AgentId) -> bool {
        self.lock().open.contains_key(agent)
    }

    /// Open streams.
    pub fn len(&self) -> usize {
        self.lock().open.len()
    }

    /// Whether no stream is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Milliseconds after which to come back, spread so that a fleet does not come at once.
pub fn return_after_ms(app: &App, reason: CloseReason) -> u32 {
    let window = match reason {
        CloseReason::SessionEnded => (0, 2_000),
        // A millisecond for each stream that was open: a small fleet is soon back, a large one spreads.
        CloseReason::Draining | CloseReason::Blind => {
            (500, u32::try_from(app.hub().drained()).unwrap_or(u32::MAX).clamp(1_000, 30_000))
        }
        // Two bearers of one identity must not chase each other.
        CloseReason::Replaced => (10_000, 20_000),
        CloseReason::Revoked => (30_000, 30_000),
    };
    spread_ms(app, window)
}

/// Milliseconds: at least so many, and by chance up to so many more.
pub(super) fn spread_ms(app: &App, (least, spread): (u32, u32)) -> u32 {
    least + u32::from_le_bytes(random_bytes(app.entropy())) % spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stream_wins_and_the_older_one_leaves_it_alone() {
        let hub = Hub::default();
        let agent: AgentId = "a".parse().unwrap();
        let mut older = hub.enter(&agent, 1);
        let newer = hub.enter(&agent, 1);
        assert_eq!(older.closed.try_recv(), Ok(CloseReason::Replaced));
        assert!(!hub.leave(&older));
        assert_eq!(hub.len(), 1);
        assert!(hub.leave(&newer));
        assert!(hub.is_empty());
    }

    #[test]
    fn what_was_learnt_of_an_older_stream_does_not_end_the_newer_one() {
        let hub = Hub::default();
        let agent: AgentId = "a".parse().unwrap();
        let _older = hub.enter(&agent, 1);
        let (number, _) = hub.held(&agent).unwrap();
        let mut newer = hub.enter(&agent, 2);
        hub.close_one(&agent, number, CloseReason::Revoked);
        assert!(newer.closed.try_recv().is_err(), "it stays");
        let (number, held) = hub.held(&agent).unwrap();
        assert_eq!(held.epoch, 2);
        hub.close_one(&agent, number, CloseReason::Revoked);
        assert_eq!(newer.closed.try_recv(), Ok(CloseReason::Revoked));
        assert!(hub.is_empty());
    }

    #[test]
    fn nobody_enters_a_server_that_shuts_down() {
        let hub = Hub::default();
        let mut early = hub.enter(&"a".parse().unwrap(), 1);
        hub.drain();
        let mut late = hub.enter(&"b".parse().unwrap(), 1);
        assert_eq!(early.closed.try_recv(), Ok(CloseReason::Draining));
        assert_eq!(late.closed.try_recv(), Ok(CloseReason::Draining));
        assert!(hub.is_empty());
    }
}
