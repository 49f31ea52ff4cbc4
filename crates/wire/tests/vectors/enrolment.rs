//! Token strings, the proofs that machines with keys send instead, and salted machine ids.

use argosy_wire::{
    bytes::{Fixed, encode},
    machine::salted_machine_id,
    sign::{Statement as _, thumbprint},
    token::{Secret32, TokenProof, TokenString, proof_key},
};
use serde_json::{Value, json};

use crate::{keys::SERVER_IDENTITY, statements};

fn token(id: &str, secret: u8, pinned: bool) -> TokenString {
    let pin = pinned.then(|| thumbprint(&SERVER_IDENTITY.public()));
    TokenString { id: id.parse().unwrap(), secret: Secret32::new([secret; 32]), pin }
}

/// `enrolment-token.json`.
pub(crate) fn tokens() -> Value {
    let bytes = statements::enrolment().to_payload();
    let tokens = [
        token("019c1305-8c00-7000-8000-000000000001", 0x61, true),
        token("019c1305-8c00-7000-8000-000000000001", 0x61, false),
        // An id may hold underscores: the secret is the last 43 characters.
        token("site_a_b", 0xff, true),
    ];
    let accepted = tokens.iter().map(|token| {
        json!({
            "token": token.reveal(),
            "token_id": token.id.to_string(),
            "secret": encode(token.secret.expose()),
            "pin": token.pin.map(|pin| pin.to_string()),
            "proof_key": encode(proof_key(&token.secret).expose()),
            "enrolment": encode(&bytes),
            "proof": token.prove(&bytes).to_text(),
        })
    });
    json!({
        "about": "proof_key = HKDF-SHA256(secret, no salt, info \"argosy/enrol/v1\", 32 bytes); \
                  proof = bootproof_<id>_<HMAC-SHA256(proof_key, enrolment bytes)>.",
        "accepted": accepted.collect::<Vec<_>>(),
        "refused_proofs": refused_proofs(&tokens[0], &bytes),
        "refused_tokens": refused_tokens(&tokens[0]),
    })
}

fn refused_proofs(token: &TokenString, bytes: &[u8]) -> Vec<Value> {
    let proof = token.prove(bytes);
    let mut flipped = proof.mac;
    flipped.0[0] ^= 1;
    let mut other = bytes.to_vec();
    other[10] ^= 1;
    let secret = Fixed(*token.secret.expose());
    let with = |mac| TokenProof { mac, ..proof.clone() }.to_text();
    let cases = [
        ("for other bytes", proof.to_text(), other.as_slice()),
        ("one bit flipped", with(flipped), bytes),
        ("the token's secret itself", with(secret), bytes),
        ("the key of the proof", with(Fixed(*proof_key(&token.secret).expose())), bytes),
        ("the token", token.reveal(), bytes),
        ("cut short", proof.to_text()[..60].to_owned(), bytes),
    ];
    let case = |(why, proof, bytes): (&str, String, &[u8])| {
        let key = encode(proof_key(&token.secret).expose());
        json!({ "why": why, "proof_key": key, "enrolment": encode(bytes), "proof": proof })
    };
    cases.map(case).into()
}

fn refused_tokens(token: &TokenString) -> Vec<Value> {
    let good = token.reveal();
    let (bare, pin) = good.split_once('.').unwrap();
    let cases = [
        ("nothing", String::new()),
        ("another prefix", good.replacen("boot_", "agent_", 1)),
        ("no id", format!("boot__{}", encode(token.secret.expose()))),
        ("a character less", bare[..bare.len() - 1].to_owned()),
        ("padding", format!("{bare}=")),
        ("an empty pin", format!("{bare}.")),
        ("a pin cut short", format!("{bare}.{}", &pin[..42])),
        ("two pins", format!("{good}.{pin}")),
        ("a slash in the id", bare.replacen('-', "/", 1)),
        ("longer than 512", format!("boot_{}{}", "a".repeat(500), &bare[5..])),
    ];
    cases.map(|(why, token)| json!({ "why": why, "token": token })).into()
}

/// `machine-id.json`.
pub(crate) fn machine_ids() -> Value {
    let pin = thumbprint(&SERVER_IDENTITY.public());
    let other = Fixed([0x11; 32]);
    let host = "9d0b1c5f1c6b4c1d8a3c5a0e7f2b4d66";
    let cases = [(pin, host.to_owned()), (pin, format!("{host}\n")), (other, host.to_owned())];
    let cases = cases.map(|(server, host)| {
        json!({
            "server": server.to_string(),
            "host_machine_id": host,
            "machine_id": salted_machine_id(&server, &host).to_string(),
        })
    });
    json!({
        "about": "machine_id = HMAC-SHA256(key = raw thumbprint of the server's identity key, \
                  message = the host's machine id without surrounding white space).",
        "accepted": cases,
    })
}
