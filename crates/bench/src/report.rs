//! What a scenario prints: the machine, its calibration before and after, the results, and what casts
//! doubt on them.

use std::{fmt::Write as _, io::Write as _};

use serde_json::{Map, Value, json};

use crate::{Outcome, calibrate::Calibration, host, scenario::Common};

/// Above this share of all cores a machine is busy.
const BUSY_MAX: f64 = 0.15;

/// A report that is being made.
pub(crate) struct Report {
    scenario: &'static str,
    json: bool,
    busy: Option<f64>,
    before: Option<Calibration>,
    results: Map<String, Value>,
    marks: Vec<String>,
}

impl Report {
    /// Looks at the machine before anything else happens.
    pub(crate) async fn begin(scenario: &'static str, common: &Common) -> Outcome<Self> {
        let mut marks = Vec::new();
        let (mut busy, mut before) = (None, None);
        if common.counts {
            marks.push("not calibrated: only counts and memory mean anything".to_owned());
        } else {
            let share = *busy.insert(host::busy().await?);
            before = Some(Calibration::take(&common.folder()?).await?);
            if share > BUSY_MAX {
                marks
                    .push(format!("the machine was busy before the start: {:.0} %", share * 100.0));
            }
        }
        if !host::is_pinned() {
            marks.push("server and generator share their core".to_owned());
        }
        if cfg!(debug_assertions) {
            marks.push("debug build: only counts mean anything".to_owned());
        }
        let (results, json) = (Map::new(), common.json);
        Ok(Self { scenario, json, busy, before, results, marks })
    }

    /// A figure over one of the calibration before the scenario; none where there is no such.
    pub(crate) fn over(&self, figure: &Value, of: impl Fn(&Calibration) -> f64) -> Option<f64> {
        Some(figure.as_f64()? / of(self.before.as_ref()?))
    }

    /// Keeps a result.
    pub(crate) fn put(&mut self, name: &str, result: impl Into<Value>) {
        self.results.insert(name.to_owned(), result.into());
    }

    /// Casts doubt on the results.
    pub(crate) fn mark(&mut self, doubt: impl Into<String>) {
        self.marks.push(doubt.into());
    }

    /// Looks at the machine once more, and prints everything.
    pub(crate) async fn end(mut self, common: &Common) -> Outcome<()> {
        let mut after = None;
        if let Some(before) = &self.before {
            let later = after.insert(Calibration::take(&common.folder()?).await?);
            for probe in before.moved(later) {
                self.marks.push(format!("the probe {probe} moved more than twofold"));
            }
        }
        let whole = json!({
            "scenario": self.scenario,
            "database": if common.database_url.is_some() { "postgres" } else { "sqlite" },
            "busy_before": self.busy,
            "file_limit": host::file_limit(),
            "calibration": { "before": self.before, "after": after },
            "results": self.results,
            "marks": self.marks,
        });
        let text = if self.json { format!("{whole:#}\n") } else { text(&whole) };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }
}

/// For people: one line for each figure, indented by where it belongs.
fn text(whole: &Value) -> String {
    let mut text = String::new();
    lines(&mut text, whole, 0);
    text
}

fn lines(text: &mut String, value: &Value, depth: usize) {
    let Value::Object(fields) = value else { return };
    let indent = "  ".repeat(depth);
    for (name, value) in fields {
        // Writing to a String does not fail.
        let _ = match value {
            Value::Null => Ok(()),
            Value::Object(_) => {
                let headed = writeln!(text, "{indent}{name}");
                lines(text, value, depth + 1);
                headed
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(cell).collect();
                writeln!(text, "{indent}{name:<32} {}", items.join("; "))
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                writeln!(text, "{indent}{name:<32} {}", cell(value))
            }
        };
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            if number.abs() < 100.0 { format!("{number:.3}") } else { format!("{number:.0}") }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// Median with minimum and maximum.
pub(crate) fn spread(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else { return Value::Null };
    json!({ "median": values[values.len() / 2], "min": least, "max": most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_line_by_line() {
        let whole = json!({ "a": { "n": 1.5, "none": null }, "marks": ["x", "y"], "n": 3 });
        assert_eq!(
            text(&whole).split_whitespace().collect::<Vec<_>>(),
            ["a", "n", "1.500", "marks", "x;", "y", "n", "3"]
        );
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), json!({ "median": 2.0, "min": 1.0, "max": 3.0 }));
    }
}
