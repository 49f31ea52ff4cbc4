//! Users, their logins and passwords.

use serde::{Deserialize, Serialize};

use super::keys::Me;

/// Body of `POST /api/v1/users`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// 1 to 64 of `a-z 0-9 . _ @ + -`; capitals are read as small letters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
}

/// Body of `PATCH /api/v1/users/{id}`: what is absent stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct UpdateUser {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub name: Option<String>,
    /// Another role: `viewer`, `operator` or `admin`. Ends the user's sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Shuts the user out, with every session and key, or lets the user log in again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Replaces the password by one that the answer shows. Ends the user's sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_password: Option<bool>,
}

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The name at login.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// Shut out.
    pub disabled: bool,
    /// A new password is due at the next login.
    pub must_change_password: bool,
    /// Who made the user.
    pub created_by: String,
    /// When.
    pub created_at: String,
    /// The last login.
    pub last_login_at: Option<String>,
}

/// A user, with the password where this answer is the only one that ever shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserWithPassword {
    /// The user.
    #[serde(flatten)]
    pub about: User,
    /// Generated; shown once, good for one login, at which another one must be chosen.
    pub password: Option<String>,
}

/// Body of `POST /api/v1/auth/login`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Login {
    /// The user's name.
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub name: String,
    /// The password.
    #[cfg_attr(feature = "openapi", schema(max_length = 256))]
    pub password: String,
    /// The user's organisation; `default` where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
}

/// Body of `POST /api/v1/auth/setup`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Setup {
    /// As `argosyd user-link` printed it.
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub code: String,
    /// The name of the administrator that is made.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub name: String,
    /// The password, 12 to 256 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 12, max_length = 256))]
    pub password: String,
}

/// Body of `POST /api/v1/auth/password`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangePassword {
    /// The present password.
    #[cfg_attr(feature = "openapi", schema(max_length = 256))]
    pub current_password: String,
    /// The new one, 12 to 256 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 12, max_length = 256))]
    pub new_password: String,
}

/// Answer to a login. The session itself is in the cookie.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoggedIn {
    /// Who has logged in.
    #[serde(flatten)]
    pub me: Me,
    /// When the session ends, used or not.
    pub expires_at: String,
}

/// A login of the caller.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserSession {
    /// Its id.
    pub id: String,
    /// When the user logged in.
    pub created_at: String,
    /// The last call, to the minute.
    pub last_seen_at: String,
    /// When it ends, used or not.
    pub expires_at: String,
    /// Network address of the login.
    pub source: Option<String>,
    /// The one that asks.
    pub current: bool,
}

/// Answer of `GET /api/v1/auth/sessions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserSessions {
    /// Newest first.
    pub items: Vec<UserSession>,
}

macro_rules! opaque {
    ($($shape:ident),*) => {$(
        impl std::fmt::Debug for $shape {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($shape)).finish_non_exhaustive()
            }
        }
    )*};
}
// They hold secrets that people chose.
opaque!(Login, Setup, ChangePassword);
