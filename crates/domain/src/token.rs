//! Enrolment tokens: expiring, counted, revocable.

use crate::{
    id::{AccountId, OrgId, TokenId},
    labels::Labels,
    time::Timestamp,
};

/// How many machines a token admits, and how many it has admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seats {
    /// Taken so far.
    pub used: u32,
    /// Taken at most.
    pub max: u32,
}

/// What a token is good for at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStatus {
    /// Admits machines.
    Active,
    /// All seats are taken.
    UsedUp,
    /// Its time is over.
    Expired,
    /// An admin revoked it.
    Revoked,
}

impl TokenStatus {
    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::UsedUp => "used_up",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// An enrolment token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// Public part of the token string.
    pub id: TokenId,
    /// Its tenant.
    pub org: OrgId,
    /// Machines join this account; none leaves the choice to the machine.
    pub account: Option<AccountId>,
    /// For people.
    pub name: String,
    /// Who minted it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it stops admitting.
    pub expires_at: Timestamp,
    /// Seats.
    pub seats: Seats,
    /// Machines are approved without an operator.
    pub auto_approve: bool,
    /// Machines must prove a key; a raw token alone is refused.
    pub require_proof: bool,
    /// Given to each agent that uses it.
    pub labels: Labels,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl EnrolmentToken {
    /// What the token is good for at `now`.
    pub fn status(&self, now: Timestamp) -> TokenStatus {
        if self.revoked_at.is_some() {
            TokenStatus::Revoked
        } else if now >= self.expires_at {
            TokenStatus::Expired
        } else if self.seats.used >= self.seats.max {
            TokenStatus::UsedUp
        } else {
            TokenStatus::Active
        }
    }
}
