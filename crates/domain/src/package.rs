//! Names, versions and architectures of operating system packages.
//!
//! *Invariant:* whatever has one of these types may stand as an argument of a package manager: it
//! begins with a letter or digit, so it is no option, and no manager reads its end as a wish to remove
//! or to install something else.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Characters of a name, a version or an architecture.
pub const PACKAGE_TEXT_CHARS_MAX: usize = 255;

/// A text that no package manager would call so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no {what}: {rule}")]
pub struct InvalidPackageText {
    what: &'static str,
    rule: &'static str,
}

fn fits(text: &str, others: &str) -> bool {
    text.len() <= PACKAGE_TEXT_CHARS_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

macro_rules! package_text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// As the package manager writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidPackageText;
            fn from_str(text: &str) -> Result<Self, InvalidPackageText> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidPackageText { what: $what, rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidPackageText;
            fn try_from(text: String) -> Result<Self, InvalidPackageText> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

package_text!(
    /// The name of a package, such as `libstdc++6`.
    PackageName,
    "package name",
    "1 to 255 of A-Z a-z 0-9 + . _ -, a letter or digit first, no - last",
    |text| fits(text, "+._-") && !text.ends_with('-')
);
package_text!(
    /// A version of a package, such as `1:5.2~rc1-2+deb12u1`.
    PackageVersion,
    "package version",
    "1 to 255 of A-Z a-z 0-9 + . : ~ ^ _ -, a letter or digit first and last",
    |text| fits(text, "+.:~^_-") && text.ends_with(|c: char| c.is_ascii_alphanumeric())
);
package_text!(
    /// What a package is built for, such as `amd64`, `all` or `noarch`.
    Architecture,
    "architecture",
    "1 to 255 of A-Z a-z 0-9 _ -, a letter or digit first and last",
    |text| fits(text, "_-") && text.ends_with(|c: char| c.is_ascii_alphanumeric())
);

/// One package of one host, and the version that it is to have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageStep {
    /// Its name.
    pub name: PackageName,
    /// What it is built for.
    pub architecture: Architecture,
    /// The version, exactly.
    pub version: PackageVersion,
}

impl fmt::Display for PackageStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.name, self.architecture, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_managers_call_their_packages_is_taken() {
        for name in ["bash", "g++", "libstdc++6", "0ad", "python3.11", "NetworkManager", "a_b"] {
            assert_eq!(name.parse::<PackageName>().unwrap().as_str(), name);
        }
        for version in ["1", "5.2.15-2+b7", "1:2.3~rc1-4", "0:1.0^git1-3.fc40", "2.36-9+deb12u9"] {
            assert_eq!(version.parse::<PackageVersion>().unwrap().to_string(), version);
        }
        assert!("x86_64".parse::<Architecture>().is_ok());
    }

    #[test]
    fn what_could_be_read_as_something_else_is_refused() {
        let long = "a".repeat(PACKAGE_TEXT_CHARS_MAX + 1);
        for name in ["", "-y", "bash-", "a b", "a=1", "a/b", "a;b", "a:amd64", "ä", "a\n", &long] {
            assert!(name.parse::<PackageName>().is_err(), "{name}");
        }
        for version in ["", "-1", "1-", "1+", "1~", "1 2", "1=2", "$(x)", "1\0"] {
            assert!(version.parse::<PackageVersion>().is_err(), "{version}");
        }
        assert!("amd64+".parse::<Architecture>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_becomes_an_option_or_two_words(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<PackageName>() {
                prop_assert!(!name.as_str().starts_with('-'));
                prop_assert!(!name.as_str().contains(char::is_whitespace));
            }
        }
    }
}
