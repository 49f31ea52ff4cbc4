//! Attack 6: agents that are not, not yet or no longer approved try every door.

use argosy_domain::limits::REGISTRATION_LIFE;
use argosy_e2e::{agent::TestAgent, database::Place, http::Answer, on_both, server::TestServer};
use argosy_wire::{bytes::encode, problem::Code, sign::Purpose};
use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway;

const HEARTBEAT: &str = "/api/v1/agents/heartbeat";
const INGEST: &str = "/api/v1/discovery/ingest";

/// How a registration can stand without being approved.
const STANDINGS: [&str; 5] = ["pending", "rejected", "expired", "cancelled", "revoked"];

fn one_resource() -> Value {
    let resource = json!({
        "provider": "aws", "region": "eu-central-1", "resource_type": "vpc",
        "resource_id": "vpc-1", "name": "main",
    });
    json!({ "account_id": 1, "resources": [resource] })
}

/// Registers and leads to a standing; with keys or with an API key alone.
async fn registered(server: &TestServer, standing: &str, keys: bool) -> TestAgent {
    let mut agent = TestAgent::new(&format!("{standing}-{keys}"));
    let made = server.create_token(json!({})).await.expect(201);
    let token = made["token"].as_str().unwrap();
    if keys {
        agent.register(server, token).await.expect(201);
    } else {
        let body = json!({ "name": agent.name, "bootstrap_token": token });
        let answer = server.client.post_anonymous("/api/v1/agents/register", &body).await;
        (agent.agent_id, agent.api_key) = (answer.text("agent_id"), answer.text("api_key"));
    }
    match standing {
        "pending" => {}
        "rejected" => {
            server.decide(&agent.agent_id, "reject", json!({})).await.expect(200);
        }
        "expired" => server.clock.advance(REGISTRATION_LIFE),
        "cancelled" => {
            let path = format!("/api/v1/bootstrap-tokens/{}", made["id"].as_str().unwrap());
            let answer = server.client.delete(&path, &server.admin_key).await;
            assert!(answer.status < 300, "{answer:?}");
        }
        "revoked" => {
            server.decide(&agent.agent_id, "approve", json!({})).await.expect(200);
            if keys {
                agent.handshake(server).await.expect(200);
            }
            server.decide(&agent.agent_id, "revoke", json!({})).await.expect(200);
        }
        other => panic!("no such standing: {other}"),
    }
    agent
}

/// What the standing answers to whoever holds its API key.
fn expected(standing: &str) -> Code {
    if standing == "pending" { Code::NotApproved } else { Code::Unauthenticated }
}

fn refused(answer: &Answer, code: Code) {
    answer.refused(code.http(), code.as_str());
    assert!(answer.headers.contains_key("www-authenticate") == (code.http() == 401));
}

/// Nothing came of it: never seen, never connected, no resource, no report.
async fn is_unmoved(server: &TestServer, agent: &TestAgent, before: &Value) {
    let shown = server.agent(&agent.agent_id).await;
    // A sweep may have written down by now what was true before: that the registration lapsed.
    for field in ["last_seen_at", "connected", "health", "version", "name", "machine_bound"] {
        assert_eq!(shown[field], before[field], "{field}");
    }
    let list = "/api/v1/discovery/resources";
    let resources = server.client.get(list, &server.admin_key).await.expect(200);
    assert_eq!(resources["items"], json!([]));
    let path = format!("/api/v1/agents/{}/inventory", agent.agent_id);
    let inventory = server.client.get(&path, &server.admin_key).await.expect(200);
    assert_eq!(inventory["items"].as_array().map_or(0, Vec::len), 0, "{inventory}");
}

