//! Signatures on which Ed25519 libraries differ, and the one verdict of this protocol: that of
//! `verify_strict`.

use argosy_wire::{
    bytes::{Bytes32, Fixed, encode},
    sign::{Purpose, pae, sign_payload},
};
use curve25519_dalek::{constants, edwards::EdwardsPoint, scalar::Scalar};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use crate::{keys::AGENT_IDENTITY, refused};

const PURPOSE: Purpose = Purpose::Handshake;
const PAYLOAD: &[u8] = br#"{"a":"1"}"#;

struct Case {
    why: String,
    key: Bytes32,
    payload: Vec<u8>,
    signature: Fixed<64>,
}

impl Case {
    /// Whether the equation of RFC 8032 without cofactor holds, which is all that a lax verifier
    /// asks for.
    fn passes_lax_verifiers(&self) -> bool {
        VerifyingKey::from_bytes(&self.key.0).is_ok_and(|key| {
            let signature = Signature::from_bytes(&self.signature.0);
            key.verify(&pae(PURPOSE, &self.payload), &signature).is_ok()
        })
    }

    fn json(&self) -> Value {
        json!({
            "why": self.why,
            "public_key": self.key.to_string(),
            "payload": encode(&self.payload),
            "signature": self.signature.to_string(),
            "lax_verifiers_accept": self.passes_lax_verifiers(),
        })
    }
}

/// `signatures.json`.
pub(crate) fn document() -> Value {
    let good = sign_payload(&AGENT_IDENTITY.signer(), PURPOSE, PAYLOAD);
    let mut cases = vec![
        case("S plus the order of the group", refused::plus_order(good)),
        case("R of small order, S for the signer's own key", small_order_r()),
        case("R with a part of small order", shifted_r()),
        case("all zeros", Fixed([0; 64])),
    ];
    for (index, point) in constants::EIGHT_TORSION.iter().enumerate() {
        cases.push(small_order_key(index, point));
    }
    cases.push(key_without_canonical_form());
    json!({
        "about": "Signatures that must be refused over the PAE of these payloads, although some \
                  libraries let some of them pass.",
        "purpose": PURPOSE.as_str(),
        "accepted": [{
            "public_key": AGENT_IDENTITY.public().to_string(),
            "payload": encode(PAYLOAD),
            "signature": good.to_string(),
        }],
        "refused": cases.iter().map(Case::json).collect::<Vec<_>>(),
    })
}

fn case(why: &str, signature: Fixed<64>) -> Case {
    let payload = PAYLOAD.to_vec();
    Case { why: why.to_owned(), key: AGENT_IDENTITY.public(), payload, signature }
}

fn signature(r: [u8; 32], s: Scalar) -> Fixed<64> {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&r);
    bytes[32..].copy_from_slice(s.as_bytes());
    Fixed(bytes)
}

/// The challenge `k` of RFC 8032, section 5.1.7.
fn k(r: &[u8; 32], key: &Bytes32, payload: &[u8]) -> Scalar {
    let hash =
        Sha512::new().chain_update(r).chain_update(key.0).chain_update(pae(PURPOSE, payload));
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// R is the neutral element: the nonce is zero, and S gives the private scalar away.
fn small_order_r() -> Fixed<64> {
    let r = constants::EIGHT_TORSION[0].compress().to_bytes();
    let key = AGENT_IDENTITY;
    signature(r, k(&r, &key.public(), PAYLOAD) * key.signer().to_scalar())
}

/// Verifiers that multiply by the cofactor do not see the point of order eight that R carries.
fn shifted_r() -> Fixed<64> {
    let nonce = Scalar::from(7_u8);
    let shifted = EdwardsPoint::mul_base(&nonce) + constants::EIGHT_TORSION[1];
    let r = shifted.compress().to_bytes();
    let key = AGENT_IDENTITY;
    signature(r, nonce + k(&r, &key.public(), PAYLOAD) * key.signer().to_scalar())
}

/// A key of small order "signs" without any secret: R is the neutral element, S is zero, and one
/// payload in eight at least fits.
fn small_order_key(index: usize, point: &EdwardsPoint) -> Case {
    let key = Fixed(point.compress().to_bytes());
    let signature = signature(constants::EIGHT_TORSION[0].compress().to_bytes(), Scalar::ZERO);
    let why = format!("key of small order, number {index}");
    (0..1_000)
        .map(|n| format!(r#"{{"a":"{n}"}}"#).into_bytes())
        .map(|payload| Case { why: why.clone(), key, payload, signature })
        .find(Case::passes_lax_verifiers)
        .unwrap()
}

/// The neutral element once more, with y = p + 1 for y = 1.
fn key_without_canonical_form() -> Case {
    let mut key = [0xff; 32];
    key[0] = 0xee;
    key[31] = 0x7f;
    let r = constants::EIGHT_TORSION[0].compress().to_bytes();
    let why = "key of small order, y not reduced".to_owned();
    Case { why, key: Fixed(key), payload: PAYLOAD.to_vec(), signature: signature(r, Scalar::ZERO) }
}
