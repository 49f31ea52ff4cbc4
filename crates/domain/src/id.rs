//! Identifiers: one type for each, so that none can stand in for another.
//!
//! Identifiers are text: a UUIDv7 (RFC 9562) where Argosy makes them, any short plain word where
//! the outside may choose them. *Invariant:* every value is 1 to [`ID_BYTES_MAX`] characters of
//! `A-Z a-z 0-9 . _ : -`, so an identifier needs no escaping in a URL, a log line or SQL.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{entropy::Entropy, limits::ID_BYTES_MAX, time::Clock};

/// A text that is no identifier. Its sentence does not name the field: whoever shows it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {ID_BYTES_MAX} characters of A-Z a-z 0-9 . _ : -")]
pub struct InvalidId {
    /// Which identifier was asked for, for example `agent id`.
    pub what: &'static str,
}

fn is_plain(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid.to_string().into())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_plain(text) { Ok(Self(text.into())) } else { Err(InvalidId { what: $what }) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// An organisation, the tenant that every row belongs to.
    OrgId, "organisation id"
);
text_id!(
    /// One enrolled agent.
    AgentId, "agent id"
);
text_id!(
    /// An enrolment token (the public part of it; the secret is no identifier).
    TokenId, "token id"
);
text_id!(
    /// A command; 1 to 128 characters.
    CommandId, "command id"
);
text_id!(
    /// One order to many agents.
    FanOutId, "fan-out id"
);
text_id!(
    /// One approval of operating system packages.
    ApprovalId, "approval id"
);
text_id!(
    /// An API key of a user, a service or an agent (the public part of it).
    ApiKeyId, "key id"
);
text_id!(
    /// A session of an agent.
    SessionId, "session id"
);
text_id!(
    /// A person who logs in.
    UserId, "user id"
);
text_id!(
    /// A login of a user.
    UserSessionId, "session id"
);
text_id!(
    /// A discovery sync job.
    SyncJobId, "sync job id"
);
text_id!(
    /// A discovered cloud resource, as Argosy numbers it (not the provider's own id).
    ResourceRowId, "resource id"
);
text_id!(
    /// The journal of one agent's state directory; a new one proves a lost disk.
    JournalId, "journal id"
);
text_id!(
    /// A batch of telemetry or events, as its agent numbers it; it counts once however often it
    /// arrives.
    BatchId, "batch id"
);
text_id!(
    /// An event of an agent, as the agent numbers it.
    EventId, "event id"
);
text_id!(
    /// A public key of the server: `<use>-<serial>`.
    KeyId, "key id"
);

impl OrgId {
    /// The organisation that exists from the start.
    pub fn default_org() -> Self {
        Self("default".into())
    }
}

/// A cloud account or site; an integer because integrations store it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(pub i64);

impl AccountId {
    /// Account `default` of the first organisation.
    pub const DEFAULT: Self = Self(1);
}

impl FromStr for AccountId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse().map(Self).map_err(|_| InvalidId { what: "account id" })
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Makes UUIDv7 identifiers from an injected clock and injected randomness.
#[derive(Clone)]
pub struct IdSource {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl IdSource {
    /// A source that reads `clock` for the first 48 bits and `entropy` for the rest.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy }
    }

    /// A fresh UUIDv7 (RFC 9562, section 5.7).
    pub fn uuid(&self) -> Uuid {
        let mut random = [0; 10];
        self.entropy.fill(&mut random);
        let millis = u64::try_from(self.clock.now().as_micros() / 1000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// A fresh identifier of the kind that is asked for.
    pub fn fresh<T: From<Uuid>>(&self) -> T {
        self.uuid().into()
    }
}

impl fmt::Debug for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdSource")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_accept_plain_words_only() {
        assert!("node-7.eu:a_b".parse::<AgentId>().is_ok());
        for bad in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(129)] {
            assert_eq!(bad.parse::<AgentId>(), Err(InvalidId { what: "agent id" }), "{bad:?}");
        }
    }

    #[test]
    fn a_json_id_is_checked_when_read() {
        assert!(serde_json::from_str::<AgentId>("\"../x\"").is_err());
        assert_eq!(serde_json::from_str::<AgentId>("\"x1\"").unwrap().as_str(), "x1");
    }
}
