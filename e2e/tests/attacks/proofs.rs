//! Attack 9: proofs that are not for this very call.

use std::time::Duration;

use argosy_config::host::OsEntropy;
use argosy_domain::{entropy::random_bytes, limits::DPOP_NONCE_BUCKET, time::Clock as _};
use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use argosy_wire::{
    bytes::{decode, encode},
    dpop::{self, PROOF_BYTES_MAX, ProofRequest},
    problem::Code,
};
use ed25519_dalek::SigningKey;
use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    gateway,
    jws::{hmac_jws, jws, parts, signing_input, with},
    sessions::{HEARTBEAT, INGEST, heartbeat_with, is_unharmed, proofs, refusals, try_both},
};

async fn a_proof_is_for_one_method_and_one_url(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let own = |path: &str| format!("{}{path}", server.url);
    let urls = [
        own(INGEST),
        own("/api/v1/discovery/agents/heartbeat"),
        own("/api/v1/agents/heartbeat/"),
        own("/api/v1//agents/heartbeat"),
        own("/api/v1/agents/%68eartbeat"),
        own("/api/v1/x/../agents/heartbeat"),
        own("/"),
        own(""),
        format!("http://127.0.0.1:{port}0{HEARTBEAT}"),
        format!("http://127.0.0.1:{port}@evil.example{HEARTBEAT}"),
        format!("https://127.0.0.1:{port}{HEARTBEAT}"),
        format!("http://127.0.0.1{HEARTBEAT}"),
        format!("http://evil.example{HEARTBEAT}"),
        HEARTBEAT.to_owned(),
        String::new(),
    ];
    let authorization = format!("DPoP {}", agent.session);
    for url in urls {
        let nonce = Some(agent.nonce.as_str());
        let proof = agent.proof_for(&url, "POST", &agent.session, nonce, server.clock.now());
        let headers = [("authorization", authorization.as_str()), ("dpop", proof.as_str())];
        let answer = heartbeat_with(&server, &headers).await;
        assert_eq!((answer.status, answer.code()), (401, "invalid_dpop_proof"), "{url}");
    }
    for method in ["GET", "PUT", "post", ""] {
        let rest = agent.proof(&server, method, HEARTBEAT);
        let rpc = agent.proof(&server, method, gateway::HEARTBEAT);
        let answer = try_both(&server, &agent.session, [&rest, &rpc]).await;
        assert_eq!((answer.status, answer.code()), (401, "invalid_dpop_proof"), "{method}");
    }
    // A proof for one RPC opens no other.
    let rpc = gateway::rpc(&server);
    let proof = agent.proof(&server, "POST", gateway::HEARTBEAT);
    let stream =
        gateway::open(&rpc, gateway::proved(&agent.session, &proof), gateway::hello(&agent));
    assert_eq!(stream.await.map(drop), Err(Code::InvalidProof));
    // A query is no part of what a proof names.
    let url = format!("{}?x=1#y", own(HEARTBEAT));
    let nonce = Some(agent.nonce.as_str());
    let proof = agent.proof_for(&url, "POST", &agent.session, nonce, server.clock.now());
    assert_eq!(server.agent(&agent.agent_id).await["last_seen_at"], Value::Null);
    let body = json!({});
    agent.call_with(&server, Method::POST, HEARTBEAT, Some(&body), &proof).await.expect(200);
}

/// The URL is held against the configured origins, never against what the request says of itself.
async fn no_header_changes_the_name_of_the_server(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let authorization = format!("DPoP {}", agent.session);
    let evil = format!("http://evil.example{HEARTBEAT}");
    let nonce = Some(agent.nonce.as_str());
    let tricks = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example;proto=http"),
        ("x-original-host", "evil.example"),
    ];
    for (name, value) in tricks {
        let proof = agent.proof_for(&evil, "POST", &agent.session, nonce, server.clock.now());
        let headers = [("authorization", authorization.as_str()), ("dpop", &proof), (name, value)];
        let answer = heartbeat_with(&server, &headers).await;
        assert_eq!((answer.status, answer.code()), (401, "invalid_dpop_proof"), "{name}");
    }
    for (name, value) in [("x-original-url", INGEST), ("x-rewrite-url", INGEST)] {
        let url = format!("{}{INGEST}", server.url);
        let proof = agent.proof_for(&url, "POST", &agent.session, nonce, server.clock.now());
        let headers = [("authorization", authorization.as_str()), ("dpop", &proof), (name, value)];
        heartbeat_with(&server, &headers).await.refused(401, "invalid_dpop_proof");
    }
    assert_eq!(server.agent(&agent.agent_id).await["last_seen_at"], Value::Null);
    // And a proof for the true name holds whatever the request calls the server.
    for (name, value) in tricks {
        let proof = agent.proof(&server, "POST", HEARTBEAT);
        let headers = [("authorization", authorization.as_str()), ("dpop", &proof), (name, value)];
        heartbeat_with(&server, &headers).await.expect(200);
    }
    agent.heartbeat(&server).await.expect(200);
}

