//! What the engine knows without asking the journal: which commands wait, run or are over, and
//! which of those that wait may start.

use std::{collections::BTreeMap, time::Duration};

use argosy_domain::{
    command::CommandSeq, id::CommandId, limits::COMMAND_LIFE_MAX, time::Timestamp,
};

use tokio_util::sync::CancellationToken;

use super::verify::ServerTime;
use crate::{boot::BootId, journal::Window};

/// How long to wait before looking again at a command whose time has not come. Short enough for a
/// host that was suspended meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The engine's books. All of it is in the journal too, except what only this process can know.
#[derive(Debug, Default)]
pub(super) struct Books {
    waiting: BTreeMap<CommandSeq, Waiting>,
    running: BTreeMap<CommandSeq, AtWork>,
    finished: BTreeMap<CommandSeq, CommandId>,
    /// The sequence that was answered busy: nothing higher is taken before it comes again.
    pub(super) held_back: Option<CommandSeq>,
    /// The server's time, where it is known.
    pub(super) server_time: ServerTime,
}

/// A command that waits to be carried out.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) id: CommandId,
    /// When it may start; none for one that was started before a crash and starts again.
    pub(super) window: Option<Window>,
}

/// A command that is being carried out.
#[derive(Debug, Clone)]
struct AtWork {
    id: CommandId,
    /// Cancelled when it is no longer wanted.
    stop: CancellationToken,
}

/// Whether a command may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Now.
    Ready,
    /// Not yet; look again then.
    Later(Duration),
    /// Never more.
    Expired,
    /// Nobody can say before the server's time is known.
    Unknown,
}

/// What the engine does next.
#[derive(Debug)]
pub(super) enum Next {
    /// Carry this one out (or end it, when it is too late).
    Start(CommandSeq, CommandId, CancellationToken),
    /// Wait; where a span is given, no longer than that.
    Wait(Option<Duration>),
}

/// The moment at which readiness is judged.
#[derive(Debug, Clone)]
pub(super) struct Moment<'a> {
    pub(super) boot: &'a BootId,
    pub(super) since_boot: Duration,
    pub(super) server_now: Option<Timestamp>,
}

impl Books {
    pub(super) fn wait(&mut self, sequence: CommandSeq, waiting: Waiting) {
        self.waiting.insert(sequence, waiting);
    }

    /// It is over, whatever it was before.
    pub(super) fn finish(&mut self, sequence: CommandSeq, id: CommandId) {
        self.waiting.remove(&sequence);
        self.running.remove(&sequence);
        self.finished.insert(sequence, id);
    }

    /// The server knows how it ended.
    pub(super) fn forget(&mut self, sequence: CommandSeq) {
        self.finished.remove(&sequence);
    }

