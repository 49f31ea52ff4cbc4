//! Sequences: who tells whom what, from top to bottom.

use super::{LINE, Picture, width, wrapped};

/// Between two lanes.
const STEP: f64 = 220.0;
/// Left and right of the outer lanes.
const MARGIN: f64 = 110.0;
/// How far a message to oneself reaches.
const LOOP: f64 = 34.0;
/// Height of the names at the top.
const TOP: f64 = 34.0;

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
enum Happening {
    /// From one lane to another, or to itself; dashed where it is an answer.
    Message { from: usize, to: usize, answer: bool, text: String },
    /// Beside a lane.
    Note { lane: usize, text: String },
    /// A frame begins.
    Frame { word: String, text: String },
    /// The other part of the frame.
    Else { text: String },
    /// It ends.
    End,
}

#[derive(Default)]
struct Sequence {
    keys: Vec<String>,
    names: Vec<String>,
    numbered: bool,
    happenings: Vec<Happening>,
}

impl Sequence {
    fn lane(&self, key: &str) -> Option<usize> {
        self.keys.iter().position(|known| known == key.trim())
    }

    fn message(&self, line: &str) -> Option<Happening> {
        let (ends, text) = line.split_once(':')?;
        let (answer, (from, to)) = match ends.split_once("-->>") {
            Some(ends) => (true, ends),
            None => (false, ends.split_once("->>")?),
        };
        let (from, to) = (self.lane(from)?, self.lane(to)?);
        Some(Happening::Message { from, to, answer, text: text.trim().to_owned() })
    }

    /// Takes a line; none where it is not understood.
    fn take(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let happening = match word {
            "autonumber" => {
                self.numbered = true;
                return Some(());
            }
            "participant" | "actor" => {
                let (key, name) = rest.split_once(" as ").unwrap_or((rest, rest));
                self.keys.push(key.trim().to_owned());
                self.names.push(name.trim().to_owned());
                return Some(());
            }
            "Note" => {
                let (lane, text) = rest.strip_prefix("over ")?.split_once(':')?;
                Happening::Note { lane: self.lane(lane)?, text: text.trim().to_owned() }
            }
            "alt" | "loop" | "opt" => {
                Happening::Frame { word: word.to_owned(), text: rest.to_owned() }
            }
            "else" => Happening::Else { text: rest.to_owned() },
            "end" => Happening::End,
            _ => self.message(line)?,
        };
        self.happenings.push(happening);
        Some(())
    }

    fn x(&self, lane: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let lane = lane as f64;
        MARGIN + lane * STEP
    }

    fn wide(&self) -> f64 {
        self.x(self.keys.len().saturating_sub(1)) + MARGIN + LOOP
    }
}

/// Puts lines above `y`, the last one just above it, and gives how high they are.
fn above(picture: &mut Picture, (x, y): (f64, f64), place: &str, lines: &[String]) {
    for (n, line) in lines.iter().rev().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let up = n as f64 * LINE;
        picture.text((x, y - 6.0 - up), place, "said", line);
    }
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn high(lines: &[String]) -> f64 {
    lines.len() as f64 * LINE
}

/// A message; gives where the next thing begins.
fn message(
    picture: &mut Picture,
    sequence: &Sequence,
    y: f64,
    (from, to, class, text): (usize, usize, &str, &str),
) -> f64 {
    let (x1, x2) = (sequence.x(from), sequence.x(to));
    if from == to {
        let lines = wrapped(text, STEP - LOOP - 24.0);
        let (top, bottom) = (y + 12.0, y + 12.0 + high(&lines).max(LINE));
        let corner = x1 + LOOP;
        picture.line(class, &[(x1, top), (corner, top), (corner, bottom), (x1, bottom)]);
        picture.head((x1 + 1.0, bottom), false);
        above(picture, (corner + 6.0, bottom + 4.0), "start", &lines);
        return bottom + 8.0;
    }
    let lines = wrapped(text, (x2 - x1).abs() - 16.0);
    let at = y + high(&lines) + 12.0;
    picture.line(class, &[(x1, at), (x2, at)]);
    picture.head((if x1 < x2 { x2 - 1.0 } else { x2 + 1.0 }, at), x1 < x2);
    above(picture, ((x1 + x2) / 2.0, at), "middle", &lines);
    at + 6.0
}

fn note(picture: &mut Picture, x: f64, y: f64, text: &str) -> f64 {
    let lines = wrapped(text, 2.0 * STEP);
    let widest = lines.iter().map(|line| width(line)).fold(0.0, f64::max) + 20.0;
    let (top, tall) = (y + 10.0, high(&lines) + 12.0);
    let left = (x - widest / 2.0).max(4.0);
    picture.rect("note", (left, top), (widest, tall));
    above(picture, (left + widest / 2.0, top + tall - 4.0), "middle", &lines);
    top + tall + 4.0
}

/// The diagram; none where a line is not understood.
pub(super) fn drawn<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut sequence = Sequence::default();
    for line in lines {
        sequence.take(line)?;
    }
    let (mut picture, mut y, mut number) = (Picture::default(), TOP + 8.0, 0);
    let wide = sequence.wide();
    let mut frames: Vec<f64> = Vec::new();
    for happening in &sequence.happenings {
        match happening {
            Happening::Message { from, to, answer, text } => {
                number += 1;
                let text =
                    if sequence.numbered { format!("{number} {text}") } else { text.clone() };
                let class = if *answer { "answer" } else { "message" };
                y = message(&mut picture, &sequence, y, (*from, *to, class, &text));
            }
            Happening::Note { lane, text } => y = note(&mut picture, sequence.x(*lane), y, text),
            Happening::Frame { word, text } => {
                frames.push(y + 8.0);
                picture.text((14.0, y + 26.0), "start", "word", &format!("{word}: {text}"));
                y += 32.0;
            }
            Happening::Else { text } => {
                picture.line("rule", &[(6.0, y + 10.0), (wide - 6.0, y + 10.0)]);
                picture.text((14.0, y + 28.0), "start", "word", &format!("else: {text}"));
                y += 34.0;
            }
            Happening::End => {
                let top = frames.pop()?;
                y += 10.0;
                picture.rect("frame", (6.0, top), (wide - 12.0, y - top));
                y += 4.0;
            }
        }
    }
    let bottom = y + 12.0;
    let mut whole = Picture::default();
    for (lane, name) in sequence.names.iter().enumerate() {
        let x = sequence.x(lane);
        whole.line("lane", &[(x, TOP), (x, bottom)]);
        let wide = width(name) + 24.0;
        whole.rect("part", (x - wide / 2.0, 2.0), (wide, TOP - 6.0));
        whole.text((x, TOP - 13.0), "middle", "name", name);
    }
    whole.svg.push_str(&picture.svg);
    let drawn = !sequence.happenings.is_empty() && frames.is_empty();
    drawn.then(|| whole.finish("Sequence diagram", (wide, bottom + 4.0)))
}