async fn whoever_is_not_approved_gets_no_handshake(place: Place) {
    let server = TestServer::start(&place).await;
    for standing in STANDINGS {
        let mut agent = registered(&server, standing, true).await;
        let (before, code) = (server.agent(&agent.agent_id).await, expected(standing));
        refused(&agent.begin(&server).await, code);
        let begin = argosy_wire::rpc::gateway::BeginAuthHandshakeRequest {
            api_key: agent.api_key.clone(),
            identity_pubkey: agent.public_key().0.to_vec(),
            agent_nonce: vec![7; 32],
            ..Default::default()
        };
        let error = gateway::rpc(&server).begin_auth_handshake(begin).await.map(drop).unwrap_err();
        assert_eq!(gateway::code(&error), code, "{standing}");
        // Without a challenge of the server there is nothing to complete.
        let signature = argosy_wire::sign::sign_payload(&agent.key, Purpose::Handshake, b"{}");
        let body = json!({
            "agent_id": agent.agent_id, "challenge": encode(&[9; 32]),
            "signature": signature.to_string(), "version": "0.1.0",
        });
        agent.complete(&server, &body).await.refused(401, "handshake_refused");
        is_unmoved(&server, &agent, &before).await;
    }
}

async fn whoever_is_not_approved_gets_nothing_with_an_api_key(place: Place) {
    let server = TestServer::start(&place).await;
    for (standing, keys) in STANDINGS.into_iter().flat_map(|s| [(s, true), (s, false)]) {
        let agent = registered(&server, standing, keys).await;
        let (before, code) = (server.agent(&agent.agent_id).await, expected(standing));
        let client = &server.client;
        refused(&client.post(HEARTBEAT, &agent.api_key, &json!({})).await, code);
        refused(&client.post(INGEST, &agent.api_key, &one_resource()).await, code);
        refused(&client.get("/api/v1/agents", &agent.api_key).await, code);
        let own = format!("/api/v1/agents/{}", agent.agent_id);
        refused(&client.get(&own, &agent.api_key).await, code);
        refused(&client.post(&format!("{own}/approve"), &agent.api_key, &json!({})).await, code);
        let (rpc, key) = (gateway::rpc(&server), || gateway::bearer(&agent.api_key));
        let refusals = [
            gateway::heartbeat(&rpc, key()).await.unwrap_err(),
            gateway::upload(&rpc, key()).await.unwrap_err(),
        ];
        for error in refusals {
            assert_eq!(gateway::code(&error), code, "{standing}");
        }
        let stream = gateway::open(&rpc, key(), gateway::heartbeat_frame()).await;
        assert_eq!(stream.map(drop), Err(code), "{standing}");
        is_unmoved(&server, &agent, &before).await;
    }
}

async fn a_session_dies_with_its_agent(place: Place) {
    let server = TestServer::start(&place).await;
    for end in ["revoke", "delete"] {
        let mut agent = TestAgent::in_session(&server, end).await;
        agent.heartbeat(&server).await.expect(200);
        let rpc = gateway::rpc(&server);
        let path = format!("/api/v1/agents/{}", agent.agent_id);
        match end {
            "revoke" => server.decide(&agent.agent_id, "revoke", json!({})).await.expect(200),
            _ => server.client.delete(&path, &server.admin_key).await.expect(204),
        };
        let seen = server.client.get(&path, &server.admin_key).await.body["last_seen_at"].clone();
        server.clock.advance(std::time::Duration::from_secs(5));
        agent.heartbeat(&server).await.refused(401, "invalid_session");
        let ingest = agent.call(&server, Method::POST, INGEST, Some(&one_resource())).await;
        ingest.refused(401, "invalid_session");
        let options = gateway::session(&agent, &server, gateway::HEARTBEAT);
        let error = gateway::heartbeat(&rpc, options).await.unwrap_err();
        assert_eq!(gateway::code(&error), Code::InvalidSession);
        let options = gateway::session(&agent, &server, gateway::INVENTORY);
        let error = gateway::upload(&rpc, options).await.unwrap_err();
        assert_eq!(gateway::code(&error), Code::InvalidSession);
        let options = gateway::session(&agent, &server, gateway::STREAM);
        let stream = gateway::open(&rpc, options, gateway::hello(&agent)).await;
        assert_eq!(stream.map(drop), Err(Code::InvalidSession));
        agent.handshake(&server).await.refused(401, "unauthenticated");
        let shown = server.client.get(&path, &server.admin_key).await.body;
        assert_eq!(shown["last_seen_at"], seen);
    }
    assert_eq!(server.audit("agent.revoked").await.len(), 1);
    assert_eq!(server.audit("agent.deleted").await.len(), 1);
}

