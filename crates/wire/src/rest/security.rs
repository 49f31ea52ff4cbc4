//! Security events.

use serde::{Deserialize, Serialize};

/// What deserves a guard's eye. Repeats within an hour are one event with a count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecurityEvent {
    /// Its id.
    pub id: String,
    /// What was seen, such as `clone_detected`.
    pub kind: String,
    /// About which agent, where it is about one.
    pub agent_id: Option<String>,
    /// Network address that it came from.
    pub source: Option<String>,
    /// More about the last one.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub detail: serde_json::Value,
    /// When it was first seen, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub first_at: String,
    /// When it was last seen, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub last_at: String,
    /// How often.
    pub count: u64,
}
