//! Diagrams of the documentation, drawn here: its pages hold them as text that repository hosts draw
//! with a script of others, which no page of this server loads.
//!
//! What can be drawn is what the pages use: sequences and states. *Invariant:* whatever the text says,
//! it stays text in the picture; what is not understood is not drawn.

mod sequence;
mod states;

use std::fmt::Write as _;

use super::chart::escaped;

/// Width of a letter, about, in units of the picture.
const LETTER: f64 = 6.7;
/// From one line of text to the next.
const LINE: f64 = 16.0;

/// A diagram as SVG; none where its kind is not drawn here.
pub(super) fn drawn(source: &str) -> Option<String> {
    let mut lines = source.lines().map(str::trim).filter(|line| !line.is_empty());
    match lines.next()? {
        "sequenceDiagram" => sequence::drawn(lines),
        "stateDiagram-v2" => states::drawn(lines),
        _ => None,
    }
}

/// How wide a text is, about.
#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn width(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

/// Breaks a text where `<br/>` says so, and where it is too wide.
fn wrapped(text: &str, room: f64) -> Vec<String> {
    let mut lines = Vec::new();
    for part in text.split("<br/>") {
        let mut line = String::new();
        for word in part.split_whitespace() {
            if !line.is_empty() && width(&line) + width(word) + LETTER > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// A picture that grows.
#[derive(Default)]
struct Picture {
    svg: String,
}

impl Picture {
    /// Text by its baseline; `place` is `start`, `middle` or `end`.
    fn text(&mut self, (x, y): (f64, f64), place: &str, class: &str, words: &str) {
        let words = escaped(words);
        let _ = write!(
            self.svg,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{place}">{words}</text>"#
        );
    }

    /// A box around its upper left corner, width and height.
    fn rect(&mut self, class: &str, (x, y): (f64, f64), (wide, high): (f64, f64)) {
        let _ = write!(
            self.svg,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{wide:.1}" height="{high:.1}" rx="4"/>"#
        );
    }

    /// A line through points.
    fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(self.svg, r#"<polyline class="{class}" points="{}"/>"#, points.join(" "));
    }

    /// The head of an arrow that goes to `x`, from the left or from the right.
    fn head(&mut self, (x, y): (f64, f64), from_left: bool) {
        let back = if from_left { x - 9.0 } else { x + 9.0 };
        let (above, below) = (y - 4.0, y + 4.0);
        let _ = write!(
            self.svg,
            r#"<polygon class="head" points="{x:.1},{y:.1} {back:.1},{above:.1} {back:.1},{below:.1}"/>"#
        );
    }

    /// The head of an arrow that goes down.
    fn head_down(&mut self, (x, y): (f64, f64)) {
        let (left, right, back) = (x - 4.0, x + 4.0, y - 9.0);
        let _ = write!(
            self.svg,
            r#"<polygon class="head" points="{x:.1},{y:.1} {left:.1},{back:.1} {right:.1},{back:.1}"/>"#
        );
    }

    /// A dot: where something begins or ends.
    fn dot(&mut self, (x, y): (f64, f64)) {
        let _ = write!(self.svg, r#"<circle class="head" cx="{x:.1}" cy="{y:.1}" r="5"/>"#);
    }

    fn finish(self, what: &str, (wide, high): (f64, f64)) -> String {
        format!(
            r#"<div class="scroll picture" tabindex="0" role="region" aria-label="{what}"><svg class="diagram" viewBox="0 0 {wide:.0} {high:.0}" width="{wide:.0}" height="{high:.0}" role="img" aria-label="{what}, which the text below tells too">{}</svg></div>"#,
            self.svg
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_diagram_says_cannot_leave_its_place() {
        let source = "sequenceDiagram\nparticipant A as <b>\nA->>A: <script>alert(1)</script>\n";
        let svg = drawn(source).unwrap();
        assert!(svg.contains("&lt;b&gt;") && !svg.contains("<script>") && !svg.contains("<b>"));
        let svg = drawn("stateDiagram-v2\n[*] --> <i>\n<i> --> b: \"x\" & <y>\n").unwrap();
        assert!(
            svg.contains("&lt;i&gt;") && svg.contains("&amp; &lt;y&gt;") && !svg.contains("<i>")
        );
    }

    #[test]
    fn what_is_not_understood_is_not_drawn() {
        for source in
            ["", "flowchart LR\na --> b", "sequenceDiagram\nA ~> B", "stateDiagram-v2\na b"]
        {
            assert_eq!(drawn(source), None, "{source}");
        }
    }

    #[test]
    fn texts_break_where_they_are_too_wide() {
        assert_eq!(wrapped("one two<br/>three", 1_000.0), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 8.0 * LETTER), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 1.0), ["unbreakable"]);
    }
}
