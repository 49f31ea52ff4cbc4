//! Sets of scopes, and what they grant.

use std::collections::BTreeSet;

use super::Permission;

/// A set of scopes: `noun:verb`, `noun:write` (every verb of the noun), `noun:*`, `*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(pub(super) BTreeSet<String>);

/// A text that is no scope of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such scope: {0}")]
pub struct UnknownScope(pub String);

impl Scopes {
    /// Checks scope names.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownScope> {
        let mut scopes = BTreeSet::new();
        for name in names {
            let known = name == "*"
                || Permission::ALL.into_iter().any(|permission| grants(name, permission));
            if !known {
                return Err(UnknownScope(name.to_owned()));
            }
            scopes.insert(name.to_owned());
        }
        Ok(Self(scopes))
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a permission is granted.
    pub fn grant(&self, permission: Permission) -> bool {
        self.iter().any(|scope| scope == "*" || grants(scope, permission))
    }

    /// What both grant. A set that the other covers stays as it is written.
    pub fn within(self, other: &Self) -> Self {
        if other.cover(&self) {
            return self;
        }
        let both = Permission::ALL.into_iter().filter(|p| self.grant(*p) && other.grant(*p));
        Self(both.map(|permission| permission.scope().to_owned()).collect())
    }

    /// Whether everything that `other` grants is granted here too.
    pub fn cover(&self, other: &Self) -> bool {
        let whole = |scopes: &Self| scopes.0.contains("*");
        (whole(self) || !whole(other))
            && Permission::ALL.into_iter().all(|p| !other.grant(p) || self.grant(p))
    }
}

fn grants(scope: &str, permission: Permission) -> bool {
    let wanted = permission.scope();
    if scope == wanted {
        return true;
    }
    match (scope.split_once(':'), wanted.split_once(':')) {
        (Some((noun, "write" | "*")), Some((wanted_noun, _))) => noun == wanted_noun,
        (Some(_) | None, Some(_) | None) => false,
    }
}
