//! The identity key as the authority of the server's own TLS certificate (`tls = self`).

use std::sync::Arc;

use ed25519_dalek::Signer as _;
use rcgen::{Error, PKCS_ED25519, PublicKeyData, SignatureAlgorithm, SigningKey};

use super::Keyring;

/// First byte of what is signed in a certificate: a SEQUENCE in DER (RFC 5280, section 4.1). A
/// statement begins with the name of DSSE, so neither ever passes for the other.
const SEQUENCE: u8 = 0x30;

/// Signs certificates, and nothing else.
pub struct TlsAuthority {
    keyring: Arc<Keyring>,
}

impl TlsAuthority {
    /// The identity key of a keyring.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        Self { keyring }
    }
}

impl PublicKeyData for TlsAuthority {
    fn der_bytes(&self) -> &[u8] {
        &self.keyring.identity_public.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for TlsAuthority {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        if message.first() == Some(&SEQUENCE) {
            Ok(self.keyring.identity.sign(message).to_bytes().to_vec())
        } else {
            Err(Error::RemoteKeyError)
        }
    }
}
