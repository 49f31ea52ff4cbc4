//! The server's own keys: how they stand, and their rotation.

use serde::{Deserialize, Serialize};

use super::enrolment::{CosignedJson, SignedJson};

/// A key of the server: its public part, never more.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerKey {
    /// Use and serial, such as `command-2`; the `kid` of session tokens.
    pub id: String,
    /// `identity`, `command`, `federation`, `audit`, `session`.
    #[serde(rename = "use")]
    pub key_use: String,
    /// Rises with every rotation of the use.
    pub serial: i64,
    /// `next`, `active`, `retiring` (signs no more, what it signed holds) or `expired`.
    pub status: String,
    /// Raw public key, base64url; absent for session secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// SHA-256 of the raw public key, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbprint: Option<String>,
    /// The identity key's certificate, where the use has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SignedJson>,
    /// How this identity took over from the one before: a statement of purpose `successor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succession: Option<CosignedJson>,
    /// Counts from then on.
    pub not_before: String,
    /// Counts until then; absent while no end is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
}

/// Answer of `GET /api/v1/security/signing` and of a rotation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SigningKeys {
    /// Thumbprint of the identity key: what agents pin.
    pub thumbprint: String,
    /// Every key that the server still knows, by use and serial.
    pub keys: Vec<ServerKey>,
}

/// Body of `POST /api/v1/keys/rotate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotateKeys {
    /// Which keys to replace: `session`, `command`, `federation`, `audit`, `identity`. A new identity
    /// brings new keys of every use that it certifies.
    pub uses: Vec<String>,
}
