//! Signed tokens with any header and any claims.

use argosy_wire::bytes::{decode, encode};
use ed25519_dalek::{Signer as _, SigningKey};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;

/// Header and claims of a JWS.
pub(crate) fn parts(jws: &str) -> [Value; 2] {
    let part = |text: &str| serde_json::from_slice(&decode(text).unwrap()).unwrap();
    let mut texts = jws.split('.');
    [part(texts.next().unwrap()), part(texts.next().unwrap())]
}

/// What is signed: header and claims, without a signature.
pub(crate) fn signing_input(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| encode(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

/// A JWS with any header, signed with Ed25519 whatever the header says.
pub(crate) fn jws(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let input = signing_input(header, claims);
    let signature = encode(&key.sign(input.as_bytes()).to_bytes());
    format!("{input}.{signature}")
}

/// A JWS signed with a secret.
pub(crate) fn hmac_jws(
    secret: &[u8],
    header: &Value,
    claims: &Value,
    algorithm: Algorithm,
) -> String {
    let input = signing_input(header, claims);
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, algorithm).unwrap();
    format!("{input}.{signature}")
}

/// A change of one field.
pub(crate) fn with(value: &Value, field: &str, change: Value) -> Value {
    let mut value = value.clone();
    value[field] = change;
    value
}