async fn a_proof_is_for_one_token(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let other = TestAgent::in_session(&server, "web-2").await;
    let earlier = agent.session.clone();
    agent.handshake(&server).await.expect(200);
    for token in [earlier.as_str(), &other.session, "", &agent.api_key] {
        let stale = TestAgent { session: token.to_owned(), ..agent.clone() };
        let [rest, rpc] = proofs(&stale, &server);
        let answer = try_both(&server, &agent.session, [&rest, &rpc]).await;
        answer.refused(401, "invalid_dpop_proof");
    }
    // The other way round: own key, own proof, another agent's token.
    let swapped = TestAgent { session: other.session.clone(), ..agent.clone() };
    let [rest, rpc] = proofs(&swapped, &server);
    let answer = try_both(&server, &other.session, [&rest, &rpc]).await;
    answer.refused(401, "invalid_dpop_proof");
    let why = "the proof is by another key than the session's";
    assert_eq!(refusals(&server, &other).await, [why]);
    assert_eq!(server.agent(&other.agent_id).await["last_seen_at"], Value::Null);
    is_unharmed(&server, &mut agent).await;
}

async fn a_proof_is_good_once(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let [rest, rpc] = proofs(&agent, &server);
    try_both(&server, &agent.session, [&rest, &rpc]).await.expect(200);
    let seen = server.agent(&agent.agent_id).await["last_seen_at"].clone();
    assert_eq!(refusals(&server, &agent).await, [""; 0]);
    // At once, and in the next bucket, while its nonce is still good.
    for later in [Duration::ZERO, DPOP_NONCE_BUCKET] {
        server.clock.advance(later);
        let answer = try_both(&server, &agent.session, [&rest, &rpc]).await;
        answer.refused(401, "invalid_dpop_proof");
    }
    let recorded = refusals(&server, &agent).await;
    assert!(!recorded.is_empty());
    assert!(recorded.iter().all(|reason| reason == "the proof was used before"), "{recorded:?}");
    // Afterwards its nonce is over.
    server.clock.advance(DPOP_NONCE_BUCKET);
    let answer = try_both(&server, &agent.session, [&rest, &rpc]).await;
    answer.refused(401, "use_dpop_nonce");
    assert_eq!(server.agent(&agent.agent_id).await["last_seen_at"], seen);
    agent.nonce = answer.headers["dpop-nonce"].to_str().unwrap().to_owned();
    agent.heartbeat(&server).await.expect(200);
}

