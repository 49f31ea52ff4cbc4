//! Agents: how one joins, stays, and leaves.
//!
//! *Invariant:* only [`AgentState::Approved`] and [`AgentState::Quarantined`] ever held a
//! credential that works; every other state is reached without one or by losing it.

use std::fmt;

use crate::{
    digest::{Fingerprint, Sha256},
    id::{AccountId, AgentId, OrgId, TokenId},
    labels::Labels,
    limits::{HEALTHY_WITHIN, STALE_WITHIN},
    review::{Appearance, KeyDelivery, Review},
    time::Timestamp,
};

/// Who decided something: written into the record as it was at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decider(pub String);

impl fmt::Display for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An approval as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// An operator, `token:<id>` or `server`.
    pub by: Decider,
    /// When.
    pub at: Timestamp,
    /// The fingerprint that was compared, where one was.
    pub fingerprint: Option<Fingerprint>,
}

/// A decision that closed something, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    /// Who.
    pub by: Decider,
    /// When.
    pub at: Timestamp,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// Where an agent stands. Each state owns what is true only in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentState {
    /// Registered, waiting for an operator.
    Pending {
        /// When it registered.
        since: Timestamp,
    },
    /// Admitted.
    Approved(Approval),
    /// Admitted, but nothing is handed out to it; its work runs on.
    Quarantined {
        /// The approval that still stands.
        approval: Approval,
        /// Who quarantined it, when and why.
        closure: Closure,
    },
    /// An operator said no.
    Rejected(Closure),
    /// Nobody answered in time.
    Expired {
        /// When it lapsed.
        at: Timestamp,
    },
    /// Its enrolment token was revoked before an answer.
    Cancelled {
        /// When.
        at: Timestamp,
    },
    /// Was admitted once and is not any more.
    Revoked(Closure),
}

/// The name of a state, for filters and wire shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentStatus {
    /// See [`AgentState::Pending`].
    Pending,
    /// See [`AgentState::Approved`].
    Approved,
    /// See [`AgentState::Quarantined`].
    Quarantined,
    /// See [`AgentState::Rejected`].
    Rejected,
    /// See [`AgentState::Expired`].
    Expired,
    /// See [`AgentState::Cancelled`].
    Cancelled,
    /// See [`AgentState::Revoked`].
    Revoked,
}

impl AgentStatus {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Approved,
        Self::Quarantined,
        Self::Rejected,
        Self::Expired,
        Self::Cancelled,
        Self::Revoked,
    ];

    /// The stored and public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Quarantined => "quarantined",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Revoked => "revoked",
        }
    }

    /// The status of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether name and identity key are still taken by an agent in this state.
    pub fn is_live(self) -> bool {
        match self {
            Self::Pending | Self::Approved | Self::Quarantined => true,
            Self::Rejected | Self::Expired | Self::Cancelled | Self::Revoked => false,
        }
    }
}

/// A transition that the present state does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an agent that is {} cannot become {to}", from.as_str())]
pub struct InvalidTransition {
    /// The state it is in.
    pub from: AgentStatus,
    /// The state that was asked for.
    pub to: &'static str,
}

impl AgentState {
    /// The name of the state.
    pub fn status(&self) -> AgentStatus {
        match self {
            Self::Pending { .. } => AgentStatus::Pending,
            Self::Approved(_) => AgentStatus::Approved,
            Self::Quarantined { .. } => AgentStatus::Quarantined,
            Self::Rejected(_) => AgentStatus::Rejected,
            Self::Expired { .. } => AgentStatus::Expired,
            Self::Cancelled { .. } => AgentStatus::Cancelled,
            Self::Revoked(_) => AgentStatus::Revoked,
        }
    }

    /// The approval in force, or the one that stood before quarantine.
    pub fn approval(&self) -> Option<&Approval> {
        match self {
            Self::Approved(approval) | Self::Quarantined { approval, .. } => Some(approval),
            Self::Pending { .. }
            | Self::Rejected(_)
            | Self::Expired { .. }
            | Self::Cancelled { .. }
            | Self::Revoked(_) => None,
        }
    }

    fn refuse(&self, to: &'static str) -> InvalidTransition {
        InvalidTransition { from: self.status(), to }
    }

    /// Pending → approved.
    pub fn approve(self, approval: Approval) -> Result<Self, InvalidTransition> {
        match self {
            Self::Pending { .. } => Ok(Self::Approved(approval)),
            Self::Approved(_)
            | Self::Quarantined { .. }
            | Self::Rejected(_)
            | Self::Expired { .. }
            | Self::Cancelled { .. }
            | Self::Revoked(_) => Err(self.refuse("approved")),
        }
    }

    /// Pending → rejected.
    pub fn reject(self, closure: Closure) -> Result<Self, InvalidTransition> {
        match self {
            Self::Pending { .. } => Ok(Self::Rejected(closure)),
            Self::Approved(_)
            | Self::Quarantined { .. }
            | Self::Rejected(_)
            | Self::Expired { .. }
            | Self::Cancelled { .. }
            | Self::Revoked(_) => Err(self.refuse("rejected")),
        }
    }

    /// Pending → expired.
    pub fn expire(self, at: Timestamp) -> Result<Self, InvalidTransition> {
        match self {
            Self::Pending { .. } => Ok(Self::Expired { at }),
            Self::Approved(_)
            | Self::Quarantined { .. }
            | Self::Rejected(_)
            | Self::Expired { .. }
            | Self::Cancelled { .. }
            | Self::Revoked(_) => Err(self.refuse("expired")),
        }
    }

