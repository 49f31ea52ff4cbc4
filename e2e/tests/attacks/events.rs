//! What attacks leave behind for whoever guards the fleet: security events, folded and bounded.

use std::num::NonZeroU32;

use argosy_config::host::OsEntropy;
use argosy_domain::{entropy::random_bytes, security::SecurityKind};
use argosy_e2e::{
    agent::{TestAgent, registration_body},
    clock::ManualClock,
    database::Place,
    on_both,
    server::{TestServer, settings},
};
use argosy_wire::{
    bytes::Fixed,
    sign::{Purpose, Signed},
    statement::ServerPin,
    token::TokenString,
};
use ed25519_dalek::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};

/// Events of one kind, the last seen first.
async fn events(server: &TestServer, kind: SecurityKind) -> Vec<Value> {
    let path = format!("/api/v1/security/events?kind={}", kind.as_str());
    let page = server.client.get(&path, &server.admin_key).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

/// The one event of a kind, which is about this agent; answers how often it was seen.
async fn seen(server: &TestServer, kind: SecurityKind, agent: &TestAgent) -> u64 {
    let events = events(server, kind).await;
    let [event] = events.as_slice() else { panic!("{}: {events:?}", kind.as_str()) };
    assert_eq!(event["agent_id"], agent.agent_id.as_str());
    assert_eq!(event["source"], "127.0.0.1");
    event["count"].as_u64().unwrap()
}

async fn what_a_thief_tries_is_seen_once_with_its_count(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::new("web-1");
    agent.machine_id = Some(Fixed(random_bytes(&OsEntropy)));
    agent.register(&server, &server.token(json!({})).await).await.expect(201);
    server.decide(&agent.agent_id, "approve", json!({})).await.expect(200);
    agent.handshake(&server).await.expect(200);
    let (path, empty) = ("/api/v1/agents/heartbeat", json!({}));
    let proof = agent.proof(&server, "POST", path);
    agent.call_with(&server, Method::POST, path, Some(&empty), &proof).await.expect(200);
    for _ in 0..3 {
        let again = agent.call_with(&server, Method::POST, path, Some(&empty), &proof).await;
        again.refused(401, "invalid_dpop_proof");
    }
    assert_eq!(seen(&server, SecurityKind::ProofReplayed, &agent).await, 3);
    let mut thief = agent.clone();
    thief.key = SigningKey::from_bytes(&random_bytes(&OsEntropy));
    thief.heartbeat(&server).await.refused(401, "invalid_dpop_proof");
    assert_eq!(seen(&server, SecurityKind::ProofMisused, &agent).await, 1);
    let mut copy = agent.clone();
    copy.machine_id = Some(Fixed(random_bytes(&OsEntropy)));
    copy.heartbeat(&server).await.refused(403, "machine_mismatch");
    copy.handshake(&server).await.refused(403, "machine_mismatch");
    assert_eq!(seen(&server, SecurityKind::MachineMismatch, &agent).await, 2);
    let statement = agent.handshake_statement(&agent.begin(&server).await.expect(200));
    let forged = agent.completion(&statement, Purpose::Enrolment);
    agent.clone().complete(&server, &forged).await.refused(401, "handshake_refused");
    assert_eq!(seen(&server, SecurityKind::HandshakeForged, &agent).await, 1);
    agent.clone().complete(&server, &forged).await.refused(401, "handshake_refused");
    assert_eq!(seen(&server, SecurityKind::ChallengeReplayed, &agent).await, 1);
    let bare = server.client.post(path, &agent.api_key, &empty).await;
    bare.refused(401, "proof_required");
    assert_eq!(seen(&server, SecurityKind::BareKey, &agent).await, 1);
    let other = json!({ "agent_id": "another" });
    agent.call(&server, Method::POST, path, Some(&other)).await.refused(403, "forbidden");
    assert_eq!(events(&server, SecurityKind::CrossAgent).await.len(), 1);
    agent.heartbeat(&server).await.expect(200);
    let metrics = server.app.security().counts().find(|(kind, _)| *kind == SecurityKind::BareKey);
    assert_eq!(metrics, Some((SecurityKind::BareKey, 1)));
}

async fn a_clone_and_a_wrong_fingerprint_are_seen(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::new("web-1");
    agent.register(&server, &server.token(json!({})).await).await.expect(201);
    let wrong = json!({ "fingerprint": "0000 0000 0000 0000 0000 0000 0000 0000" });
    let answer = server.decide(&agent.agent_id, "approve", wrong).await;
    answer.refused(409, "fingerprint_mismatch");
    assert_eq!(seen(&server, SecurityKind::FingerprintMismatch, &agent).await, 1);
    server.decide(&agent.agent_id, "approve", json!({})).await.expect(200);
    agent.handshake(&server).await.expect(200);
    let mut snapshot = agent.clone();
    for _ in 0..3 {
        agent.handshake(&server).await.expect(200);
    }
    assert!(events(&server, SecurityKind::CloneDetected).await.is_empty());
    snapshot.handshake(&server).await.expect(200);
    assert_eq!(seen(&server, SecurityKind::CloneDetected, &agent).await, 1);
}

async fn strange_registrations_are_seen(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::new("web-1");
    let text = server.token(json!({})).await;
    let token = TokenString::parse(&text).unwrap();
    let mut misled = agent.statement(&token);
    misled.server = ServerPin::Pinned(Fixed(random_bytes(&OsEntropy)));
    let signed = Signed::new(&agent.key, &misled);
    let body = registration_body("web-1", &token.prove(&signed.payload).to_text(), &signed);
    let register = "/api/v1/agents/register";
    server.client.post_anonymous(register, &body).await.refused(422, "invalid");
    assert_eq!(events(&server, SecurityKind::WrongServer).await.len(), 1);
    let mut forged = Signed::new(&agent.key, &agent.statement(&token));
    forged.signature.0[0] ^= 1;
    let body = registration_body("web-1", &token.prove(&forged.payload).to_text(), &forged);
    server.client.post_anonymous(register, &body).await.refused(401, "unauthenticated");
    assert_eq!(events(&server, SecurityKind::StatementForged).await.len(), 1);
}

async fn guessing_and_reaching_across_are_seen(place: Place) {
    let quick = argosy_server::config::Settings {
        failures_per_minute: NonZeroU32::new(3).unwrap(),
        ..settings(&place)
    };
    let server = TestServer::start_with(quick, ManualClock::default()).await;
    let other = server.other_organisation().await;
    let agent = TestAgent::admitted(&server, "web-1").await;
    let path = format!("/api/v1/agents/{}/revoke", agent.agent_id);
    let answer = server.client.post(&path, &other.admin_key, &json!({})).await;
    answer.refused(404, "not_found");
    let seen = events(&server, SecurityKind::CrossTenant).await;
    assert_eq!(seen[0]["agent_id"], json!(agent.agent_id), "{seen:?}");
    // Whoever reached across learns nothing of it: not from its own events, not from the counts.
    let own = server.client.get("/api/v1/security/events", &other.admin_key).await.expect(200);
    assert_eq!(own["items"], json!([]), "{own}");
    let metrics =
        argosy_e2e::http::plain().get(format!("{}/metrics", server.url)).send().await.unwrap();
    assert!(!metrics.text().await.unwrap().contains("cross_tenant"));
    for _ in 0..10 {
        server.client.get("/api/v1/agents", "argosy_guess").await;
    }
    let guesses = events(&server, SecurityKind::BruteForce).await;
    assert_eq!(guesses.len(), 1);
    assert!(guesses[0]["count"].as_u64().unwrap() >= 6, "{guesses:?}");
    let unknown = server.client.get("/api/v1/security/events?kind=x", &server.admin_key).await;
    unknown.refused(422, "invalid");
}

on_both!(
    what_a_thief_tries_is_seen_once_with_its_count,
    a_clone_and_a_wrong_fingerprint_are_seen,
    strange_registrations_are_seen,
    guessing_and_reaching_across_are_seen,
);