    /// Commands that wait or run.
    pub(super) fn load(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    /// Commands that are not over for both sides.
    pub(super) fn open(&self) -> usize {
        self.load() + self.finished.len()
    }

    pub(super) fn running(&self) -> Vec<CommandId> {
        self.running.values().map(|at_work| at_work.id.clone()).collect()
    }

    /// A command that waits is taken out, and true is answered; one that runs is told to stop.
    pub(super) fn withdraw(&mut self, sequence: CommandSeq) -> bool {
        if let Some(at_work) = self.running.get(&sequence) {
            at_work.stop.cancel();
        }
        self.waiting.remove(&sequence).is_some()
    }

    pub(super) fn finished(&self) -> Vec<CommandId> {
        self.finished.values().cloned().collect()
    }

    /// The first command, in order, that may start or has expired; it counts as running from here.
    pub(super) fn next(&mut self, concurrency: usize, boot: &BootId, since_boot: Duration) -> Next {
        if self.running.len() >= concurrency {
            return Next::Wait(None);
        }
        let server_now = self.server_time.at(since_boot);
        let moment = Moment { boot, since_boot, server_now };
        let mut pause: Option<Duration> = None;
        let mut found = None;
        for (sequence, waiting) in &self.waiting {
            match waiting.window.as_ref().map_or(Readiness::Ready, |w| readiness(w, &moment)) {
                Readiness::Ready | Readiness::Expired => {
                    found = Some(*sequence);
                    break;
                }
                Readiness::Later(span) => {
                    let span = span.min(LOOK_AGAIN);
                    pause = Some(pause.map_or(span, |shortest| shortest.min(span)));
                }
                Readiness::Unknown => {}
            }
        }
        match found.and_then(|sequence| Some((sequence, self.waiting.remove(&sequence)?))) {
            Some((sequence, Waiting { id, .. })) => {
                let stop = CancellationToken::new();
                self.running.insert(sequence, AtWork { id: id.clone(), stop: stop.clone() });
                Next::Start(sequence, id, stop)
            }
            None => Next::Wait(pause),
        }
    }
}

/// The window of a command that arrives at `moment`, from its signed times.
pub(super) fn window(
    moment: &Moment<'_>,
    signed_at: Timestamp,
    not_before: Timestamp,
    expires_at: Timestamp,
) -> Window {
    // A command that was held back on its way is older than it says.
    let server_now = moment.server_now.map_or(signed_at, |now| now.max(signed_at));
    let life = expires_at.since(server_now).min(COMMAND_LIFE_MAX);
    Window {
        boot: moment.boot.clone(),
        opens: moment.since_boot.saturating_add(not_before.since(server_now)),
        closes: moment.since_boot.saturating_add(life),
        not_before,
        expires_at,
    }
}

/// Whether a command with this window may start at `moment`.
pub(super) fn readiness(window: &Window, moment: &Moment<'_>) -> Readiness {
    if window.boot == *moment.boot {
        return if moment.since_boot >= window.closes {
            Readiness::Expired
        } else if moment.since_boot < window.opens {
            Readiness::Later(window.opens.saturating_sub(moment.since_boot))
        } else {
            Readiness::Ready
        };
    }
    // Received before a reboot: only the server's own time can say.
    match moment.server_now {
        None => Readiness::Unknown,
        Some(now) if now >= window.expires_at => Readiness::Expired,
        Some(now) if now < window.not_before => Readiness::Later(window.not_before.since(now)),
        Some(_) => Readiness::Ready,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_command_from_before_a_reboot_waits_for_the_servers_time() {
        let (old, new) = (BootId::new("old"), BootId::new("new"));
        let then = Moment { boot: &old, since_boot: s(500), server_now: None };
        let window = window(&then, at(1_000), at(1_000), at(1_060));
        let now = |server_now| Moment { boot: &new, since_boot: s(1), server_now };
        assert_eq!(readiness(&window, &now(None)), Readiness::Unknown);
        assert_eq!(readiness(&window, &now(Some(at(1_059)))), Readiness::Ready);
        assert_eq!(readiness(&window, &now(Some(at(1_060)))), Readiness::Expired);
    }

    #[test]
    fn a_command_that_was_held_back_on_its_way_gains_no_life() {
        let boot = BootId::new("b");
        let now = Moment { boot: &boot, since_boot: s(10), server_now: Some(at(2_000)) };
        let window = window(&now, at(1_000), at(1_000), at(1_060));
        assert_eq!(readiness(&window, &now), Readiness::Expired);
    }

    #[test]
    fn what_may_not_start_yet_holds_up_nothing_else() {
        let boot = BootId::new("b");
        let now = Moment { boot: &boot, since_boot: s(10), server_now: None };
        let mut books = Books::default();
        for (sequence, begins) in [(1, 1_020), (2, 1_000)] {
            let window = Some(window(&now, at(1_000), at(begins), at(1_060)));
            let id = format!("c{sequence}").parse().unwrap();
            books.wait(CommandSeq(sequence), Waiting { id, window });
        }
        assert!(matches!(books.next(2, &boot, s(10)), Next::Start(CommandSeq(2), ..)));
        assert!(matches!(books.next(2, &boot, s(10)), Next::Wait(Some(span)) if span == s(20)));
        assert!(matches!(books.next(1, &boot, s(30)), Next::Wait(None)));
        assert!(matches!(books.next(2, &boot, s(30)), Next::Start(CommandSeq(1), ..)));
    }

    proptest! {
        #[test]
        fn no_wall_clock_and_no_jump_opens_a_closed_window(
            signed in 0i64..10_000, begins in 0i64..10_000, ends in 0i64..10_000,
            received in 0u64..10_000, later in 0u64..10_000,
        ) {
            let boot = BootId::new("b");
            let then = Moment { boot: &boot, since_boot: s(received), server_now: None };
            let window = window(&then, at(signed), at(begins), at(ends));
            let now = Moment { since_boot: s(received + later), ..then };
            let server_now = signed + i64::try_from(later).unwrap();
            if readiness(&window, &now) == Readiness::Ready {
                prop_assert!((begins..ends).contains(&server_now));
            }
        }
    }
}
