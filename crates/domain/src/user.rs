//! Users: people who log in with a name and a password.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    access::Role,
    id::{OrgId, UserId},
    time::Timestamp,
};

/// Characters of a user's name.
pub const USER_NAME_CHARS_MAX: usize = 64;
/// Characters of a password at least.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Characters of a password at most.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// The name that a user logs in with. *Invariant:* 1 to 64 of `a-z 0-9 . _ @ + -`, beginning with a
/// letter or a digit; what is written in capitals is the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

/// A text that is no user name. Displays as a sentence that can follow the field's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {USER_NAME_CHARS_MAX} of a-z 0-9 . _ @ + - and begin with a letter or digit")]
pub struct InvalidUserName;

impl UserName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = InvalidUserName;
    fn from_str(text: &str) -> Result<Self, InvalidUserName> {
        let name = text.to_ascii_lowercase();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".@_+-".contains(&b);
        let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if begins && name.len() <= USER_NAME_CHARS_MAX && name.bytes().all(plain) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidUserName)
        }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a password was not accepted. Displays as a sentence that can follow the field's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Too short or too long.
    #[error("must have {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")]
    Length,
    /// Holds the user's name, or one character only.
    #[error("must be harder to guess than that")]
    Guessable,
    /// The password that is being replaced.
    #[error("must not be the old one")]
    Unchanged,
}

/// Checks a password that somebody chose.
pub fn check_password(password: &str, name: &UserName) -> Result<(), WeakPassword> {
    if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&password.chars().count()) {
        return Err(WeakPassword::Length);
    }
    let lower = password.to_lowercase();
    let mut rest = lower.chars();
    let first = rest.next();
    let one_character = rest.all(|c| Some(c) == first);
    let named = name.as_str().len() * 2 >= lower.len() && lower.contains(name.as_str());
    if one_character || named { Err(WeakPassword::Guessable) } else { Ok(()) }
}

/// A user without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// The tenant.
    pub org: OrgId,
    /// The name at login.
    pub name: UserName,
    /// What the user may do.
    pub role: Role,
    /// Nothing but a new password is accepted until there is one.
    pub must_change_password: bool,
    /// Rises whenever every session must end.
    pub epoch: i64,
    /// Who made the user.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// The last login.
    pub last_login_at: Option<Timestamp>,
    /// Since when the user is shut out.
    pub disabled_at: Option<Timestamp>,
}

impl User {
    /// The name that audit entries carry.
    pub fn actor(&self) -> String {
        format!("user:{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_have_no_case() {
        let name: UserName = "Ada.L+x@Example-1".parse().unwrap();
        assert_eq!(name.as_str(), "ada.l+x@example-1");
        for bad in ["", " ada", "ada b", ".ada", "ädа", "a:b", "a/b", &"a".repeat(65)] {
            assert_eq!(bad.parse::<UserName>(), Err(InvalidUserName), "{bad:?}");
        }
    }

    #[test]
    fn passwords_are_long_and_no_mere_name() {
        let name: UserName = "ada.lovelace".parse().unwrap();
        assert_eq!(check_password("correct horse", &name), Ok(()));
        assert_eq!(check_password("short", &name), Err(WeakPassword::Length));
        assert_eq!(check_password(&"x".repeat(257), &name), Err(WeakPassword::Length));
        assert_eq!(check_password(&"ä".repeat(12), &name), Err(WeakPassword::Guessable));
        assert_eq!(check_password("Ada.Lovelace1", &name), Err(WeakPassword::Guessable));
    }
}
