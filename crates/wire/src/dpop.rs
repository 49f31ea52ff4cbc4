//! DPoP proofs (RFC 9449): what an agent sends with every session call.
//!
//! A proof is a JWS with the agent's public key in its header; it names the method, the URL, the
//! hash of the session token and the server's nonce. This module makes proofs and reads them; what
//! a proof must say for a given request is the server's business.

use argosy_domain::{digest::Sha256, time::Timestamp};
use ed25519_dalek::{SigningKey, VerifyingKey, pkcs8::EncodePrivateKey as _};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{
        AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, OctetKeyPairParameters,
        OctetKeyPairType,
    },
};
use serde::{Deserialize, Serialize};

use crate::bytes::{Bytes32, Fixed, decode, encode};

/// The fixed `typ` of a proof.
const PROOF_TYPE: &str = "dpop+jwt";
/// A proof is a few hundred bytes; anything longer is refused unread.
pub const PROOF_BYTES_MAX: usize = 4_096;

/// What a proof says (RFC 9449, section 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofClaims {
    /// HTTP method; `POST` for every RPC.
    pub htm: String,
    /// Origin and path of the request.
    pub htu: String,
    /// Unique for each proof.
    pub jti: String,
    /// Seconds since the Unix epoch by the agent's clock; never trusted.
    pub iat: i64,
    /// base64url of SHA-256 of the session token.
    pub ath: String,
    /// The server's nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// A proof whose signature verifies under the key that it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key in its header.
    pub key: Bytes32,
    /// What it says.
    pub claims: ProofClaims,
}

/// A text that is no DPoP proof, or whose signature does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a DPoP proof signed with Ed25519")]
pub struct InvalidProof;

/// What a proof is about.
#[derive(Debug, Clone, Copy)]
pub struct ProofRequest<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Origin and path.
    pub url: &'a str,
    /// The session token that the proof goes with.
    pub token: &'a str,
    /// The server's nonce, as far as known.
    pub nonce: Option<&'a str>,
}

/// The JWK thumbprint (RFC 7638) of an Ed25519 key: the `jkt` of a session.
pub fn key_thumbprint(key: &Bytes32) -> Bytes32 {
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{key}"}}"#);
    Fixed(Sha256::of(jwk.as_bytes()).0)
}

/// The `ath` of a session token.
pub fn token_hash(token: &str) -> String {
    encode(&Sha256::of(token.as_bytes()).0)
}

fn jwk(key: &Bytes32) -> Jwk {
    Jwk {
        common: CommonParameters::default(),
        algorithm: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
            key_type: OctetKeyPairType::OctetKeyPair,
            curve: EllipticCurve::Ed25519,
            x: key.to_string(),
        }),
    }
}

/// Makes a proof. `unique` are fresh random bytes for its `jti`.
pub fn make(
    key: &SigningKey,
    request: ProofRequest<'_>,
    unique: &[u8; 16],
    now: Timestamp,
) -> Result<String, InvalidProof> {
    let claims = ProofClaims {
        htm: request.method.to_owned(),
        htu: request.url.to_owned(),
        jti: encode(unique),
        iat: now.as_seconds(),
        ath: token_hash(request.token),
        nonce: request.nonce.map(str::to_owned),
    };
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(PROOF_TYPE.to_owned());
    header.jwk = Some(jwk(&Fixed(key.verifying_key().to_bytes())));
    let der = key.to_pkcs8_der().map_err(|_| InvalidProof)?;
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(der.as_bytes()))
        .map_err(|_| InvalidProof)
}

/// Whether the header gives a private key away (RFC 9449, section 4.3, check 7).
fn shows_private_key(text: &str) -> bool {
    let header = text.split('.').next().unwrap_or_default();
    let header = decode(header).ok().and_then(|json| serde_json::from_slice(&json).ok());
    header.is_none_or(|header: serde_json::Value| header["jwk"].get("d").is_some())
}

