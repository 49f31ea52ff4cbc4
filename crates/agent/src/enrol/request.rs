//! What a registration says.

use argosy_wire::{
    bytes::Bytes32,
    rpc::gateway::{KeyDelivery, KeyUse, RegisterRequest, RegisteredKey, SignedStatement},
    statement::EnrolmentStatement,
};

use crate::credentials::Enrolling;

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