    /// Pending → cancelled.
    pub fn cancel(self, at: Timestamp) -> Result<Self, InvalidTransition> {
        match self {
            Self::Pending { .. } => Ok(Self::Cancelled { at }),
            Self::Approved(_)
            | Self::Quarantined { .. }
            | Self::Rejected(_)
            | Self::Expired { .. }
            | Self::Cancelled { .. }
            | Self::Revoked(_) => Err(self.refuse("cancelled")),
        }
    }

    /// Approved → quarantined.
    pub fn quarantine(self, closure: Closure) -> Result<Self, InvalidTransition> {
        match self {
            Self::Approved(approval) => Ok(Self::Quarantined { approval, closure }),
            Self::Pending { .. }
            | Self::Quarantined { .. }
            | Self::Rejected(_)
            | Self::Expired { .. }
            | Self::Cancelled { .. }
            | Self::Revoked(_) => Err(self.refuse("quarantined")),
        }
    }

    /// Quarantined → approved again, under the approval that stood before.
    pub fn restore(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Quarantined { approval, .. } => Ok(Self::Approved(approval)),
            Self::Pending { .. }
            | Self::Approved(_)
            | Self::Rejected(_)
            | Self::Expired { .. }
            | Self::Cancelled { .. }
            | Self::Revoked(_) => Err(self.refuse("approved")),
        }
    }

    /// Approved or quarantined → revoked.
    pub fn revoke(self, closure: Closure) -> Result<Self, InvalidTransition> {
        match self {
            Self::Approved(_) | Self::Quarantined { .. } => Ok(Self::Revoked(closure)),
            Self::Pending { .. }
            | Self::Rejected(_)
            | Self::Expired { .. }
            | Self::Cancelled { .. }
            | Self::Revoked(_) => Err(self.refuse("revoked")),
        }
    }
}

/// What an agent has proved about itself. Never falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assurance {
    /// A bearer secret only; for agents that cannot sign.
    ApiKey,
    /// Possession of its identity key.
    ProofOfPossession,
}

impl Assurance {
    /// The stored and public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::ProofOfPossession => "proof_of_possession",
        }
    }

    /// The assurance of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::ApiKey, Self::ProofOfPossession].into_iter().find(|a| a.as_str() == text)
    }
}

/// How far the calls of an agent reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// As far as it is allowed.
    Full,
    /// Older than the minimum version: heartbeats, and what it needs to become newer.
    UpdateOnly,
}

impl Reach {
    /// The public name: a session's scope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::UpdateOnly => "update_only",
        }
    }
}

/// What follows from the age of the last heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Younger than 5 minutes.
    Healthy,
    /// Younger than 15 minutes.
    Stale,
    /// Older, or never seen.
    Offline,
}

impl Health {
    /// The health at `now` of an agent last seen at `last_seen`.
    pub fn at(now: Timestamp, last_seen: Option<Timestamp>) -> Self {
        match last_seen.map(|seen| now.since(seen)) {
            Some(age) if age < HEALTHY_WITHIN => Self::Healthy,
            Some(age) if age < STALE_WITHIN => Self::Stale,
            Some(_) | None => Self::Offline,
        }
    }

    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Stale => "stale",
            Self::Offline => "offline",
        }
    }

    /// The health of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Healthy, Self::Stale, Self::Offline].into_iter().find(|h| h.as_str() == text)
    }
}

/// The keys and claims of an enrolment statement that the server keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentIdentity {
    /// Raw Ed25519 public key.
    pub identity_key: [u8; 32],
    /// Raw X25519 public key.
    pub encryption_key: [u8; 32],
    /// What operator and host compare.
    pub fingerprint: Fingerprint,
    /// Digest of the statement; the same statement sent twice is one registration.
    pub statement_sha256: Sha256,
    /// The agent's salted machine id, where it has one.
    pub machine_id: Option<String>,
}

/// One agent as the server keeps it. Presence (last seen, connected) is kept apart, because it
/// changes with every heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its tenant.
    pub org: OrgId,
    /// The account it belongs to.
    pub account: AccountId,
    /// Unique among live agents of the organisation.
    pub name: String,
    /// Where it stands.
    pub state: AgentState,
    /// Present exactly when it enrolled with keys.
    pub identity: Option<AgentIdentity>,
    /// Its version as last reported.
    pub version: Option<String>,
    /// Such as `linux-amd64`.
    pub platform: Option<String>,
    /// As the host calls itself.
    pub hostname: Option<String>,
    /// From the token and from operators.
    pub labels: Labels,
    /// The enrolment token that it used.
    pub token: Option<TokenId>,
    /// Network address that the registration came from.
    pub source: Option<String>,
    /// When it registered.
    pub registered_at: Timestamp,
    /// Rises with every change that voids credentials; sessions name it.
    pub epoch: i64,
    /// Who is shown its API key.
    pub key_delivery: KeyDelivery,
    /// From where it last proved its key.
    pub last_origin: Option<Appearance>,
    /// What an operator should look at.
    pub review: Option<Review>,
}

impl Agent {
    /// What it has proved.
    pub fn assurance(&self) -> Assurance {
        if self.identity.is_some() { Assurance::ProofOfPossession } else { Assurance::ApiKey }
    }
}

#[cfg(test)]
mod tests;
