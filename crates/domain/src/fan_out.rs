//! Fan-outs: one order to many agents, a few at a time, until it is done or goes wrong too often.
//!
//! ```text
//! running → completed | halted | cancelled | expired
//! ```
//! *Invariant:* what an end says never changes again. Commands that were begun go on by themselves
//! when a fan-out halts; nothing more is begun.

use std::collections::BTreeMap;

use crate::{
    command::{CommandKind, Outcome},
    id::{FanOutId, OrgId},
    time::Timestamp,
};

/// One order to many agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanOut {
    /// Its id.
    pub id: FanOutId,
    /// Its tenant.
    pub org: OrgId,
    /// What to do.
    pub kind: CommandKind,
    /// JSON parameters exactly as they are signed.
    pub params: Vec<u8>,
    /// Which agents were asked for, as JSON.
    pub selector: String,
    /// Commands that are under way at once.
    pub concurrency: u32,
    /// Commands that may go wrong; with one more it halts. None: however many.
    pub errors_max: Option<u32>,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Nothing is begun after this.
    pub expires_at: Timestamp,
    /// The caller's own key: a repeated request returns the same fan-out.
    pub idempotency_key: Option<String>,
    /// Where it stands.
    pub state: FanOutState,
}

/// Where a fan-out stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FanOutState {
    /// Commands are begun as others end.
    Running,
    /// Nothing more is begun.
    Ended {
        /// How.
        how: FanOutEnd,
        /// When.
        at: Timestamp,
    },
}

/// How a fan-out ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FanOutEnd {
    /// Every command has ended.
    Completed,
    /// Too many commands went wrong.
    Halted,
    /// Somebody no longer wanted it.
    Cancelled,
    /// Its time was over before all were begun.
    Expired,
}

impl FanOutEnd {
    /// Every end.
    pub const ALL: [Self; 4] = [Self::Completed, Self::Halted, Self::Cancelled, Self::Expired];

    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Halted => "halted",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl FanOutState {
    /// The public name of the state; one that has ended shows how.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended { how, .. } => how.as_str(),
        }
    }
}

/// How many of a fan-out's agents stand where: `waiting`, `skipped`, or the state of their command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(pub BTreeMap<String, u32>);

/// What a fan-out does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Give the command to this many more.
    Begin(u32),
    /// Nothing before some command ends.
    Wait,
    /// It is over.
    End(FanOutEnd),
}

impl Tally {
    fn count(&self, wanted: impl Fn(&str) -> bool) -> u32 {
        self.0.iter().filter(|(state, _)| wanted(state)).map(|(_, n)| n).sum()
    }

    /// Agents altogether.
    pub fn total(&self) -> u32 {
        self.count(|_| true)
    }

    /// Agents whose command has not been given yet.
    pub fn waiting(&self) -> u32 {
        self.count(|state| state == "waiting")
    }

    /// Commands that have not ended.
    pub fn open(&self) -> u32 {
        self.count(|state| ["queued", "sent", "received", "running"].contains(&state))
    }

    /// Commands that went wrong.
    pub fn errors(&self) -> u32 {
        self.count(|state| Outcome::parse(state).is_some_and(Outcome::went_wrong))
    }
}

impl FanOut {
    /// What comes next, by how the commands stand.
    pub fn plan(&self, tally: &Tally, now: Timestamp) -> Step {
        if self.errors_max.is_some_and(|most| tally.errors() > most) {
            return Step::End(FanOutEnd::Halted);
        }
        let (waiting, open) = (tally.waiting(), tally.open());
        if waiting == 0 {
            return if open == 0 { Step::End(FanOutEnd::Completed) } else { Step::Wait };
        }
        if now >= self.expires_at {
            return Step::End(FanOutEnd::Expired);
        }
        match self.concurrency.saturating_sub(open).min(waiting) {
            0 => Step::Wait,
            more => Step::Begin(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fan_out(concurrency: u32, errors_max: Option<u32>) -> FanOut {
        FanOut {
            id: "f".parse().unwrap(),
            org: OrgId::default_org(),
            kind: CommandKind::SubsystemRun,
            params: Vec::new(),
            selector: "{}".into(),
            concurrency,
            errors_max,
            created_by: "user:ada".into(),
            created_at: Timestamp::from_seconds(0),
            expires_at: Timestamp::from_seconds(100),
            idempotency_key: None,
            state: FanOutState::Running,
        }
    }

    fn tally(counts: &[(&str, u32)]) -> Tally {
        Tally(counts.iter().map(|(state, n)| ((*state).to_owned(), *n)).collect())
    }

    #[test]
    fn what_follows_from_how_the_commands_stand() {
        let now = Timestamp::from_seconds(99);
        let late = Timestamp::from_seconds(100);
        type Case<'c> = (FanOut, &'c [(&'c str, u32)], Timestamp, Step);
        let cases: [Case<'_>; 8] = [
            (fan_out(3, None), &[("waiting", 9)], now, Step::Begin(3)),
            (fan_out(3, None), &[("waiting", 9), ("running", 2)], now, Step::Begin(1)),
            (fan_out(3, None), &[("waiting", 1), ("queued", 1)], now, Step::Begin(1)),
            (fan_out(2, None), &[("waiting", 1), ("sent", 2)], now, Step::Wait),
            (fan_out(2, None), &[("succeeded", 4), ("received", 1)], late, Step::Wait),
            (
                fan_out(2, None),
                &[("failed", 4), ("skipped", 1)],
                now,
                Step::End(FanOutEnd::Completed),
            ),
            (fan_out(2, None), &[("waiting", 4)], late, Step::End(FanOutEnd::Expired)),
            (
                fan_out(2, Some(1)),
                &[("waiting", 4), ("lost", 2)],
                now,
                Step::End(FanOutEnd::Halted),
            ),
        ];
        for (fan_out, counts, now, step) in cases {
            assert_eq!(fan_out.plan(&tally(counts), now), step, "{counts:?}");
        }
        let errors = tally(&[("cancelled", 9), ("skipped", 9), ("succeeded", 9), ("rejected", 1)]);
        assert_eq!(errors.errors(), 1);
    }

    proptest! {
        #[test]
        fn never_more_at_once_than_was_asked_for_and_never_more_errors(
            concurrency in 1u32..20, errors_max in 0u32..5, targets in 1u32..60,
            fates in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let fan_out = fan_out(concurrency, Some(errors_max));
            let (mut waiting, mut open, mut fates) = (targets, 0, fates.into_iter());
            let (mut good, mut bad, mut begun) = (0, 0, 0);
            for _ in 0..1_000 {
                let counts = [("waiting", waiting), ("running", open), ("succeeded", good), ("failed", bad)];
                match fan_out.plan(&tally(&counts), Timestamp::from_seconds(1)) {
                    Step::Begin(more) => {
                        (waiting, open, begun) = (waiting - more, open + more, begun + more);
                        prop_assert!(open <= concurrency);
                    }
                    Step::Wait => {
                        open -= 1;
                        if fates.next().unwrap() { good += 1 } else { bad += 1 }
                    }
                    Step::End(how) => {
                        let halted = how == FanOutEnd::Halted;
                        prop_assert_eq!(halted, bad > errors_max);
                        prop_assert!(halted || (begun == targets && open == 0));
                        return Ok(());
                    }
                }
            }
            prop_assert!(false, "it never ends");
        }
    }
}
