//! Accounts: the cloud accounts and sites that agents and resources belong to.

use serde::{Deserialize, Serialize};

/// An account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Account {
    /// Its number.
    pub id: i64,
    /// For people.
    pub name: String,
    /// Such as `aws`.
    pub provider: Option<String>,
    /// The provider's own id of it.
    pub external_id: Option<String>,
    /// Regions in use.
    pub regions: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// When a run of discovery last read something of it whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_at: Option<String>,
}

/// Body of `POST /api/v1/accounts`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateAccount {
    /// For people; unique in the organisation.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub name: String,
    /// Such as `aws`, where it is a cloud account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub provider: Option<String>,
    /// The provider's own id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub external_id: Option<String>,
    /// Regions in use, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub regions: Vec<String>,
}

/// Body of `PATCH /api/v1/accounts/{id}`: what is absent stays as it is, and an empty text takes away.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateAccount {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub name: Option<String>,
    /// Another provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub provider: Option<String>,
    /// Another id at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub external_id: Option<String>,
    /// Other regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub regions: Option<Vec<String>>,
}
