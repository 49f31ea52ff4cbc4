//! DPoP proofs: a JWS that brings its own key.

use argosy_wire::{
    bytes::{decode, encode},
    dpop::{PROOF_BYTES_MAX, Proof, read},
};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde_json::Value;

use crate::seeds::{cases, vectors};

fn all() -> Vec<Value> {
    let file = vectors("dpop.json");
    [cases(&file, "accepted"), cases(&file, "refused")].concat()
}

/// Proofs of the vectors, good and bad.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    all().iter().filter_map(|case| Some(case["proof"].as_str()?.as_bytes().to_vec())).collect()
}

/// Any text: what is accepted was signed by the key that it names.
pub(super) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(proof) = read(text) {
        honest(text, &proof);
    }
}

/// Header and claims of the vectors, joined by a line feed.
pub(super) fn signed_seeds() -> Vec<Vec<u8>> {
    let part = |text: &str| decode(text).ok();
    let halves = |case: &Value| {
        let (signed, _) = case["proof"].as_str()?.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some([part(header)?, b"\n".to_vec(), part(claims)?].concat())
    };
    all().iter().filter_map(halves).collect()
}

/// Any header and any claims, genuinely signed by the key of the vectors.
pub(super) fn signed(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (Some(header), Some(claims)) = (parts.next(), parts.next()) else { return };
    let key = signer();
    let input = format!("{}.{}", encode(header), encode(claims));
    let text = format!("{input}.{}", encode(&key.sign(input.as_bytes()).to_bytes()));
    let Ok(proof) = read(&text) else { return };
    honest(&text, &proof);
    assert_eq!(proof.key.0, key.verifying_key().to_bytes(), "another key than the one that signed");
}

/// The key that signed the vectors.
fn signer() -> SigningKey {
    let file = vectors("keys.json");
    let keys = cases(&file, "keys");
    let own = keys.iter().find(|key| key["name"] == "agent-identity").unwrap();
    SigningKey::from_bytes(&decode(own["seed"].as_str().unwrap()).unwrap().try_into().unwrap())
}

/// Everything that RFC 9449 asks of a proof for itself, checked without the code that read it.
fn honest(text: &str, proof: &Proof) {
    assert!(text.len() <= PROOF_BYTES_MAX, "longer than the limit");
    let parts: Vec<&str> = text.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("not three parts") };
    let json = |part: &str| serde_json::from_slice::<Value>(&decode(part).unwrap());
    let shown = json(header).unwrap();
    assert_eq!(shown["typ"], "dpop+jwt");
    assert_eq!(shown["alg"], "EdDSA");
    assert_eq!(shown["jwk"]["x"], proof.key.to_string());
    assert!(shown["jwk"].get("d").is_none(), "a private key in the header");
    let key = VerifyingKey::from_bytes(&proof.key.0).unwrap();
    let signature = Signature::from_slice(&decode(signature).unwrap()).unwrap();
    key.verify_strict(format!("{header}.{claims}").as_bytes(), &signature).unwrap();
    // Half a surrogate pair in a claim that nobody asks for is no text, and nobody reads it.
    let Ok(claimed) = json(claims) else { return };
    for (name, value) in [
        ("htm", &proof.claims.htm),
        ("htu", &proof.claims.htu),
        ("jti", &proof.claims.jti),
        ("ath", &proof.claims.ath),
    ] {
        assert_eq!(&claimed[name], value, "{name} is not what was signed");
    }
}
