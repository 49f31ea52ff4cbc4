//! Organisations: the tenants of an installation.

use serde::{Deserialize, Serialize};

use super::users::UserWithPassword;

/// Body of `PATCH /api/v1/organisations/{id}`: what is absent stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateOrganisation {
    /// Another name, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub name: Option<String>,
    /// Shuts everybody of the organisation out, its agents too, or lets them in again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// Body of `POST /api/v1/organisations`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateOrganisation {
    /// Names it wherever it is named: 1 to 64 of `a-z 0-9 -`, beginning with a letter or digit.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub id: String,
    /// For people.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub name: String,
    /// The name of its first administrator.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub admin: String,
}

/// An organisation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Organisation {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// When it was made.
    pub created_at: String,
    /// Everybody of it is shut out.
    #[serde(default)]
    pub disabled: bool,
}

/// Answer of `POST /api/v1/organisations`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedOrganisation {
    /// The organisation.
    #[serde(flatten)]
    pub about: Organisation,
    /// Number of its first account, `default`.
    pub account_id: i64,
    /// Its first administrator, with the generated password, which this answer alone shows.
    pub admin: UserWithPassword,
}
