//! How long to wait before trying again: exponential with full jitter, 1 s to 60 s.
//!
//! Full jitter draws each delay evenly from zero to a ceiling that doubles, so that a fleet that
//! lost its server together does not come back together. Randomness is passed in.

use std::{sync::Arc, time::Duration};

use argosy_domain::entropy::{Entropy, random_bytes};

/// Ceiling of the first delay.
pub const CEILING_MIN: Duration = Duration::from_secs(1);
/// Ceiling of every later delay.
pub const CEILING_MAX: Duration = Duration::from_secs(60);

/// The delays of one series of failures.
pub struct Backoff {
    entropy: Arc<dyn Entropy>,
    ceiling: Duration,
    ceiling_min: Duration,
    ceiling_max: Duration,
}

impl Backoff {
    /// A series that has not failed yet.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self::up_to(entropy, CEILING_MAX)
    }

    /// A series whose ceiling stays at or below `ceiling_max`.
    pub fn up_to(entropy: Arc<dyn Entropy>, ceiling_max: Duration) -> Self {
        Self::between(entropy, CEILING_MIN, ceiling_max)
    }

    /// A series whose first delay stays at or below `ceiling_min`, and every one below `ceiling_max`.
    pub fn between(
        entropy: Arc<dyn Entropy>,
        ceiling_min: Duration,
        ceiling_max: Duration,
    ) -> Self {
        Self { entropy, ceiling: ceiling_min, ceiling_min, ceiling_max }
    }

    /// The delay after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let delay = fraction(self.entropy.as_ref(), self.ceiling);
        self.ceiling = (self.ceiling * 2).min(self.ceiling_max);
        delay
    }

    /// The delay after a failure whose answer asked for at least `asked`; a little more is added,
    /// so that those who were asked together do not return together.
    pub fn next_delay_after(&mut self, asked: Option<Duration>) -> Duration {
        let own = self.next_delay();
        match asked {
            Some(asked) => asked + own.min(asked / 4 + CEILING_MIN),
            None => own,
        }
    }

    /// It worked: the next series starts anew.
    pub fn reset(&mut self) {
        self.ceiling = self.ceiling_min;
    }
}

/// What makes a span up to a tenth shorter or longer, so that a fleet that was started at once does
/// not report at once for ever.
pub fn jitter(entropy: &dyn Entropy) -> f64 {
    let [random] = random_bytes::<1>(entropy);
    0.9 + 0.2 * f64::from(random) / 255.0
}

/// An even draw from zero to `span`.
pub fn fraction(entropy: &dyn Entropy, span: Duration) -> Duration {
    let drawn = u32::from_le_bytes(random_bytes(entropy));
    span.mul_f64(f64::from(drawn) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Always(u8);

    impl Entropy for Always {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn ceilings_double_to_a_minute_and_start_anew_after_success() {
        let mut backoff = Backoff::new(Arc::new(Always(255)));
        let seconds: Vec<u64> = (0..8).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), CEILING_MIN);
    }

    #[test]
    fn a_draw_covers_the_whole_span() {
        let span = Duration::from_secs(10);
        assert_eq!(fraction(&Always(0), span), Duration::ZERO);
        assert_eq!(fraction(&Always(255), span), span);
        let middle = fraction(&Always(128), span);
        assert!((4..=6).contains(&middle.as_secs()), "{middle:?}");
    }

    #[test]
    fn what_the_server_asked_for_is_never_cut_short() {
        let asked = Duration::from_secs(120);
        for draw in [0, 255] {
            let mut backoff = Backoff::new(Arc::new(Always(draw)));
            assert!(backoff.next_delay_after(Some(asked)) >= asked);
        }
    }
}
