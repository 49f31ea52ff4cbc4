//! What about an agent an operator should look at, and from where its identity was seen.
//!
//! *Invariant:* a review never picks a winner: it holds every origin that was seen, the one that was
//! known first.

use serde::{Deserialize, Serialize};

use crate::{digest::Sha256, time::Timestamp};

/// Origins that one review holds at most: the first, and the newest of the others.
pub const REVIEW_ORIGINS_MAX: usize = 4;
/// Hexadecimal digits of a machine's digest.
const MACHINE_DIGEST_DIGITS: usize = 16;

/// Who is shown the API key of a new agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyDelivery {
    /// The machine, in the answer to its registration.
    #[default]
    Direct,
    /// The operator who approves, once.
    Operator,
}

impl KeyDelivery {
    /// The stored and public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Operator => "operator",
        }
    }

    /// The delivery of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Direct, Self::Operator].into_iter().find(|delivery| delivery.as_str() == text)
    }
}

/// One place from which an identity spoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appearance {
    /// Source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The salted machine id that it showed. Shown to people as a digest only: whoever knows it can
    /// claim to be that machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// The version that it said to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Appearance {
    /// What people compare of a machine id.
    pub fn machine_digest(&self) -> Option<String> {
        self.machine_id.as_deref().map(machine_digest)
    }

    /// The machine id, where the agent's key signed it. Only a handshake is signed, and only a handshake
    /// tells a version here; what a call on a session shows is a header that anybody on the way could write.
    pub fn signed_machine(&self) -> Option<&str> {
        self.version.as_ref().and(self.machine_id.as_deref())
    }

    /// Whether it is the same machine at the same address, whatever the time.
    fn same_place(&self, other: &Self) -> bool {
        (&self.source, &self.machine_id, &self.version)
            == (&other.source, &other.machine_id, &other.version)
    }
}

/// What people compare of a salted machine id: sixteen hexadecimal digits.
pub fn machine_digest(machine_id: &str) -> String {
    let mut digits = format!("{:?}", Sha256::of(machine_id.as_bytes()));
    digits.truncate(MACHINE_DIGEST_DIGITS);
    digits
}

/// Why an agent should be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewReason {
    /// Its identity was shown by another machine than the enrolled one.
    MachineMismatch,
    /// Two bearers of its identity: a clone or a restored snapshot.
    Clone,
    /// It came back with an older version than the recorded one.
    Downgrade,
}

impl ReviewReason {
    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MachineMismatch => "machine_mismatch",
            Self::Clone => "clone",
            Self::Downgrade => "downgrade",
        }
    }
}

/// A question that an operator answers: with restore, rebind, replace or revoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// What happened.
    pub reason: ReviewReason,
    /// When it was first noticed.
    pub since: Timestamp,
    /// From where the identity was seen: first as it was known, then the others, oldest first.
    pub origins: Vec<Appearance>,
}

impl Review {
    /// A review of what was just seen, which goes on where an earlier one for the same reason
    /// stands. A clone outweighs the other reasons: it is why an agent was quarantined.
    pub fn of(
        earlier: Option<Self>,
        reason: ReviewReason,
        known: Option<Appearance>,
        seen: Appearance,
    ) -> Self {
        let mut review = match earlier {
            Some(earlier) if earlier.reason == reason || earlier.reason == ReviewReason::Clone => {
                earlier
            }
            Some(_) | None => Self { reason, since: seen.at, origins: known.into_iter().collect() },
        };
        review.origins.retain({
            let mut first = true;
            let seen = seen.clone();
            move |origin| std::mem::take(&mut first) || !origin.same_place(&seen)
        });
        review.origins.push(seen);
        if review.origins.len() > REVIEW_ORIGINS_MAX {
            review.origins.remove(1);
        }
        review
    }

    /// What was seen last.
    pub fn newest(&self) -> Option<&Appearance> {
        self.origins.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(machine: &str, at: i64) -> Appearance {
        Appearance {
            source: Some("192.0.2.1".into()),
            machine_id: Some(machine.into()),
            version: Some("0.1.0".into()),
            at: Timestamp::from_seconds(at),
        }
    }

    #[test]
    fn the_known_origin_stays_first_and_the_newest_last_however_often_others_come() {
        let reason = ReviewReason::MachineMismatch;
        let mut review = Review::of(None, reason, Some(seen("known", 1)), seen("m2", 2));
        for at in 3..20 {
            review = Review::of(Some(review), reason, None, seen(&format!("m{at}"), at));
        }
        assert_eq!(review.origins.len(), REVIEW_ORIGINS_MAX);
        assert_eq!(review.origins[0], seen("known", 1));
        assert_eq!(review.newest(), Some(&seen("m19", 19)));
        assert_eq!(review.since, Timestamp::from_seconds(2));
    }

    #[test]
    fn the_same_place_again_is_one_origin_with_the_later_time() {
        let reason = ReviewReason::MachineMismatch;
        let review = Review::of(None, reason, Some(seen("known", 1)), seen("other", 2));
        let review = Review::of(Some(review), reason, None, seen("other", 60));
        assert_eq!(review.origins, [seen("known", 1), seen("other", 60)]);
    }

    #[test]
    fn a_clone_is_not_forgotten_for_something_smaller() {
        let clone = Review::of(None, ReviewReason::Clone, None, seen("a", 1));
        let later = Review::of(Some(clone), ReviewReason::MachineMismatch, None, seen("b", 2));
        assert_eq!(later.reason, ReviewReason::Clone);
        let mismatch = Review::of(None, ReviewReason::MachineMismatch, None, seen("a", 1));
        let later = Review::of(Some(mismatch), ReviewReason::Clone, None, seen("b", 2));
        assert_eq!((later.reason, later.origins.len()), (ReviewReason::Clone, 1));
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let review = Review::of(None, ReviewReason::Downgrade, None, seen("a", 1));
        let text = serde_json::to_string(&review).unwrap();
        assert_eq!(serde_json::from_str::<Review>(&text).unwrap(), review);
        assert_eq!(machine_digest("a").len(), MACHINE_DIGEST_DIGITS);
    }
}
