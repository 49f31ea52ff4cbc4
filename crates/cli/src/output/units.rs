//! Numbers and times as people say them.

use std::time::Duration;

use argosy_domain::time::Timestamp;

/// `0 B`, `512 B`, `3.1 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would round to `1024.0`.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// How much of `whole` `part` is, 0 to 100; 0 of nothing.
pub fn percent_of(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "whole percents are shown")]
    let (part, whole) = (part as f64, whole as f64);
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

/// `[######----]`, ten steps; never full before 100 and never empty above 0.
pub fn bar(percent: f64) -> String {
    let steps = (percent / 10.0).round().clamp(0.0, 10.0);
    let steps = if percent > 0.0 { steps.max(1.0) } else { 0.0 };
    let steps = if percent < 100.0 { steps.min(9.0) } else { steps };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10")]
    let full = steps as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(10 - full))
}

/// The largest whole unit: `42s`, `3m`, `5h`, `12d`.
pub fn short_span(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m", s / 60),
        3_600..172_800 => format!("{}h", s / 3_600),
        _ => format!("{}d", s / 86_400),
    }
}

/// The two largest units: `3d 4h`, `4h 5m`, `5m 6s`.
pub fn span(span: Duration) -> String {
    let s = span.as_secs();
    let (d, h, m) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, m) => format!("{m}m {}s", s % 60),
        (0, h, m) => format!("{h}h {m}m"),
        (d, h, _) => format!("{d}d {h}h"),
    }
}

/// `3m ago`, `just now`, `in 5h`.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    // Two clocks never agree to the second.
    if at.since(now).max(now.since(at)) < Duration::from_secs(1) {
        return "just now".to_owned();
    }
    if at > now {
        // Rounded: a day from now is still `in 24h` a moment later.
        let left = at.since(now);
        let half_unit = match left.as_secs() {
            0..90 => 0,
            90..5_400 => 30,
            5_400..172_800 => 1_800,
            _ => 43_200,
        };
        return format!("in {}", short_span(left + Duration::from_secs(half_unit)));
    }
    format!("{} ago", short_span(now.since(at)))
}

/// The age of a time as the server wrote it; `-` where there is none, the text itself where it is
/// no time.
pub fn age_of(at: Option<&str>, now: Timestamp) -> String {
    match at {
        None => "-".to_owned(),
        Some(text) => text.parse().map_or_else(|_| super::clean(text), |at| age(at, now)),
    }
}

/// A time to the second, and its age.
pub fn moment(at: &str, now: Timestamp) -> String {
    let Ok(parsed) = at.parse::<Timestamp>() else {
        return super::clean(at);
    };
    let text = parsed.to_string();
    let to_the_second = text.split_once('.').map_or(text.as_str(), |(seconds, _)| seconds);
    format!("{}Z ({})", to_the_second.replace('T', " "), age(parsed, now))
}

/// `1 seat`, `2 seats`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_digit_after_the_point() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (8_243_200_000, "7.7 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn ages_read_from_now() {
        let now = Timestamp::from_seconds(1_000_000);
        let at = |s: i64| age(Timestamp::from_seconds(1_000_000 - s), now);
        assert_eq!(
            [at(0), at(59), at(180), at(7_200), at(86_400 * 3), at(-100), at(-86_399)],
            ["just now", "59s ago", "3m ago", "2h ago", "3d ago", "in 2m", "in 24h"]
        );
        assert_eq!(age_of(None, now), "-");
    }

    #[test]
    fn spans_show_two_units() {
        let text = |s| span(Duration::from_secs(s));
        assert_eq!(
            [text(5), text(65), text(3_700), text(273_600)],
            ["5s", "1m 5s", "1h 1m", "3d 4h"]
        );
    }

    #[test]
    fn a_bar_is_neither_full_too_early_nor_empty_too_long() {
        assert_eq!(bar(0.0), "[----------]");
        assert_eq!(bar(0.4), "[#---------]");
        assert_eq!(bar(99.6), "[#########-]");
        assert_eq!(bar(100.0), "[##########]");
        assert_eq!(percent_of(1, 0), 0.0);
    }

    #[test]
    fn moments_are_exact_and_relative() {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        assert_eq!(moment("2026-11-22T11:57:00.123456Z", now), "2026-11-22 11:57:00Z (2m ago)");
    }
}
