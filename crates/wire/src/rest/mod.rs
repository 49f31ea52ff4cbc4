//! The JSON shapes of the REST interface, one file per noun.
//!
//! Requests are read leniently where the interface promises it (absent fields, unknown fields of
//! other people's agents) and checked by the use case, so that a bad value is answered field by
//! field. Times are RFC 3339 in UTC, bytes base64url without padding, ids strings.

pub mod accounts;
pub mod agents;
pub mod audit;
pub mod check_in;
pub mod commands;
pub mod discovery;
pub mod enrolment;
pub mod events;
pub mod fan_outs;
pub mod inventory;
pub mod keys;
pub mod organisations;
pub mod security;
pub mod server_keys;
pub mod settings;
pub mod subsystems;
pub mod syncs;
pub mod system;
pub mod telemetry;
pub mod tokens;
pub mod updates;
pub mod users;

use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// At most `limit` items.
    pub items: Vec<T>,
    /// Pass as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
}