/// A challenge that was given out while the agent was approved is worth nothing afterwards.
async fn a_handshake_begun_before_the_revocation_does_not_end(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::admitted(&server, "web-1").await;
    let begun = agent.begin(&server).await.expect(200);
    server.decide(&agent.agent_id, "revoke", json!({})).await.expect(200);
    let statement = agent.handshake_statement(&begun);
    let body = agent.completion(&statement, Purpose::Handshake);
    agent.complete(&server, &body).await.refused(401, "handshake_refused");
    let entries = server.audit("handshake.refused").await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["detail"]["reason"], "the agent is not approved");
}

async fn a_quarantined_agent_is_heard_and_handed_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let commands = format!("/api/v1/agents/{}/commands", agent.agent_id);
    let order = json!({ "kind": "subsystem.run", "params": { "subsystem": "storage" } });
    let queued = server.client.post(&commands, &server.admin_key, &order).await.expect(202);
    server.decide(&agent.agent_id, "quarantine", json!({})).await.expect(200);

    // Heard: the session that it has, and a new one.
    let heard = agent.heartbeat(&server).await.expect(200);
    assert_eq!(heard["commands_pending"], 0);
    agent.handshake(&server).await.expect(200);
    agent.heartbeat(&server).await.expect(200);

    // Handed nothing, over whatever it asks.
    let again = server.client.post(&commands, &server.admin_key, &order).await;
    again.refused(409, "wrong_state");
    let ingest = agent.call(&server, Method::POST, INGEST, Some(&one_resource())).await;
    ingest.refused(403, "quarantined");
    let rpc = gateway::rpc(&server);
    let options = gateway::session(&agent, &server, gateway::INVENTORY);
    let error = gateway::upload(&rpc, options).await.unwrap_err();
    assert_eq!(gateway::code(&error), Code::Quarantined);
    let options = gateway::session(&agent, &server, gateway::STREAM);
    let mut stream = gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap();
    stream.send(gateway::heartbeat_frame()).await.unwrap();
    let next = gateway::next(&mut stream).await.unwrap();
    assert!(matches!(next, Some(gateway::Down::HeartbeatAck(_))), "{next:?}");
    let id = queued["id"].as_str().unwrap();
    let path = format!("/api/v1/commands/{id}");
    let shown = server.client.get(&path, &server.admin_key).await.expect(200);
    assert_eq!(shown["state"], "queued");
    let list = "/api/v1/discovery/resources";
    let resources = server.client.get(list, &server.admin_key).await.expect(200);
    assert_eq!(resources["items"], json!([]));

    // Restored: what waited is delivered on the stream that is open.
    server.decide(&agent.agent_id, "restore", json!({})).await.expect(200);
    let next = gateway::next(&mut stream).await.unwrap();
    assert!(matches!(next, Some(gateway::Down::Command(_))), "{next:?}");
    assert_eq!(server.audit("agent.quarantined").await.len(), 1);
    assert_eq!(server.audit("agent.restored").await.len(), 1);
}

on_both!(
    whoever_is_not_approved_gets_no_handshake,
    whoever_is_not_approved_gets_nothing_with_an_api_key,
    a_session_dies_with_its_agent,
    a_handshake_begun_before_the_revocation_does_not_end,
    a_quarantined_agent_is_heard_and_handed_nothing,
);
