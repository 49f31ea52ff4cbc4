//! What a call shows: an API key, or the login of a user. Usable in headers, invisible everywhere
//! else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An operator's API key. Never shown by `Debug`; serialised only into the profile file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

/// A text that cannot be an operator's key. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Nothing there.
    #[error("the key is empty")]
    Empty,
    /// White space or other characters that no key has.
    #[error("the key holds characters that no API key has")]
    Characters,
    /// `boot_…`
    #[error("that is an enrolment token, for machines; an API key begins with argosy_")]
    EnrolmentToken,
    /// `agent_…`
    #[error("that is an agent's key; an operator's API key begins with argosy_")]
    AgentKey,
}

impl Key {
    /// Reads a key as typed, pasted or kept in a file.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidKey::Characters);
        }
        if text.starts_with("boot_") {
            return Err(InvalidKey::EnrolmentToken);
        }
        if text.starts_with("agent_") {
            return Err(InvalidKey::AgentKey);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text, for the `Authorization` header.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A key as typed on the command line, not checked yet: the parser of the command line would
/// repeat what it refuses. Never shown by `Debug`.
#[derive(Clone)]
pub struct Typed(String);

impl Typed {
    /// Checks it.
    pub fn parse(&self) -> Result<Key, InvalidKey> {
        Key::parse(&self.0)
    }
}

impl From<&str> for Typed {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// The login of a user: its cookie and what goes with it. Never shown by `Debug`; serialised only
/// into the profile file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// `name=value` of the cookie.
    pub cookie: String,
    /// Goes with every call that changes something.
    pub csrf_token: String,
    /// When the login ends, used or not.
    pub expires_at: String,
}

/// What a call shows of whoever makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing yet: for logging in.
    Nothing,
    /// An API key.
    Key(Key),
    /// The login of a user.
    Session(Session),
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(…)")
    }
}

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Typed(…)")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidKey;
    fn try_from(text: String) -> Result<Self, InvalidKey> {
        Self::parse(&text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_trimmed_and_never_shown() {
        let key = Key::parse(" argosy_k1_secret\n").unwrap();
        assert_eq!(key.expose(), "argosy_k1_secret");
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_operators_key_is_told_apart() {
        assert_eq!(Key::parse(" "), Err(InvalidKey::Empty));
        assert_eq!(Key::parse("a b"), Err(InvalidKey::Characters));
        assert_eq!(Key::parse("boot_x"), Err(InvalidKey::EnrolmentToken));
        assert_eq!(Key::parse("agent_x"), Err(InvalidKey::AgentKey));
    }
}
