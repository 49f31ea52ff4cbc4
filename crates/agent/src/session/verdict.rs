//! What a failed handshake means, and how long to wait after a refusal.
//!
//! *Invariant:* a refusal is not signed: whoever stands between can write it. It makes the agent ask
//! less often, and nothing else.

use std::{sync::Arc, time::Duration};

use argosy_domain::entropy::Entropy;
use argosy_wire::problem::Code;

use crate::{backoff::fraction, trust::TrustedCallError};

/// Doubtful handshakes in a row after which the agent believes that it is meant.
const DOUBTS_MAX: u32 = 3;
/// About how long the agent waits after a first refusal: an operator may have it put right soon.
const WAIT_MIN: Duration = Duration::from_secs(5);
/// About how long it waits once it has been refused again and again.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// What a failed handshake means for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// An operator has not approved yet.
    Wait,
    /// Something is in the way.
    Retry,
    /// Once may be chance: a challenge that came too late. Again and again is meant.
    Doubt,
    /// The answer is that the server will not have this agent as it is. Nobody has signed that.
    Refused,
}

/// What to make of a failed handshake.
pub fn judge(error: &TrustedCallError) -> Verdict {
    let code = match error {
        // Nothing was signed for it. The true server may be back the next time.
        TrustedCallError::Distrust(_) => return Verdict::Retry,
        TrustedCallError::Call(error) => error.code(),
    };
    match code {
        Some(Code::NotApproved) => Verdict::Wait,
        Some(Code::HandshakeRefused) => Verdict::Doubt,
        Some(
            Code::Unauthenticated
            | Code::ProofRequired
            | Code::Forbidden
            | Code::NotFound
            | Code::MachineMismatch
            | Code::Downgrade
            | Code::UpgradeRequired,
        ) => Verdict::Refused,
        Some(_) | None => Verdict::Retry,
    }
}

/// A series of refusals: asked again soon at first, then every five minutes or so.
pub struct Refusals {
    entropy: Arc<dyn Entropy>,
    doubts: u32,
    wait: Duration,
}

impl Refusals {
    /// None so far.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, doubts: 0, wait: WAIT_MIN }
    }

    /// Takes doubts in a row for a refusal.
    pub fn consider(&mut self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Doubt => {
                self.doubts += 1;
                if self.doubts < DOUBTS_MAX { Verdict::Doubt } else { Verdict::Refused }
            }
            Verdict::Wait => {
                self.reset();
                verdict
            }
            Verdict::Retry | Verdict::Refused => {
                self.doubts = 0;
                verdict
            }
        }
    }

    /// How long to wait after one more: a quarter more or less by chance, so that a fleet that was
    /// refused together does not come back together.
    pub fn next_delay(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(WAIT_MAX);
        wait * 3 / 4 + fraction(self.entropy.as_ref(), wait / 2)
    }

    /// The server has this agent: the next series starts anew.
    pub fn reset(&mut self) {
        self.doubts = 0;
        self.wait = WAIT_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{transport::CallError, trust::Distrust};

    struct Always(u8);

    impl Entropy for Always {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn refused(code: Code) -> TrustedCallError {
        CallError::Refused { code, message: "no".into(), retry_after: None }.into()
    }

    #[test]
    fn what_a_failed_handshake_means() {
        assert_eq!(judge(&refused(Code::NotApproved)), Verdict::Wait);
        assert_eq!(judge(&refused(Code::Unauthenticated)), Verdict::Refused);
        assert_eq!(judge(&refused(Code::MachineMismatch)), Verdict::Refused);
        assert_eq!(judge(&refused(Code::HandshakeRefused)), Verdict::Doubt);
        assert_eq!(judge(&refused(Code::RateLimited)), Verdict::Retry);
        let away = CallError::Unreachable { message: "refused".into(), retry_after: None };
        assert_eq!(judge(&away.into()), Verdict::Retry);
        assert_eq!(judge(&Distrust::NoProof.into()), Verdict::Retry);
    }

    #[test]
    fn a_refused_agent_asks_soon_at_first_and_then_every_five_minutes() {
        for (draw, first, last) in [(0, 3_750, 225_000), (255, 6_250, 375_000)] {
            let mut refusals = Refusals::new(Arc::new(Always(draw)));
            let delays: Vec<_> = (0..9).map(|_| refusals.next_delay().as_millis()).collect();
            assert_eq!((delays[0], delays[8]), (first, last), "{delays:?}");
            refusals.reset();
            assert_eq!(refusals.next_delay().as_millis(), first);
        }
    }

    #[test]
    fn doubts_in_a_row_count_as_a_refusal() {
        let mut refusals = Refusals::new(Arc::new(Always(0)));
        let verdicts =
            [Verdict::Doubt, Verdict::Doubt, Verdict::Retry, Verdict::Doubt, Verdict::Doubt];
        for verdict in verdicts {
            assert_eq!(refusals.consider(verdict), verdict);
        }
        assert_eq!(refusals.consider(Verdict::Doubt), Verdict::Refused);
    }
}