/// Reads a proof and verifies its signature under its own key. Refuses keys of small order, under
/// which anybody signs anything.
pub fn read(text: &str) -> Result<Proof, InvalidProof> {
    if text.len() > PROOF_BYTES_MAX || shows_private_key(text) {
        return Err(InvalidProof);
    }
    let header = jsonwebtoken::decode_header(text).map_err(|_| InvalidProof)?;
    let jwk = header.jwk.ok_or(InvalidProof)?;
    if header.typ.as_deref() != Some(PROOF_TYPE) || header.alg != Algorithm::EdDSA {
        return Err(InvalidProof);
    }
    let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm else {
        return Err(InvalidProof);
    };
    let key: Bytes32 = pair.x.parse().map_err(|_| InvalidProof)?;
    if VerifyingKey::from_bytes(&key.0).map_or(true, |key| key.is_weak()) {
        return Err(InvalidProof);
    }
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| InvalidProof)?;
    let token =
        jsonwebtoken::decode::<ProofClaims>(text, &decoding, &rules).map_err(|_| InvalidProof)?;
    Ok(Proof { key, claims: token.claims })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proof(key: &SigningKey) -> String {
        let request = ProofRequest {
            method: "POST",
            url: "https://fleet.example/api/v1/agents/heartbeat",
            token: "session",
            nonce: Some("n"),
        };
        make(key, request, &[5; 16], Timestamp::from_seconds(1_000)).unwrap()
    }

    #[test]
    fn a_proof_is_read_back_with_its_key() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let read = read(&proof(&key)).unwrap();
        assert_eq!(read.key, Fixed(key.verifying_key().to_bytes()));
        assert_eq!(read.claims.ath, token_hash("session"));
        assert_eq!(read.claims.nonce.as_deref(), Some("n"));
    }

    #[test]
    fn a_proof_under_another_key_is_refused() {
        let (one, two) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let (first, second) = (proof(&one), proof(&two));
        let mut parts: Vec<&str> = first.split('.').collect();
        parts[0] = second.split('.').next().unwrap();
        assert_eq!(read(&parts.join(".")), Err(InvalidProof));
    }

    #[test]
    fn the_thumbprint_is_the_one_of_rfc_8037() {
        // RFC 8037, appendix A.3.
        let key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".parse().unwrap();
        let expected = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(key_thumbprint(&key).to_string(), expected);
    }

    proptest! {
        #[test]
        fn any_proof_is_read_back_as_it_was_made(
            seed in any::<[u8; 32]>(),
            unique in any::<[u8; 16]>(),
            url in "https://[a-z]{1,20}(/[a-zA-Z0-9._%-]{0,20}){0,4}",
            token in "[A-Za-z0-9_.-]{0,200}",
            nonce in proptest::option::of("[A-Za-z0-9_-]{0,43}"),
            seconds in 0i64..4_000_000_000,
        ) {
            let key = SigningKey::from_bytes(&seed);
            let request =
                ProofRequest { method: "POST", url: &url, token: &token, nonce: nonce.as_deref() };
            let made = make(&key, request, &unique, Timestamp::from_seconds(seconds)).unwrap();
            let proof = read(&made).unwrap();
            prop_assert_eq!(proof.key, Fixed(key.verifying_key().to_bytes()));
            let expected = ProofClaims {
                htm: "POST".to_owned(),
                htu: url,
                jti: encode(&unique),
                iat: seconds,
                ath: token_hash(&token),
                nonce,
            };
            prop_assert_eq!(proof.claims, expected);
        }

        #[test]
        fn any_turned_bit_is_noticed(at in any::<proptest::sample::Index>(), bit in 0u8..7) {
            let made = proof(&SigningKey::from_bytes(&[1; 32]));
            let mut turned = made.clone().into_bytes();
            let at = at.index(turned.len());
            turned[at] ^= 1 << bit;
            prop_assert_eq!(read(&String::from_utf8(turned).unwrap()), Err(InvalidProof));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "[A-Za-z0-9_.-]{0,200}") {
            prop_assert_eq!(read(&text), Err(InvalidProof));
        }
    }
}
