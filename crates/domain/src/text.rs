//! Short human texts that arrive from outside: names and reasons.

use crate::limits::{NAME_CHARS_MAX, REASON_CHARS_MAX};

/// Why a text was not accepted. Displays as a sentence that can follow the field's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Empty, or white space only.
    #[error("must not be empty")]
    Empty,
    /// Longer than the field allows.
    #[error("must be at most {max} characters")]
    TooLong {
        /// Characters that the field allows.
        max: usize,
    },
    /// Holds a control character (line breaks included).
    #[error("must not contain control characters")]
    Control,
}

fn check(text: &str, max: usize) -> Result<String, InvalidText> {
    if text.trim().is_empty() {
        return Err(InvalidText::Empty);
    }
    if text.chars().count() > max {
        return Err(InvalidText::TooLong { max });
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidText::Control);
    }
    Ok(text.to_owned())
}

/// Checks a name: 1 to 255 characters, no control characters.
pub fn name(text: &str) -> Result<String, InvalidText> {
    check(text, NAME_CHARS_MAX)
}

/// Checks an operator's reason: 1 to 1,024 characters, no control characters.
pub fn reason(text: &str) -> Result<String, InvalidText> {
    check(text, REASON_CHARS_MAX)
}

/// Cuts a text to at most `chars_max` characters, for texts that a peer reports.
pub fn clip(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(name("web 1"), Ok("web 1".to_owned()));
        assert_eq!(name("  "), Err(InvalidText::Empty));
        assert_eq!(name("a\u{7}b"), Err(InvalidText::Control));
        assert_eq!(name(&"ä".repeat(255)), Ok("ä".repeat(255)));
        assert_eq!(name(&"ä".repeat(256)), Err(InvalidText::TooLong { max: 255 }));
    }
}
