//! The hash chain of the audit log: what a link covers, and what breaks a chain.
//!
//! Each organisation has a chain of its own. Its first link is made of the organisation's name;
//! every further one is the SHA-256 of the link before it and of the entry in canonical JSON
//! (RFC 8785). *Invariant:* whoever computes a link and whoever checks it call the same function,
//! and nothing of an entry is left out of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{digest::Sha256, id::OrgId};

/// Place of an entry in its chain. The first entry has 1; 0 is the place before it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ChainPosition(pub u64);

impl ChainPosition {
    /// The next one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for ChainPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for ChainPosition {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// An audit entry as it is chained: one flat object of texts, each exactly as it is stored. The
/// fields stand in the order of their canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainedEntry {
    /// What, `noun.verb`.
    pub action: String,
    /// Who.
    pub actor: String,
    /// When, RFC 3339 in UTC with microseconds.
    pub at: String,
    /// The rest: the text of a JSON object.
    pub detail: String,
    /// Its id.
    pub id: String,
    /// The tenant that it is about.
    pub org: String,
    /// Network address that the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// To whom or what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Joins it to the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl ChainedEntry {
    /// The bytes that are chained: RFC 8785, because the names are sorted and every value is a
    /// text, which JSON escapes in one way here.
    pub fn canonical(&self) -> Vec<u8> {
        // A struct of strings always serialises.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// How far a chain goes, and its last link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// Place of the last entry.
    pub position: ChainPosition,
    /// Its link.
    pub link: Sha256,
}

impl ChainHead {
    /// The head of an organisation's chain before its first entry.
    pub fn genesis(org: &OrgId) -> Self {
        let link = Sha256::of(format!("argosy/audit-chain/v1/{org}").as_bytes());
        Self { position: ChainPosition::default(), link }
    }

    /// The head after one more entry.
    pub fn then(&self, entry: &ChainedEntry) -> Self {
        let link = Sha256::of(&[self.link.0.as_slice(), &entry.canonical()].concat());
        Self { position: self.position.next(), link }
    }
}

/// Where and how a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// The next entry is not there.
    #[error("the entry at position {position} is missing")]
    Missing {
        /// The first position without an entry.
        position: ChainPosition,
    },
    /// An entry stands at a position that was passed already.
    #[error("an entry at position {position} stands out of order")]
    OutOfOrder {
        /// Where it says that it stands.
        position: ChainPosition,
    },
    /// The entry and its link do not belong together.
    #[error("the entry at position {position} ({id}) is not the one that was chained there")]
    Changed {
        /// Where.
        position: ChainPosition,
        /// The id that the entry has now.
        id: String,
    },
    /// The entry belongs to another organisation.
    #[error("the entry at position {position} ({id}) is of another organisation")]
    Foreign {
        /// Where.
        position: ChainPosition,
        /// Its id.
        id: String,
    },
}

impl BrokenChain {
    /// The position that is blamed.
    pub fn position(&self) -> ChainPosition {
        match self {
            Self::Missing { position }
            | Self::OutOfOrder { position }
            | Self::Changed { position, .. }
            | Self::Foreign { position, .. } => *position,
        }
    }
}

/// Follows a chain from its beginning, entry by entry.
#[derive(Debug, Clone)]
pub struct ChainWalk {
    org: OrgId,
    head: ChainHead,
}

impl ChainWalk {
    /// Before the first entry of an organisation.
    pub fn new(org: OrgId) -> Self {
        Self { head: ChainHead::genesis(&org), org }
    }

    /// How far it came.
    pub fn head(&self) -> ChainHead {
        self.head
    }

    /// Takes the next entry with the place and the link that it claims.
    pub fn accept(
        &mut self,
        position: ChainPosition,
        link: Sha256,
        entry: &ChainedEntry,
    ) -> Result<(), BrokenChain> {
        let next = self.head.then(entry);
        if position > next.position {
            return Err(BrokenChain::Missing { position: next.position });
        }
        if position < next.position {
            return Err(BrokenChain::OutOfOrder { position });
        }
        let id = || entry.id.clone();
        if entry.org != self.org.as_str() {
            return Err(BrokenChain::Foreign { position, id: id() });
        }
        if link != next.link {
            return Err(BrokenChain::Changed { position, id: id() });
        }
        self.head = next;
        Ok(())
    }

