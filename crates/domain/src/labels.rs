//! Labels: small key/value pairs on agents and tokens, for selectors and people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits::{LABEL_CHARS_MAX, LABELS_MAX};

/// Checked labels: at most 64, keys `[A-Za-z0-9._/-]`, values without control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

/// Labels that were not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// More than the limit.
    #[error("must hold at most {LABELS_MAX} labels")]
    TooMany,
    /// A key is empty, too long or has other characters.
    #[error("has a key that is not 1 to {LABEL_CHARS_MAX} characters of A-Z a-z 0-9 . _ / -")]
    Key,
    /// A value is too long or holds control characters.
    #[error("has a value that is too long or holds control characters")]
    Value,
}

impl Labels {
    /// The pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = InvalidLabels;
    fn try_from(map: BTreeMap<String, String>) -> Result<Self, InvalidLabels> {
        if map.len() > LABELS_MAX {
            return Err(InvalidLabels::TooMany);
        }
        for (key, value) in &map {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-');
            if !(1..=LABEL_CHARS_MAX).contains(&key.len()) || !key.bytes().all(plain) {
                return Err(InvalidLabels::Key);
            }
            if value.chars().count() > LABEL_CHARS_MAX || value.chars().any(char::is_control) {
                return Err(InvalidLabels::Value);
            }
        }
        Ok(Self(map))
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}
