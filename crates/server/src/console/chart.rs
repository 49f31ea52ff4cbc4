//! Charts as SVG, drawn here: no script, no other host, and a sentence for who cannot see them.

use std::fmt::Write as _;

use argosy_domain::time::Timestamp;

use super::show::exact;

/// Width of a chart in its own units; the page scales it.
const WIDTH: f64 = 360.0;
/// Height of the part that holds data.
const HEIGHT: f64 = 96.0;
/// What stands left of the data.
const LEFT: f64 = 52.0;
/// What stands below it.
const BELOW: f64 = 18.0;

/// A value over time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) at: Timestamp,
    pub(super) low: f64,
    pub(super) mean: f64,
    pub(super) high: f64,
}

/// A bar with one part upon the other: tone, amount.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) parts: Vec<(&'static str, u64)>,
}

/// A text that stays text in a picture.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn begin(summary: &str) -> String {
    let (width, height) = (LEFT + WIDTH, HEIGHT + BELOW);
    format!(
        r#"<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{}">"#,
        escaped(summary)
    )
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = write!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#);
}

/// A line at zero and one at the top, with what the top stands for.
fn grid(svg: &mut String, top: &str) {
    for y in [1.0, HEIGHT / 2.0, HEIGHT] {
        let right = LEFT + WIDTH;
        let _ = write!(svg, r#"<line class="grid" x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}"/>"#);
    }
    text(svg, (LEFT - 6.0, 10.0), "end", top);
    text(svg, (LEFT - 6.0, HEIGHT), "end", "0");
}

/// The next of 1, 2, 5, 10, 20 … that is not less.
fn nice(value: f64) -> f64 {
    let mut step = 1.0;
    while step * 10.0 < value {
        step *= 10.0;
    }
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * step)
        .find(|top| *top >= value)
        .unwrap_or(value)
}

/// Bars side by side. `every` says which of the labels have room.
#[expect(clippy::cast_precision_loss, reason = "pixels")]
pub(super) fn bars(summary: &str, bars: &[Bar], every: usize) -> String {
    let total = |bar: &Bar| bar.parts.iter().map(|(_, n)| n).sum::<u64>();
    let top = nice(bars.iter().map(total).max().unwrap_or(0).max(1) as f64);
    let mut svg = begin(summary);
    grid(&mut svg, &format!("{top}"));
    let slot = WIDTH / bars.len().max(1) as f64;
    for (n, bar) in bars.iter().enumerate() {
        let (x, width) = (LEFT + slot * n as f64 + slot * 0.12, slot * 0.76);
        let mut y = HEIGHT;
        let words: Vec<String> = bar.parts.iter().map(|(tone, n)| format!("{n} {tone}")).collect();
        let _ = write!(svg, "<g><title>{}: {}</title>", escaped(&bar.label), words.join(", "));
        for (tone, amount) in bar.parts.iter().filter(|(_, amount)| *amount > 0) {
            let height = (*amount as f64 / top * HEIGHT).max(1.5);
            y -= height;
            let _ = write!(
                svg,
                r#"<rect class="{tone}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
            );
        }
        svg.push_str("</g>");
        if n % every.max(1) == 0 {
            text(&mut svg, (x + width / 2.0, HEIGHT + 14.0), "middle", &bar.label);
        }
    }
    svg.push_str("</svg>");
    svg
}

