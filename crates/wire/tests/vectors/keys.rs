//! The keys of the vectors. They are public: no server and no agent may ever use them.

use argosy_wire::{bytes::Bytes32, bytes::Fixed, dpop, sign};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

/// A key that is made from a seed everybody knows.
pub(crate) struct VectorKey {
    /// How the other vectors call it.
    pub(crate) name: &'static str,
    seed: u8,
}

pub(crate) const SERVER_IDENTITY: VectorKey = VectorKey { name: "server-identity", seed: 1 };
pub(crate) const SERVER_COMMAND: VectorKey = VectorKey { name: "server-command", seed: 2 };
pub(crate) const AGENT_IDENTITY: VectorKey = VectorKey { name: "agent-identity", seed: 3 };
pub(crate) const AGENT_DEVICE: VectorKey = VectorKey { name: "agent-device-signing", seed: 4 };
pub(crate) const STRANGER: VectorKey = VectorKey { name: "stranger", seed: 5 };

pub(crate) const SERVER_AUDIT: VectorKey = VectorKey { name: "server-audit", seed: 6 };
/// What takes the place of the server's identity key.
pub(crate) const SERVER_SUCCESSOR: VectorKey = VectorKey { name: "server-successor", seed: 7 };
/// What takes the place of the agent's identity key.
pub(crate) const AGENT_SUCCESSOR: VectorKey = VectorKey { name: "agent-successor", seed: 8 };

const ALL: [VectorKey; 8] = [
    SERVER_IDENTITY,
    SERVER_COMMAND,
    AGENT_IDENTITY,
    AGENT_DEVICE,
    STRANGER,
    SERVER_AUDIT,
    SERVER_SUCCESSOR,
    AGENT_SUCCESSOR,
];

impl VectorKey {
    pub(crate) fn signer(&self) -> SigningKey {
        SigningKey::from_bytes(&[self.seed; 32])
    }

    pub(crate) fn public(&self) -> Bytes32 {
        Fixed(self.signer().verifying_key().to_bytes())
    }
}

/// `keys.json`.
pub(crate) fn document() -> Value {
    let keys = ALL.map(|key| {
        let public = key.public();
        json!({
            "name": key.name,
            "seed": Fixed([key.seed; 32]).to_string(),
            "public_key": public.to_string(),
            "pin": sign::thumbprint(&public).to_string(),
            "jkt": dpop::key_thumbprint(&public).to_string(),
        })
    });
    json!({
        "about": "Ed25519 keys from public seeds (RFC 8032). pin: SHA-256 of the raw public key. \
                  jkt: RFC 7638 thumbprint of its JWK (RFC 8037).",
        "keys": keys,
    })
}
