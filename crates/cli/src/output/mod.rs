//! Printing: the same value as a table for people or as JSON or YAML for programs.
//!
//! *Invariant:* colour is used on terminals only and never says anything that the words do not;
//! whatever came from outside is stripped of control characters before it reaches a terminal.

pub mod commands;
pub mod discovery;
pub mod fan_outs;
pub mod fleet;
pub mod inventory;
pub mod lists;
pub mod people;
pub mod subsystems;
pub mod table;
pub mod telemetry;
pub mod units;
pub mod updates;

use std::io::{self, Write as _};

use argosy_domain::time::{Clock, Timestamp};
use serde::Serialize;

use crate::{args::Format, error::CliError};

/// How people want to see things.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Standard output is a terminal that wants colour.
    pub colour: bool,
    /// What ages are counted from.
    pub now: Timestamp,
}

/// What a word means for the reader; adds colour to words that say it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// As it should be.
    Good,
    /// Look at it.
    Warn,
    /// Act on it.
    Bad,
    /// Beside the point.
    Dim,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
            Self::Dim => Some("2"),
        }
    }

    /// The tone of a state's name: of agents, health, commands, tokens, breakers, levels.
    pub fn of(word: &str) -> Self {
        match word {
            "approved" | "healthy" | "succeeded" | "active" | "closed" | "ok" => Self::Good,
            "pending" | "quarantined" | "stale" | "half_open" | "warning" | "used_up" => Self::Warn,
            "rejected" | "revoked" | "offline" | "failed" | "timed_out" | "lost" | "open"
            | "high" | "critical" => Self::Bad,
            "expired" | "cancelled" => Self::Dim,
            _ => Self::Plain,
        }
    }
}

impl View {
    /// `text` in the colour of `tone`, where there is colour.
    pub fn paint(&self, text: &str, tone: Tone) -> String {
        match tone.code() {
            Some(code) if self.colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Some(_) | None => text.to_owned(),
        }
    }

    /// A heading.
    pub fn heading(&self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Takes from a text what could steer a terminal: control characters and changes of the writing
/// direction.
pub fn clean(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// Prints in the format that was asked for.
#[derive(Clone, Copy)]
pub struct Printer {
    /// The format.
    pub format: Format,
    /// Standard output is a terminal that wants colour.
    pub colour: bool,
    /// What ages are counted with.
    pub clock: &'static dyn Clock,
}

impl Printer {
    /// How people see things at this moment.
    pub fn view(&self) -> View {
        View { colour: self.colour, now: self.clock.now() }
    }

    /// Prints a value; `text` draws it for people.
    pub fn show<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&View) -> String,
    ) -> Result<(), CliError> {
        let broken = |error: &dyn std::fmt::Display| CliError::Local(error.to_string());
        match self.format {
            Format::Table => self.line(text(&self.view()).trim_end()),
            Format::Json => {
                let json = serde_json::to_string_pretty(value).map_err(|e| broken(&e))?;
                self.line(&json)
            }
            Format::Yaml => {
                let yaml = yaml_serde::to_string(value).map_err(|e| broken(&e))?;
                self.line(yaml.trim_end())
            }
        }
    }

    /// Prints one thing of a series that does not end: a line of text, or a document of its own.
    pub fn event<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&View) -> String,
    ) -> Result<(), CliError> {
        match self.format {
            Format::Json => {
                let json = serde_json::to_string(value)
                    .map_err(|error| CliError::Local(error.to_string()))?;
                self.line(&json)
            }
            Format::Yaml => {
                self.line("---")?;
                self.show(value, text)
            }
            Format::Table => self.show(value, text),
        }
    }

    /// Says something beside the result, on standard error.
    pub fn note(&self, text: &str) {
        // Nobody can be told if this fails.
        drop(writeln!(io::stderr(), "{text}"));
    }

    fn line(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(CliError::Output)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A view without colour at a fixed moment.
    pub(crate) fn plain() -> View {
        View { colour: false, now: "2026-11-22T12:00:00Z".parse().unwrap() }
    }

    #[test]
    fn what_comes_from_outside_cannot_steer_the_terminal() {
        let shown = clean("web\u{1b}[2J\u{7}\u{9b}31m\n\u{202e}1");
        assert_eq!(shown, "web\u{fffd}[2J\u{fffd}\u{fffd}31m\u{fffd}\u{fffd}1");
        assert_eq!(clean("Zürich 東京"), "Zürich 東京");
    }

    #[test]
    fn colour_is_added_on_request_only() {
        let view = View { colour: true, ..plain() };
        assert_eq!(view.paint("failed", Tone::of("failed")), "\u{1b}[31mfailed\u{1b}[0m");
        assert_eq!(plain().paint("failed", Tone::Bad), "failed");
    }
}
