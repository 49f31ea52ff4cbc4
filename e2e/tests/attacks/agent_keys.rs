//! Attacks on the rotation of an agent's identity key: only the agent, with both keys, once each.

use std::time::Duration;

use argosy_domain::limits::KEY_ROTATION_INTERVAL_MIN;
use argosy_e2e::{agent::TestAgent, database::Place, http::Answer, on_both, server::TestServer};
use argosy_wire::{bytes::Fixed, statement::KeyRotation, succession::Cosigned};
use ed25519_dalek::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};

const ROTATE: &str = "/api/v1/agents/keys/rotate";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> argosy_wire::bytes::Bytes32 {
    Fixed(key.verifying_key().to_bytes())
}

fn statement(server: &TestServer, agent: &TestAgent, next: &SigningKey) -> KeyRotation {
    KeyRotation {
        server: server.app.keyring().thumbprint(),
        agent: agent.id(),
        identity_key: agent.public_key(),
        successor: public(next),
        serial: server.app.now().as_seconds(),
    }
}

async fn send(server: &TestServer, agent: &mut TestAgent, signed: &Cosigned) -> Answer {
    let body = serde_json::to_value(signed.to_json()).unwrap();
    agent.call(server, Method::POST, ROTATE, Some(&body)).await
}

async fn rotate(server: &TestServer, agent: &mut TestAgent, next: &SigningKey) -> Answer {
    let signed = Cosigned::new(&agent.key, next, &statement(server, agent, next));
    send(server, agent, &signed).await
}

async fn the_new_key_takes_over_and_the_old_one_opens_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let before = server.agent(&agent.agent_id).await;
    let old = agent.clone();
    rotate(&server, &mut agent, &key(9)).await.expect(200);
    // The session was the old key's.
    agent.heartbeat(&server).await.refused(401, "invalid_session");
    old.begin(&server).await.refused(401, "unauthenticated");
    agent.key = key(9);
    agent.handshake(&server).await.expect(200);
    agent.heartbeat(&server).await.expect(200);
    // What people compared stays what is shown.
    let after = server.agent(&agent.agent_id).await;
    assert_eq!(before["fingerprint"], after["fingerprint"]);
    let audited = server.audit("agent.key_rotated").await;
    assert_eq!(audited.len(), 1);
    assert_eq!(audited[0]["actor"], format!("agent:{}", agent.agent_id));
    // Replayed by whoever saw it, it changes nothing: it is about a key that is gone.
    let signed = Cosigned::new(&old.key, &key(9), &statement(&server, &old, &key(9)));
    server.clock.advance(KEY_ROTATION_INTERVAL_MIN + Duration::from_secs(1));
    agent.handshake(&server).await.expect(200);
    let refused = send(&server, &mut agent, &signed).await;
    refused.refused(422, "invalid");
    agent.heartbeat(&server).await.expect(200);
}

async fn nobody_rotates_with_less_than_both_keys(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let mut other = TestAgent::in_session(&server, "web-2").await;
    let next = key(9);
    let good = statement(&server, &agent, &next);
    let mut old_only = Cosigned::new(&agent.key, &next, &good);
    old_only.successor_signature = old_only.signature;
    let mut new_only = Cosigned::new(&agent.key, &next, &good);
    new_only.signature = new_only.successor_signature;
    let for_other = KeyRotation { agent: other.id(), ..good.clone() };
    let elsewhere = KeyRotation { server: Fixed([7; 32]), ..good.clone() };
    let not_mine = KeyRotation { identity_key: public(&key(8)), ..good.clone() };
    let itself = KeyRotation { successor: agent.public_key(), ..good.clone() };
    for (what, signed) in [
        ("by the old key alone", old_only),
        ("by the new key alone", new_only),
        ("for another agent", Cosigned::new(&agent.key, &next, &for_other)),
        ("for another server", Cosigned::new(&agent.key, &next, &elsewhere)),
        ("of a key that the agent does not have", Cosigned::new(&key(8), &next, &not_mine)),
        ("to itself", Cosigned::new(&agent.key, &agent.key.clone(), &itself)),
    ] {
        let refused = send(&server, &mut agent, &signed).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid"), "{what}: {refused:?}");
    }
    // Well signed, and sent by somebody else.
    let stolen = Cosigned::new(&agent.key, &next, &good);
    send(&server, &mut other, &stolen).await.refused(422, "invalid");
    // Another live agent's key.
    let taken = other.key.clone();
    rotate(&server, &mut agent, &taken).await.refused(409, "duplicate_key");
    agent.heartbeat(&server).await.expect(200);
    assert_eq!(server.audit("agent.key_rotated").await, Vec::<Value>::new());
    // Two bearers of one identity: neither shuts the other out.
    server.decide(&agent.agent_id, "quarantine", json!({})).await.expect(200);
    agent.handshake(&server).await.expect(200);
    rotate(&server, &mut agent, &next).await.refused(403, "quarantined");
}

async fn a_key_is_rotated_now_and_then_and_never_back(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let first = agent.key.clone();
    rotate(&server, &mut agent, &key(9)).await.expect(200);
    agent.key = key(9);
    agent.handshake(&server).await.expect(200);
    rotate(&server, &mut agent, &key(10)).await.refused(429, "rate_limited");
    server.clock.advance(KEY_ROTATION_INTERVAL_MIN);
    agent.handshake(&server).await.expect(200);
    rotate(&server, &mut agent, &first).await.refused(422, "invalid");
    let stale = KeyRotation { serial: 1, ..statement(&server, &agent, &key(10)) };
    let stale = Cosigned::new(&agent.key, &key(10), &stale);
    send(&server, &mut agent, &stale).await.refused(422, "invalid");
    rotate(&server, &mut agent, &key(10)).await.expect(200);
    agent.key = key(10);
    agent.handshake(&server).await.expect(200);
    assert_eq!(server.audit("agent.key_rotated").await.len(), 2);
}

on_both!(
    the_new_key_takes_over_and_the_old_one_opens_nothing,
    nobody_rotates_with_less_than_both_keys,
    a_key_is_rotated_now_and_then_and_never_back,
);
