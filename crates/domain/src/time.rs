//! Time as a value: points in time, the clock that is passed in, durations as people write them.
//!
//! Points in time are whole microseconds, because that is what both databases and every signed
//! statement keep; the text form is RFC 3339 in UTC with six digits and `Z`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// A point in time: microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 time, or a time outside the years 1 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time: RFC 3339 in UTC is asked for, such as 2026-01-31T08:00:00Z")]
pub struct InvalidTimestamp;

/// First microsecond of the year 10000; later times have no RFC 3339 form.
const MICROS_MAX: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// From microseconds since the Unix epoch; values outside the years 1970 to 9999 are clamped.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, MICROS_MAX))
    }

    /// From whole seconds since the Unix epoch.
    pub fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub fn as_seconds(self) -> i64 {
        self.0 / 1_000_000
    }

    /// This time and `span` more.
    pub fn plus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// This time and `span` less.
    pub fn minus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .map_err(|_| fmt::Error)?;
        f.write_str(&moment.format(format).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        let micros = i64::try_from(moment.unix_timestamp_nanos().div_euclid(1000))
            .map_err(|_| InvalidTimestamp)?;
        if (0..=MICROS_MAX).contains(&micros) { Ok(Self(micros)) } else { Err(InvalidTimestamp) }
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;
    fn try_from(text: String) -> Result<Self, InvalidTimestamp> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> String {
        at.to_string()
    }
}

/// What tells the time. Injected everywhere, so that tests own it.
pub trait Clock: Send + Sync {
    /// The wall clock, in UTC. May jump.
    fn now(&self) -> Timestamp;

    /// Time since the machine was started, suspended time included. Never jumps.
    fn since_boot(&self) -> Duration;
}

/// A span that is not written as `30s`, `15m`, `24h`, `7d` or a sum of such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: write it as 30s, 15m, 24h or 7d")]
pub struct InvalidSpan;

/// Parses a duration as people write it: `24h`, `1h 30m`, `7d`.
pub fn parse_span(text: &str) -> Result<Duration, InvalidSpan> {
    humantime::parse_duration(text).map_err(|_| InvalidSpan)
}

/// Writes a duration the way [`parse_span`] reads it, whole seconds only.
pub fn format_span(span: Duration) -> String {
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_form_has_six_digits_and_z() {
        assert_eq!(Timestamp::from_seconds(0).to_string(), "1970-01-01T00:00:00.000000Z");
        let nanos: Timestamp = "2026-11-22T03:04:05.123456789+01:00".parse().unwrap();
        assert_eq!(nanos.to_string(), "2026-11-22T02:04:05.123456Z");
    }

    #[test]
    fn times_without_a_text_form_are_refused() {
        for bad in ["", "yesterday", "2026-13-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-01-01"] {
            assert_eq!(bad.parse::<Timestamp>(), Err(InvalidTimestamp), "{bad}");
        }
    }

    #[test]
    fn spans_read_as_people_write_them() {
        assert_eq!(parse_span("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_span("soon"), Err(InvalidSpan));
    }

    proptest! {
        #[test]
        fn text_and_value_are_one(micros in 0..=MICROS_MAX) {
            let at = Timestamp::from_micros(micros);
            prop_assert_eq!(at.to_string().parse::<Timestamp>(), Ok(at));
        }
    }
}