async fn a_proof_is_fresh_by_the_servers_nonce(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let elsewhere = Place { data_dir: place.data_dir.join("other"), database_url: None };
    let foreign = TestServer::start(&elsewhere).await.app.dpop_nonce();
    let url = format!("{}{HEARTBEAT}", server.url);
    let authorization = format!("DPoP {}", agent.session);
    for nonce in [None, Some(""), Some("guessed"), Some(foreign.as_str())] {
        let proof = agent.proof_for(&url, "POST", &agent.session, nonce, server.clock.now());
        let headers = [("authorization", authorization.as_str()), ("dpop", proof.as_str())];
        let answer = heartbeat_with(&server, &headers).await;
        answer.refused(401, "use_dpop_nonce");
        assert_eq!(answer.headers["www-authenticate"], r#"DPoP error="use_dpop_nonce""#);
        assert_eq!(answer.headers["dpop-nonce"].to_str().unwrap(), server.app.dpop_nonce());
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    // Made before, used too late.
    let [rest, rpc] = proofs(&agent, &server);
    server.clock.advance(DPOP_NONCE_BUCKET * 2);
    let answer = try_both(&server, &agent.session, [&rest, &rpc]).await;
    answer.refused(401, "use_dpop_nonce");
    assert_eq!(server.agent(&agent.agent_id).await["last_seen_at"], Value::Null);
    // The agent's own clock says nothing: years off, with the right nonce it is heard.
    let nonce = answer.headers["dpop-nonce"].to_str().unwrap();
    let years_ago = "2001-01-01T00:00:00Z".parse().unwrap();
    let proof = agent.proof_for(&url, "POST", &agent.session, Some(nonce), years_ago);
    let body = json!({});
    agent.call_with(&server, Method::POST, HEARTBEAT, Some(&body), &proof).await.expect(200);
    // Asking for a nonce is no attack.
    assert_eq!(refusals(&server, &agent).await, [""; 0]);
}

async fn a_proof_is_an_ed25519_jws_and_nothing_else(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let honest = || agent.proof(&server, "POST", HEARTBEAT);
    let [header, claims] = parts(&honest());
    let thief = SigningKey::from_bytes(&random_bytes(&OsEntropy));
    let public = agent.public_key();
    let none = |alg: &str| signing_input(&with(&header, "alg", json!(alg)), &claims);
    let hs256 = with(&header, "alg", json!("HS256"));
    let long = "n".repeat(PROOF_BYTES_MAX);
    let private = encode(&agent.key.to_bytes());
    let mut leaky = header.clone();
    leaky["jwk"]["d"] = json!(private);
    let mut weak = header.clone();
    // The neutral element of the curve: under it, anybody signs anything.
    weak["jwk"]["x"] = json!(encode(&[[1].as_slice(), &[0; 31]].concat()));
    let mut no_jwk = header.clone();
    no_jwk.as_object_mut().unwrap().remove("jwk");
    let flipped = {
        let proof = honest();
        let (input, signature) = proof.rsplit_once('.').unwrap();
        let mut bytes = decode(signature).unwrap();
        bytes[0] ^= 1;
        format!("{input}.{}", encode(&bytes))
    };
    let request = ProofRequest {
        method: "POST",
        url: &format!("{}{HEARTBEAT}", server.url),
        token: &agent.session,
        nonce: Some(&long),
    };
    let oversized = dpop::make(&agent.key, request, &[1; 16], server.clock.now()).unwrap();
    assert!(oversized.len() > 5 * 1024);
    let forged = [
        ("typ of a JWT", jws(&agent.key, &with(&header, "typ", json!("JWT")), &claims)),
        ("no typ", jws(&agent.key, &with(&header, "typ", Value::Null), &claims)),
        (
            "typ of a session",
            jws(&agent.key, &with(&header, "typ", json!("argosy-session+jwt")), &claims),
        ),
        ("none, unsigned", format!("{}.", none("none"))),
        ("None, unsigned", format!("{}.", none("None"))),
        ("none, signed", jws(&agent.key, &with(&header, "alg", json!("none")), &claims)),
        ("RS256", jws(&agent.key, &with(&header, "alg", json!("RS256")), &claims)),
        ("HS256 by the public key", hmac_jws(&public.0, &hs256, &claims, Algorithm::HS256)),
        (
            "HS256 by its text",
            hmac_jws(public.to_string().as_bytes(), &hs256, &claims, Algorithm::HS256),
        ),
        ("another key under this header", jws(&thief, &header, &claims)),
        ("a flipped bit", flipped),
        ("a private key in the header", jws(&agent.key, &leaky, &claims)),
        ("a key of small order", jws(&agent.key, &weak, &claims)),
        ("no key in the header", jws(&agent.key, &no_jwk, &claims)),
        ("no jti", jws(&agent.key, &header, &with(&claims, "jti", Value::Null))),
        ("no ath", jws(&agent.key, &header, &with(&claims, "ath", Value::Null))),
        ("oversized", oversized),
        ("garbage", "..".to_owned()),
        ("the session itself", agent.session.clone()),
        ("two", format!("{}, {}", honest(), honest())),
        ("nothing", String::new()),
    ];
    let authorization = format!("DPoP {}", agent.session);
    for (what, proof) in &forged {
        let headers = [("authorization", authorization.as_str()), ("dpop", proof.as_str())];
        let answer = heartbeat_with(&server, &headers).await;
        assert_eq!((answer.status, answer.code()), (401, "invalid_dpop_proof"), "{what}");
    }
    is_unharmed(&server, &mut agent).await;
}

on_both!(
    a_proof_is_for_one_method_and_one_url,
    no_header_changes_the_name_of_the_server,
    a_proof_is_for_one_token,
    a_proof_is_good_once,
    a_proof_is_fresh_by_the_servers_nonce,
    a_proof_is_an_ed25519_jws_and_nothing_else,
);
