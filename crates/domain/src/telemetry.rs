//! Measured values over time, and how their history is thinned out as it ages.
//!
//! *Invariant:* however long and however often an agent measures, one series never holds more than
//! [`BUCKETS_MAX`] buckets.

use std::{fmt, time::Duration};

use crate::time::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Buckets that one series holds at most, all resolutions together.
pub const BUCKETS_MAX: u64 = 2 * DAY / (5 * MINUTE) + 60 * DAY / HOUR + 730;

/// How long the values are that one bucket stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    /// Five minutes, kept for two days.
    FiveMinutes,
    /// One hour, kept for sixty days.
    Hour,
    /// One day (UTC), kept for two years.
    Day,
}

impl Resolution {
    /// Every resolution, finest first.
    pub const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Day];

    /// The span of one bucket.
    pub fn step(self) -> Duration {
        Duration::from_secs(match self {
            Self::FiveMinutes => 5 * MINUTE,
            Self::Hour => HOUR,
            Self::Day => DAY,
        })
    }

    /// How long buckets are kept.
    pub fn kept(self) -> Duration {
        Duration::from_secs(match self {
            Self::FiveMinutes => 2 * DAY,
            Self::Hour => 60 * DAY,
            Self::Day => 730 * DAY,
        })
    }

    /// Seconds of one bucket; also the name under which it is stored.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.step().as_secs()).unwrap_or(u32::MAX)
    }

    /// The resolution whose buckets are that many seconds long.
    pub fn of_seconds(seconds: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|resolution| resolution.seconds() == seconds)
    }

    /// The finest resolution that still holds what is `age` old; the coarsest for what is older.
    pub fn reaching(age: Duration) -> Self {
        Self::ALL.into_iter().find(|resolution| resolution.kept() >= age).unwrap_or(Self::Day)
    }

    /// The beginning of the bucket in which `at` lies.
    pub fn bucket(self, at: Timestamp) -> Timestamp {
        let step = i64::from(self.seconds()) * 1_000_000;
        Timestamp::from_micros(at.as_micros().div_euclid(step) * step)
    }
}

/// What is measured, such as `memory_used_bytes`: a lower-case word with its unit, 1 to 64
/// characters of `a-z`, `0-9` and `_`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricName(String);

/// A text that cannot name a metric.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 of a-z, 0-9 and _, beginning with a letter")]
pub struct InvalidMetricName;

impl MetricName {
    /// Longest name.
    pub const CHARS_MAX: usize = 64;

    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, InvalidMetricName> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let good = text.len() <= Self::CHARS_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(allowed);
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidMetricName) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What was measured.
    pub metric: MetricName,
    /// Of which part of the host, such as a mount point; empty for the host as a whole.
    pub label: String,
    /// When.
    pub at: Timestamp,
    /// How much; finite.
    pub value: f64,
}

/// What a bucket keeps of its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// All together.
    pub total: f64,
}

impl Summary {
    /// Of one value.
    pub fn of(value: f64) -> Self {
        Self { count: 1, low: value, high: value, total: value }
    }

    /// Of the values of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            total: self.total + other.total,
        }
    }

    /// The mean.
    #[expect(clippy::cast_precision_loss, reason = "a bucket holds far fewer than 2^52 values")]
    pub fn mean(self) -> f64 {
        self.total / self.count.max(1) as f64
    }
}

/// How much an event of an agent matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it some time.
    Warning,
    /// Something does not work.
    Error,
}

impl Severity {
    /// Every severity, mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Error];

    /// The stored and public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The severity of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_what_lies_in_it(micros in 0i64..4_000_000_000_000_000, which in 0usize..3) {
            let resolution = Resolution::ALL[which];
            let at = Timestamp::from_micros(micros);
            let bucket = resolution.bucket(at);
            prop_assert!(bucket <= at && at < bucket.plus(resolution.step()));
            prop_assert_eq!(resolution.bucket(bucket), bucket);
        }

        #[test]
        fn a_summary_does_not_depend_on_the_order(values in proptest::collection::vec(-1e9..1e9f64, 1..20)) {
            let all = |values: &[f64]| values.iter().copied().map(Summary::of).reduce(Summary::and).unwrap();
            let (forth, back) = (all(&values), all(&values.iter().rev().copied().collect::<Vec<_>>()));
            prop_assert_eq!((forth.count, forth.low, forth.high), (back.count, back.low, back.high));
            prop_assert!((forth.mean() - back.mean()).abs() < 1e-3);
            prop_assert!(forth.low <= forth.mean() + 1e-3 && forth.mean() <= forth.high + 1e-3);
        }
    }

    #[test]
    fn what_is_older_is_coarser() {
        let days = |n: u64| Duration::from_secs(n * DAY);
        assert_eq!(Resolution::reaching(days(1)), Resolution::FiveMinutes);
        assert_eq!(Resolution::reaching(days(3)), Resolution::Hour);
        assert_eq!(Resolution::reaching(days(61)), Resolution::Day);
        assert_eq!(Resolution::reaching(days(3000)), Resolution::Day);
        let buckets = |r: Resolution| r.kept().as_secs() / r.step().as_secs();
        assert_eq!(Resolution::ALL.into_iter().map(buckets).sum::<u64>(), BUCKETS_MAX);
    }

    #[test]
    fn a_metric_has_a_plain_name() {
        for good in ["load_1m", "a", &"x".repeat(64)] {
            assert_eq!(MetricName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "1a", "_a", "a b", "A", "a-b", "é", &"x".repeat(65)] {
            assert!(MetricName::parse(bad).is_err(), "{bad}");
        }
    }
}
