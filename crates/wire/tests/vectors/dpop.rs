//! DPoP proofs (RFC 9449) over the session calls of this protocol.

use argosy_domain::time::Timestamp;
use argosy_wire::{
    bytes::{Fixed, decode, encode},
    dpop::{self, ProofRequest},
};
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};

use crate::keys::{AGENT_IDENTITY, STRANGER};

const TOKEN: &str = "header.payload.signature";
const RPC: &str = "https://fleet.example/agentgateway.v1.AgentGatewayService/ControlStream";
const REST: &str = "https://fleet.example/api/v1/agents/heartbeat";
/// The neutral element of the curve as a public key.
const NEUTRAL: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};
const UNIQUE: [u8; 16] = [0x71; 16];

fn proof(url: &str, nonce: Option<&str>) -> String {
    let request = ProofRequest { method: "POST", url, token: TOKEN, nonce };
    let now = Timestamp::from_seconds(1_769_846_400);
    dpop::make(&AGENT_IDENTITY.signer(), request, &UNIQUE, now).unwrap()
}

/// The JSON of one part of a JWS.
fn part(proof: &str, index: usize) -> Value {
    let part = proof.split('.').nth(index).unwrap();
    serde_json::from_slice(&decode(part).unwrap()).unwrap()
}

/// `dpop.json`.
pub(crate) fn document() -> Value {
    let cases = [(RPC, Some("bm9uY2U")), (RPC, None), (REST, Some("bm9uY2U"))];
    let accepted = cases.map(|(url, nonce)| {
        let proof = proof(url, nonce);
        json!({
            "key": AGENT_IDENTITY.name,
            "public_key": AGENT_IDENTITY.public().to_string(),
            "jkt": dpop::key_thumbprint(&AGENT_IDENTITY.public()).to_string(),
            "session_token": TOKEN,
            "header": part(&proof, 0),
            "claims": part(&proof, 1),
            "proof": proof,
        })
    });
    json!({
        "about": "ath = base64url(SHA-256(session token)). Proofs are compared by content: the \
                  order of fields in header and claims is the maker's.",
        "accepted": accepted,
        "refused": refused(),
    })
}

fn refused() -> Vec<Value> {
    let good = proof(RPC, None);
    let [head, claims, signature] = parts(&good);
    let with = |field: &str, value: Value| {
        let mut header = part(&good, 0);
        header[field] = value;
        signed(&header, &claims)
    };
    let mut strange = part(&good, 0);
    strange["jwk"]["x"] = STRANGER.public().to_string().into();
    let mut bare = part(&good, 0);
    bare.as_object_mut().unwrap().remove("jwk");
    let mut moved = part(&good, 1);
    moved["htu"] = REST.into();
    let mut unbound = part(&good, 1);
    unbound.as_object_mut().unwrap().remove("ath");
    let mut malleable: Fixed<64> = signature.parse().unwrap();
    malleable = crate::refused::plus_order(malleable);
    let mut weak = part(&good, 0);
    weak["jwk"]["x"] = encode(&NEUTRAL).into();
    let forged = encode(&[NEUTRAL, [0; 32]].concat());
    let mut private = part(&good, 0);
    private["jwk"]["d"] = encode(&AGENT_IDENTITY.signer().to_bytes()).into();
    let cases = [
        (
            "a key of small order, for which anybody signs",
            format!("{}.{claims}.{forged}", json_part(&weak)),
        ),
        ("the private key in the header", signed(&private, &claims)),
        ("claims changed", format!("{head}.{}.{signature}", json_part(&moved))),
        ("another key in the header", format!("{}.{claims}.{signature}", json_part(&strange))),
        ("no key in the header", signed(&bare, &claims)),
        ("typ of another kind of token", with("typ", "JWT".into())),
        ("alg none, no signature", format!("{}.{claims}.", json_part(&json!({"alg": "none"})))),
        ("alg of another family", with("alg", "HS256".into())),
        ("no ath", signed(&part(&good, 0), &json_part(&unbound))),
        ("S plus the order of the group", format!("{head}.{claims}.{malleable}")),
        ("padding", format!("{good}==")),
        ("a part more", format!("{good}.{signature}")),
        ("no signature", format!("{head}.{claims}.")),
    ];
    cases.map(|(why, proof)| json!({ "why": why, "proof": proof })).into()
}

fn parts(proof: &str) -> [String; 3] {
    let parts: Vec<String> = proof.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

fn json_part(value: &Value) -> String {
    encode(value.to_string().as_bytes())
}

/// A JWS by the agent's key with any header.
fn signed(header: &Value, claims: &str) -> String {
    let input = format!("{}.{claims}", json_part(header));
    let signature = AGENT_IDENTITY.signer().sign(input.as_bytes()).to_bytes();
    format!("{input}.{}", encode(&signature))
}
