//! API keys of users and services.

use serde::{Deserialize, Serialize};

/// Body of `POST /api/v1/auth/keys`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateKey {
    /// For people.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub name: String,
    /// No more than the caller's own.
    #[cfg_attr(feature = "openapi", schema(min_items = 1))]
    pub scopes: Vec<String>,
    /// The service whose key it is, 1 to 64 of `a-z 0-9 . _ @ + -`; absent for a key of the caller's
    /// own, which dies with the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub service: Option<String>,
    /// At most 3,650; absent means no expiry, or that of the key that mints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 3650))]
    pub expires_in_days: Option<u32>,
}

/// A key without its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKey {
    /// Its id.
    pub id: String,
    /// How the key's text begins.
    pub prefix: String,
    /// For people.
    pub name: String,
    /// Whose it is.
    pub owner: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// When it dies.
    pub expires_at: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
    /// When it was revoked.
    #[serde(default)]
    pub revoked_at: Option<String>,
    /// Days since it was made.
    #[serde(default)]
    pub age_days: u32,
    /// It is so old, or so near its expiry, that another one should take its place.
    #[serde(default)]
    pub rotation_due: bool,
    /// Who minted it, where that is known.
    #[serde(default)]
    pub created_by: Option<String>,
    /// The key that minted it, and with which it dies.
    #[serde(default)]
    pub parent_id: Option<String>,
}

/// Answer of `POST /api/v1/auth/keys`. The only place that ever shows the key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedKey {
    /// `argosy_<id>_<secret>`; shown once.
    pub key: String,
    /// What was made.
    #[serde(flatten)]
    pub about: ApiKey,
}

/// Answer of `GET /api/v1/auth/me`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Me {
    /// Who the server takes the caller for.
    pub actor: String,
    /// The caller's organisation.
    pub organisation: String,
    /// What the caller may do.
    pub scopes: Vec<String>,
    /// The user who has logged in; absent for keys and agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<MyUser>,
}

/// The user behind a login.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MyUser {
    /// The user's id.
    pub id: String,
    /// The name at login.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// Nothing but a new password is accepted until there is one.
    pub must_change_password: bool,
    /// Goes into `X-CSRF-Token` with every call that changes something.
    pub csrf_token: String,
}
