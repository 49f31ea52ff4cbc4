//! Which channel to take: a stream, unless something on the way breaks streams again and again.
//!
//! *Invariant:* nothing is given up for good: while the agent polls, it looks from time to time
//! whether a stream gets through, seldom at last, and by chance so that a fleet does not at once.

use std::{sync::Arc, time::Duration};

use argosy_domain::entropy::Entropy;

use crate::backoff::fraction;

/// A stream that lived this long was not broken by anything that stands on the way.
const STEADY_AFTER: Duration = Duration::from_secs(120);
/// What a stream counts that was never accepted, and one that was cut early.
const NEVER_OPENED: u32 = 2;
const CUT_EARLY: u32 = 1;
/// With this count the agent tries to poll.
const BROKEN_AT: u32 = 3;
/// How long the agent polls before it looks whether a stream gets through: at first, and at last.
const PROBE_MIN: Duration = Duration::from_secs(15);
const PROBE_MAX: Duration = Duration::from_secs(600);

/// What streams have come to so far.
pub(super) struct Choice {
    entropy: Arc<dyn Entropy>,
    broken: u32,
    pause: Duration,
}

impl Choice {
    /// Nothing is known of streams yet.
    pub(super) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, broken: 0, pause: PROBE_MIN }
    }

    /// A stream ended that was `accepted` and `lived`, or was never accepted; `on_the_way` where
    /// neither side meant it.
    pub(super) fn ended(&mut self, accepted: bool, lived: Duration, on_the_way: bool) {
        if accepted && lived >= STEADY_AFTER {
            self.broken = 0;
            self.pause = PROBE_MIN;
        } else if on_the_way {
            let counts = if accepted { CUT_EARLY } else { NEVER_OPENED };
            self.broken = self.broken.saturating_add(counts);
        }
    }

    /// Whether streams are broken, as far as can be told from here.
    pub(super) fn is_broken(&self) -> bool {
        self.broken >= BROKEN_AT
    }

    /// How long to poll before the next look; longer each time.
    pub(super) fn probe_after(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PROBE_MAX);
        pause * 3 / 4 + fraction(self.entropy.as_ref(), pause / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argosy_config::host::OsEntropy;

    fn choice() -> Choice {
        Choice::new(Arc::new(OsEntropy))
    }

    const MOMENT: Duration = Duration::from_secs(5);

    #[test]
    fn streams_that_never_open_or_are_cut_again_and_again_are_broken() {
        let mut never = choice();
        never.ended(false, Duration::ZERO, true);
        assert!(!never.is_broken());
        never.ended(false, Duration::ZERO, true);
        assert!(never.is_broken());

        let mut cut = choice();
        for _ in 0..2 {
            cut.ended(true, MOMENT, true);
            assert!(!cut.is_broken());
        }
        cut.ended(true, MOMENT, true);
        assert!(cut.is_broken());
    }

    #[test]
    fn what_the_server_means_and_what_lived_long_breaks_nothing() {
        let mut choice = choice();
        for _ in 0..9 {
            choice.ended(true, MOMENT, false);
        }
        choice.ended(true, MOMENT, true);
        choice.ended(true, MOMENT, true);
        choice.ended(true, STEADY_AFTER, true);
        choice.ended(true, MOMENT, true);
        assert!(!choice.is_broken());
    }

    #[test]
    fn it_looks_soon_at_first_and_seldom_at_last() {
        let mut choice = choice();
        let first = choice.probe_after();
        assert!((11_250..=18_750).contains(&first.as_millis()), "{first:?}");
        let last = (0..9).map(|_| choice.probe_after()).last().unwrap();
        assert!(last >= PROBE_MAX * 3 / 4 && last <= PROBE_MAX * 5 / 4, "{last:?}");
        choice.ended(true, STEADY_AFTER, true);
        assert!(choice.probe_after() < PROBE_MIN * 2);
    }
}