    /// The chain ends here and says that it goes to `position`.
    pub fn end(&self, position: ChainPosition) -> Result<(), BrokenChain> {
        if position > self.head.position {
            return Err(BrokenChain::Missing { position: self.head.position.next() });
        }
        if position < self.head.position {
            return Err(BrokenChain::OutOfOrder { position: self.head.position });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> ChainedEntry {
        ChainedEntry {
            action: "agent.approved".into(),
            actor: "user:ada".into(),
            at: "2026-11-22T08:00:00.000000Z".into(),
            detail: "{}".into(),
            id: format!("e{n}"),
            org: "default".into(),
            source: None,
            target: Some(format!("agent:{n}")),
            trace_id: None,
        }
    }

    fn chain(count: u64) -> Vec<(ChainHead, ChainedEntry)> {
        let mut head = ChainHead::genesis(&OrgId::default_org());
        let mut made = Vec::new();
        for n in 1..=count {
            head = head.then(&entry(n));
            made.push((head, entry(n)));
        }
        made
    }

    fn walk(chain: &[(ChainHead, ChainedEntry)], end: u64) -> Result<(), BrokenChain> {
        let mut walk = ChainWalk::new(OrgId::default_org());
        for (head, entry) in chain {
            walk.accept(head.position, head.link, entry)?;
        }
        walk.end(ChainPosition(end))
    }

    fn blamed(chain: &[(ChainHead, ChainedEntry)], end: u64) -> BrokenChain {
        walk(chain, end).unwrap_err()
    }

    #[test]
    fn a_chain_is_followed_to_its_end() {
        assert_eq!(walk(&chain(5), 5), Ok(()));
        assert_eq!(walk(&[], 0), Ok(()));
    }

    #[test]
    fn whatever_is_done_to_a_chain_is_named_with_its_position() {
        let position = ChainPosition;
        let mut removed = chain(5);
        removed.remove(2);
        assert_eq!(blamed(&removed, 5), BrokenChain::Missing { position: position(3) });
        assert_eq!(blamed(&chain(3), 5), BrokenChain::Missing { position: position(4) });
        let mut swapped = chain(5);
        swapped.swap(1, 2);
        assert_eq!(blamed(&swapped, 5), BrokenChain::Missing { position: position(2) });
        let mut moved = chain(5);
        let (first, second) = (moved[1].1.clone(), moved[2].1.clone());
        (moved[1].1, moved[2].1) = (second, first);
        assert_eq!(blamed(&moved, 5).position(), position(2));
        let mut twice = chain(5);
        twice.insert(1, twice[0].clone());
        assert_eq!(blamed(&twice, 5), BrokenChain::OutOfOrder { position: position(1) });
        let mut foreign = chain(5);
        foreign[3].1.org = "other".into();
        assert_eq!(blamed(&foreign, 5).position(), position(4));
    }

    type Change = fn(&mut ChainedEntry);

    #[test]
    fn no_field_can_be_changed_added_or_left_out() {
        let changes: [Change; 8] = [
            |e| e.action.push('x'),
            |e| e.actor.push('x'),
            |e| e.at = e.at.replace("08", "09"),
            |e| e.detail = "{} ".into(),
            |e| e.id.push('x'),
            |e| e.source = Some(String::new()),
            |e| e.target = None,
            |e| e.trace_id = Some("t".into()),
        ];
        for change in changes {
            let mut changed = chain(3);
            change(&mut changed[1].1);
            assert_eq!(blamed(&changed, 3).position(), ChainPosition(2));
        }
    }

    #[test]
    fn two_organisations_have_nothing_in_common() {
        let other = "other".parse().unwrap();
        assert_ne!(ChainHead::genesis(&other), ChainHead::genesis(&OrgId::default_org()));
    }
}