/// A line of means within the band from lowest to highest. `top` is what the upper edge stands
/// for, and `unit` writes a value.
pub(super) fn line(
    summary: &str,
    points: &[Point],
    top: f64,
    unit: impl Fn(f64) -> String,
) -> String {
    let mut svg = begin(summary);
    let top = if top > 0.0 { top } else { 1.0 };
    grid(&mut svg, &unit(top));
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        svg.push_str("</svg>");
        return svg;
    };
    let span = micros(last.at) - micros(first.at);
    let x = |at: Timestamp| match span > 0.0 {
        true => LEFT + (micros(at) - micros(first.at)) / span * WIDTH,
        false => LEFT + WIDTH,
    };
    let y = |value: f64| HEIGHT - (value / top).clamp(0.0, 1.0) * (HEIGHT - 1.0);
    let upper = points.iter().map(|p| format!("{:.1},{:.1}", x(p.at), y(p.high)));
    let lower = points.iter().rev().map(|p| format!("{:.1},{:.1}", x(p.at), y(p.low)));
    let band: Vec<String> = upper.chain(lower).collect();
    let _ = write!(svg, r#"<polygon class="band" points="{}"/>"#, band.join(" "));
    let means = points.iter().map(|p| format!("{:.1},{:.1}", x(p.at), y(p.mean)));
    let _ =
        write!(svg, r#"<polyline class="line" points="{}"/>"#, means.collect::<Vec<_>>().join(" "));
    let (dot_x, dot_y) = (x(last.at), y(last.mean));
    let _ = write!(svg, r#"<circle class="dot" cx="{dot_x:.1}" cy="{dot_y:.1}" r="3"/>"#);
    let clock = |at: Timestamp| exact(at).get(5..16).unwrap_or_default().to_owned();
    text(&mut svg, (LEFT, HEIGHT + 14.0), "start", &clock(first.at));
    text(&mut svg, (LEFT + WIDTH, HEIGHT + 14.0), "end", &clock(last.at));
    svg.push_str("</svg>");
    svg
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn micros(at: Timestamp) -> f64 {
    at.as_micros() as f64
}

/// Parts of a whole side by side: name, tone, amount.
#[expect(clippy::cast_precision_loss, reason = "pixels")]
pub(super) fn portions(summary: &str, parts: &[(String, &'static str, u64)]) -> String {
    let total = parts.iter().map(|(_, _, n)| n).sum::<u64>().max(1) as f64;
    let words: Vec<String> = parts.iter().map(|(name, _, n)| format!("{n} {name}")).collect();
    let mut svg = format!(
        r#"<svg class="portions" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{}: {}"><rect class="rail" width="100" height="8"/>"#,
        escaped(summary),
        escaped(&words.join(", "))
    );
    let mut x = 0.0;
    for (name, tone, n) in parts {
        let width = *n as f64 / total * 100.0;
        let title = escaped(&format!("{n} {name}"));
        let _ = write!(
            svg,
            r#"<rect class="{tone}" x="{x:.2}" width="{width:.2}" height="8"><title>{title}</title></rect>"#
        );
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

/// How full something is, 0 to 100, with a tone by thresholds.
pub(super) fn level(summary: &str, percent: f64, tone: &str) -> String {
    let filled = percent.clamp(0.0, 100.0);
    format!(
        r#"<svg class="level {tone}" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{}"><rect class="rail" width="100" height="8"/><rect class="fill" width="{filled:.1}" height="8"/></svg>"#,
        escaped(summary)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_named_cannot_leave_its_place() {
        let bar = Bar { label: "<script>".into(), parts: vec![("ok", 3), ("bad", 0)] };
        let svg = bars("a \"summary\" & more", &[bar], 1);
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script>"));
        assert!(svg.contains("a &quot;summary&quot; &amp; more"));
        assert_eq!(svg.matches("<rect").count(), 1);
    }

    #[test]
    fn portions_fill_the_whole() {
        let part = |name: &str, tone, n| (name.to_owned(), tone, n);
        let svg = portions("agents", &[part("<b>", "ok", 3), part("lost", "bad", 1)]);
        assert!(
            svg.contains(r#"x="0.00" width="75.00""#) && svg.contains(r#"x="75.00" width="25.00""#)
        );
        assert!(!svg.contains("<b>") && !portions("none", &[]).contains("NaN"));
    }

    #[test]
    fn tops_are_round() {
        for (value, top) in
            [(0.5, 1.0), (1.0, 1.0), (3.0, 5.0), (7.0, 10.0), (11.0, 20.0), (10_000.0, 10_000.0)]
        {
            assert!((nice(value) - top).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn a_line_stays_within_its_field_whatever_the_values() {
        let at = Timestamp::from_seconds;
        let point = |s, mean| Point { at: at(s), low: -5.0, mean, high: 1e12 };
        let points = [point(0, 10.0), point(60, 1e9)];
        let svg = line("memory", &points, 100.0, |value| format!("{value}"));
        for pair in svg.split("points=\"").nth(2).unwrap().split('"').next().unwrap().split(' ') {
            let (x, y) = pair.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=LEFT + WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{pair}");
        }
        assert!(line("none", &[], 1.0, |v| v.to_string()).ends_with("</svg>"));
        assert!(!line("one", &points[..1], 0.0, |v| v.to_string()).contains("NaN"));
    }
}
