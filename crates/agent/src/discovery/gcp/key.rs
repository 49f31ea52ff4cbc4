//! The key of a service account, which signs for a token (RFC 7523; RS256 of RFC 7518).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// A key that can sign.
pub(super) struct Key {
    id: Option<String>,
    key: Arc<dyn SigningKey>,
}

/// A text that is no RSA key in PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoKey;

impl Key {
    /// Reads a key.
    pub(super) fn parse(pem: &str, id: Option<&str>) -> Result<Self, NoKey> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| NoKey)?;
        let key = any_supported_type(&der).map_err(|_| NoKey)?;
        key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or(NoKey)?;
        Ok(Self { id: id.map(str::to_owned), key })
    }

    /// These claims as a signed token.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, NoKey> {
        let mut header = json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(id) = &self.id {
            header["kid"] = id.as_str().into();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let said = format!("{}.{}", part(&header), part(claims));
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or(NoKey)?;
        let signature = signer.sign(said.as_bytes()).map_err(|_| NoKey)?;
        Ok(format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
