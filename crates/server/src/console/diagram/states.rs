//! States: one below the other in the order in which they are named, and the ways between them at
//! their right, each in a lane of its own, so that nothing lies upon anything else.

use super::{LINE, Picture, width};

/// Left of the states.
const LEFT: f64 = 34.0;
/// Between the end of a label and the first lane, and between lanes.
const LANE: f64 = 14.0;
/// Between two states.
const GAP: f64 = 30.0;

/// A way from a state to another.
struct Way {
    from: usize,
    /// None: it is over.
    to: Option<usize>,
    text: String,
}

#[derive(Default)]
struct States {
    names: Vec<String>,
    /// Where it begins.
    first: Vec<usize>,
    ways: Vec<Way>,
}

impl States {
    fn state(&mut self, name: &str) -> usize {
        let known = self.names.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    /// Takes a line; none where it is not understood.
    fn take(&mut self, line: &str) -> Option<()> {
        let (from, rest) = line.split_once("-->")?;
        let (to, text) = rest.split_once(':').unwrap_or((rest, ""));
        let (from, to) = (from.trim(), to.trim());
        if from == "[*]" {
            let first = self.state(to);
            self.first.push(first);
            return Some(());
        }
        let from = self.state(from);
        let to = (to != "[*]").then(|| self.state(to));
        self.ways.push(Way { from, to, text: text.trim().to_owned() });
        Some(())
    }

    /// Whether a way simply goes down to the next state.
    fn goes_down(way: &Way) -> bool {
        way.to == Some(way.from + 1)
    }

    /// How many ways meet at the right of a state.
    fn slots(&self, state: usize) -> usize {
        let beside = self.ways.iter().filter(|way| !Self::goes_down(way));
        beside.map(|way| usize::from(way.from == state) + usize::from(way.to == Some(state))).sum()
    }
}

/// Where a state stands, and which of its slots at the right are taken.
struct Place {
    top: f64,
    high: f64,
    taken: f64,
}

impl Place {
    fn slot(&mut self) -> f64 {
        self.taken += 1.0;
        self.top + self.taken * (LINE + 2.0) - 4.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn places(states: &States) -> Vec<Place> {
    let mut y = 12.0;
    let place = |state| {
        let high = (states.slots(state) as f64 * (LINE + 2.0) + 8.0).max(30.0);
        let top = y;
        y += high + GAP;
        Place { top, high, taken: 0.0 }
    };
    (0..states.names.len()).map(place).collect()
}

/// A way beside the states: out at the right, along its lane, and back in.
fn beside(picture: &mut Picture, places: &mut [Place], way: &Way, (right, lane): (f64, f64)) {
    let out = places[way.from].slot();
    picture.text((right + 12.0, out - 4.0), "start", "said", &way.text);
    let Some(to) = way.to else {
        let end = right + 24.0 + width(&way.text);
        picture.line("message", &[(right, out), (end, out)]);
        picture.dot((end, out));
        return;
    };
    let back = places[to].slot();
    picture.line("message", &[(right, out), (lane, out), (lane, back), (right, back)]);
    picture.head((right + 1.0, back), false);
}

/// The diagram; none where a line is not understood.
pub(super) fn drawn<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut states = States::default();
    for line in lines {
        states.take(line)?;
    }
    let widest = |texts: &mut dyn Iterator<Item = &String>| {
        texts.map(|text| width(text)).fold(0.0, f64::max)
    };
    let wide = widest(&mut states.names.iter()) + 28.0;
    let right = LEFT + wide;
    let labels = right + 12.0 + widest(&mut states.ways.iter().map(|way| &way.text)) + 16.0;
    let (mut picture, mut places) = (Picture::default(), places(&states));
    let mut lane = labels;
    for way in &states.ways {
        if States::goes_down(way) {
            let (above, below) = (&places[way.from], &places[way.from + 1]);
            let (x, top, bottom) = (LEFT + wide / 2.0, above.top + above.high, below.top);
            picture.line("message", &[(x, top), (x, bottom)]);
            picture.head_down((x, bottom - 1.0));
            picture.text((x + 10.0, (top + bottom) / 2.0 + 4.0), "start", "said", &way.text);
            continue;
        }
        beside(&mut picture, &mut places, way, (right, lane));
        lane += if way.to.is_some() { LANE } else { 0.0 };
    }
    for (state, name) in states.names.iter().enumerate() {
        let Place { top, high, .. } = places[state];
        picture.rect("part", (LEFT, top), (wide, high));
        picture.text((LEFT + wide / 2.0, top + high / 2.0 + 4.0), "middle", "name", name);
        if states.first.contains(&state) {
            let y = top + high / 2.0;
            picture.dot((8.0, y));
            picture.line("message", &[(8.0, y), (LEFT, y)]);
            picture.head((LEFT - 1.0, y), true);
        }
    }
    let bottom = places.last()?;
    let size = (lane + 8.0, bottom.top + bottom.high + 12.0);
    Some(picture.finish("State diagram", size))
}
