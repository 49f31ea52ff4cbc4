//! Values as people read them: times, sizes, states as words with a shape.

use argosy_domain::{
    agent::{AgentStatus, Health},
    digest::Fingerprint,
    review::ReviewReason,
    time::Timestamp,
};

use crate::app::agents::AgentSnapshot;

/// A state: a word, and how serious it is. Each tone has a shape of its own, so that nothing is
/// said by colour alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Badge {
    /// `ok`, `warn`, `bad`, `info` or `off`.
    pub(super) tone: &'static str,
    pub(super) word: String,
}

impl Badge {
    pub(super) fn new(tone: &'static str, word: impl Into<String>) -> Self {
        Self { tone, word: word.into() }
    }
}

/// A filter that is in force, and the list without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chip {
    pub(super) words: String,
    pub(super) without: String,
}

/// A moment, as a browser, a person and a careful person read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct When {
    pub(super) iso: String,
    pub(super) ago: String,
    pub(super) exact: String,
}

/// A time and how far it is from now; the empty one where there is none.
pub(super) fn when(at: impl Into<Option<Timestamp>>, now: Timestamp) -> When {
    let Some(at) = at.into() else { return When::default() };
    When { iso: at.to_string(), ago: distance(at, now), exact: exact(at) }
}

/// To the second, in UTC.
pub(super) fn exact(at: Timestamp) -> String {
    let text = at.to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{day} {} UTC", time.get(..8).unwrap_or(time))
}

fn distance(at: Timestamp, now: Timestamp) -> String {
    let s = now.as_seconds() - at.as_seconds();
    match s {
        -59..=4 => "now".to_owned(),
        5.. => format!("{} ago", span(s.unsigned_abs())),
        _ => format!("in {}", span(s.unsigned_abs())),
    }
}

/// Seconds in the largest unit that fits.
pub(super) fn span(s: u64) -> String {
    match s {
        0..=59 => format!("{s} s"),
        60..=3_599 => format!("{} min", s / 60),
        3_600..=172_799 => format!("{} h", s / 3_600),
        _ => format!("{} days", s / 86_400),
    }
}

/// Bytes in a unit that keeps three digits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            let digits = usize::from(value < 100.0 && unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

/// A number with its thousands apart.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One thing, or several.
pub(super) fn several(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// What a list says below itself: how many of how many it shows.
pub(super) fn shown_of(shown: usize, all: u64, one: &str, many: &str) -> String {
    let shown = u64::try_from(shown).unwrap_or(u64::MAX);
    if shown >= all {
        return several(shown, one, many);
    }
    format!("{} of {}", count(shown), several(all, one, many))
}

/// Where an agent stands.
pub(super) fn status(status: AgentStatus) -> Badge {
    let tone = match status {
        AgentStatus::Approved => "ok",
        AgentStatus::Pending => "info",
        AgentStatus::Quarantined => "warn",
        AgentStatus::Revoked | AgentStatus::Rejected => "bad",
        AgentStatus::Expired | AgentStatus::Cancelled => "off",
    };
    Badge::new(tone, status.as_str())
}

/// How an agent is; nothing for one that is not admitted, which is not expected to be heard.
pub(super) fn health(snapshot: &AgentSnapshot) -> Option<Badge> {
    let admitted = [AgentStatus::Approved, AgentStatus::Quarantined];
    if !admitted.contains(&snapshot.view.agent.state.status()) {
        return None;
    }
    let tone = match snapshot.health {
        Health::Healthy => "ok",
        Health::Stale => "warn",
        Health::Offline => "bad",
    };
    Some(Badge::new(tone, snapshot.health.as_str()))
}

/// What an operator should look at, in words.
pub(super) fn review(reason: ReviewReason) -> &'static str {
    match reason {
        ReviewReason::MachineMismatch => "another machine",
        ReviewReason::Clone => "cloned",
        ReviewReason::Downgrade => "downgraded",
    }
}

/// Whatever else is odd about an agent.
pub(super) fn oddities(snapshot: &AgentSnapshot) -> Vec<Badge> {
    let review = snapshot.view.agent.review.as_ref().map(|r| Badge::new("bad", review(r.reason)));
    let outdated = snapshot.outdated.then(|| Badge::new("warn", "outdated"));
    let open = snapshot.breakers.values().any(|state| state != "closed");
    let breaker = open.then(|| Badge::new("warn", "breaker open"));
    review.into_iter().chain(outdated).chain(breaker).collect()
}

/// Where a command stands.
pub(super) fn command_state(state: &str) -> Badge {
    let tone = match state {
        "succeeded" => "ok",
        "failed" | "timed_out" | "rejected" | "lost" => "bad",
        "cancelled" | "expired" | "skipped" => "off",
        _ => "info",
    };
    Badge::new(tone, state.replace('_', " "))
}

/// Where a breaker stands.
pub(super) fn breaker(state: &str) -> Badge {
    Badge::new(if state == "closed" { "ok" } else { "warn" }, state.replace('_', " "))
}

/// The eight groups that two people read to each other.
pub(super) fn groups(fingerprint: &Fingerprint) -> Vec<String> {
    fingerprint.to_string().split(' ').map(str::to_owned).collect()
}

/// Names and values one after the other, as the rows of a list of facts.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
    /// Set in a type of equal widths.
    pub(super) code: bool,
}

impl Fact {
    pub(super) fn text(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), code: false }
    }

    pub(super) fn code(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), code: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_distance() {
        let now = Timestamp::from_seconds(1_000_000);
        let ago = |s: i64| when(Timestamp::from_seconds(1_000_000 - s), now).ago;
        assert_eq!(
            (ago(2), ago(59), ago(61)),
            ("now".into(), "59 s ago".into(), "1 min ago".into())
        );
        assert_eq!((ago(7_300), ago(400_000)), ("2 h ago".into(), "4 days ago".into()));
        assert_eq!(ago(-7_300), "in 2 h");
        assert_eq!(when(None, now), When::default());
        assert_eq!(exact(Timestamp::from_seconds(0)), "1970-01-01 00:00:00 UTC");
    }

    #[test]
    fn counts_are_read_at_a_glance() {
        assert_eq!(
            (count(0), count(999), count(1_000)),
            ("0".into(), "999".into(), "1,000".into())
        );
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(shown_of(50, 10_000, "agent", "agents"), "50 of 10,000 agents");
        assert_eq!(shown_of(1, 1, "agent", "agents"), "1 agent");
    }

    #[test]
    fn sizes_keep_three_digits() {
        assert_eq!((bytes(0), bytes(1_023)), ("0 B".into(), "1023 B".into()));
        assert_eq!((bytes(1_536), bytes(250 << 30)), ("1.5 KiB".into(), "250 GiB".into()));
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }
}
