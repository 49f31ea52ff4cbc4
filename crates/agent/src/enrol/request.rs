//! What a registration says.

use argosy_domain::{
    entropy::{Entropy, random_bytes},
    id::AccountId,
};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    rpc::gateway::{KeyDelivery, KeyUse, RegisterRequest, RegisteredKey, SignedStatement},
    sign::Signed,
    statement::EnrolmentStatement,
    token::TokenString,
};

use super::Pin;
use crate::{
    credentials::{Enrolling, SecretText},
    host,
    keys::Keys,
    transport::Link,
};

/// What a machine says about itself when it asks to join.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The agent's name.
    pub name: String,
    /// The account to join.
    pub account: AccountId,
    /// Salted with the server's thumbprint, where the host has one.
    pub machine_id: Option<Bytes32>,
    /// As the host calls itself.
    pub hostname: String,
    /// Such as `linux-amd64`.
    pub platform: String,
}

impl Machine {
    /// Signs a registration with a proof of `token`. Sends and stores nothing.
    pub fn apply(
        self,
        link: &Link,
        keys: &Keys,
        (token, pin): (&TokenString, &Pin),
        entropy: &dyn Entropy,
    ) -> Enrolling {
        let statement = EnrolmentStatement {
            server: pin.named,
            token_id: token.id.clone(),
            name: self.name.clone(),
            account_id: self.account,
            identity_key: keys.identity_public(),
            encryption_key: keys.encryption_public(),
            device_signing_key: None,
            machine_id: self.machine_id,
            hostname: self.hostname,
            platform: self.platform,
            version: host::VERSION.to_owned(),
            release_root_sha256: None,
            nonce: Fixed(random_bytes(entropy)),
        };
        let signed = Signed::new(&keys.identity(), &statement);
        Enrolling {
            server_url: link.url().to_string(),
            pin: pin.named,
            server_thumbprint: pin.thumbprint,
            token_id: token.id.clone(),
            proof: SecretText::new(token.prove(&signed.payload).to_text()),
            name: self.name,
            key_by_hand: false,
            statement: signed,
        }
    }
}

/// The contract's shape of a registration that was begun.
pub(super) fn request(begun: &Enrolling, statement: &EnrolmentStatement) -> RegisterRequest {
    let key = |usage: KeyUse, public_key: Bytes32| RegisteredKey {
        r#use: usage.into(),
        public_key: public_key.0.to_vec(),
        ..Default::default()
    };
    let signed = SignedStatement {
        payload: begun.statement.payload.clone(),
        signature: begun.statement.signature.0.to_vec(),
        ..Default::default()
    };
    RegisterRequest {
        enrollment_token: begun.proof.expose().to_owned(),
        name: begun.name.clone(),
        statement: Some(signed).into(),
        keys: vec![
            key(KeyUse::KEY_USE_IDENTITY, statement.identity_key),
            key(KeyUse::KEY_USE_ENCRYPTION, statement.encryption_key),
        ],
        key_delivery: if begun.key_by_hand {
            KeyDelivery::KEY_DELIVERY_OPERATOR
        } else {
            KeyDelivery::KEY_DELIVERY_DIRECT
        }
        .into(),
        ..Default::default()
    }
}
