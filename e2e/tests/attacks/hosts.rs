//! Attacks 10 and 11, and what an operator does about them: both origins are shown, the original
//! goes on working, and rebind, replace and restore answer.

use argosy_config::host::OsEntropy;
use argosy_domain::entropy::random_bytes;
use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use argosy_wire::{bytes::Fixed, rpc::admin::ListAgentsRequest, sign::Purpose};
use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway;

const HEARTBEAT: &str = "/api/v1/agents/heartbeat";

/// An agent that enrolled with a machine id, in session.
async fn bound(server: &TestServer, name: &str) -> TestAgent {
    let mut agent = TestAgent::new(name);
    agent.machine_id = Some(Fixed(random_bytes(&OsEntropy)));
    agent.register(server, &server.token(json!({})).await).await.expect(201);
    server.decide(&agent.agent_id, "approve", json!({})).await.expect(200);
    agent.handshake(server).await.expect(200);
    agent
}

/// Its state directory on another machine.
fn copied(agent: &TestAgent) -> TestAgent {
    TestAgent { machine_id: Some(Fixed(random_bytes(&OsEntropy))), ..agent.clone() }
}

async fn review(server: &TestServer, agent: &TestAgent) -> Value {
    server.agent(&agent.agent_id).await["review"].clone()
}

/// What the operators' RPC service shows.
async fn review_by_rpc(server: &TestServer, agent: &TestAgent) -> Option<(String, usize)> {
    let request = ListAgentsRequest::default();
    let options = gateway::bearer(&server.admin_key);
    let listed = gateway::admin(server).list_agents_with_options(request, options).await.unwrap();
    let listed = listed.into_owned().agents;
    let shown = listed.into_iter().find(|shown| shown.agent_id == agent.agent_id).unwrap();
    shown.review.as_option().map(|review| (review.reason.clone(), review.origins.len()))
}

async fn a_copy_on_another_machine_is_shown_with_both_origins(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = bound(&server, "web-1").await;
    assert_eq!(review(&server, &agent).await, Value::Null);
    for on_a_session in [true, false] {
        let mut copy = copied(&agent);
        if on_a_session {
            let answer = copy.call(&server, Method::POST, HEARTBEAT, Some(&json!({}))).await;
            answer.refused(403, "machine_mismatch");
        } else {
            copy.handshake(&server).await.refused(403, "machine_mismatch");
        }
    }
    let shown = review(&server, &agent).await;
    assert_eq!(shown["reason"], "machine_mismatch");
    let origins = shown["origins"].as_array().unwrap();
    assert_eq!(origins.len(), 3, "{shown}");
    for origin in origins {
        assert_eq!(origin["source"], "127.0.0.1");
        assert_eq!(origin["machine"].as_str().unwrap().len(), 16);
        assert!(origin["at"].is_string());
    }
    assert_ne!(origins[0]["machine"], origins[1]["machine"]);
    assert_ne!(origins[1]["machine"], origins[2]["machine"]);
    assert_eq!(origins[0]["version"], "0.1.0");
    let id = agent.machine_id.unwrap().to_string();
    assert!(!shown.to_string().contains(&id), "who knows the id can claim the machine");
    assert_eq!(review_by_rpc(&server, &agent).await, Some(("machine_mismatch".into(), 3)));
    assert!(!server.audit("agent.machine_mismatch").await.is_empty());
    // The original goes on working; the operator stands by it.
    agent.heartbeat(&server).await.expect(200);
    agent.handshake(&server).await.expect(200);
    assert_eq!(server.agent(&agent.agent_id).await["status"], "approved");
    server.decide(&agent.agent_id, "restore", json!({})).await.expect(200);
    assert_eq!(review(&server, &agent).await, Value::Null);
    agent.heartbeat(&server).await.expect(200);
    assert_eq!(server.audit("agent.restored").await[0]["detail"]["review"], "machine_mismatch");
    // With nothing under review there is nothing to restore.
    server.decide(&agent.agent_id, "restore", json!({})).await.refused(409, "wrong_state");
}

async fn a_machine_that_nobody_signed_for_is_bound_to_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = bound(&server, "web-1").await;
    // Somebody on the way changes the header, which no signature covers.
    let mut changed = copied(&agent);
    let answer = changed.call(&server, Method::POST, HEARTBEAT, Some(&json!({}))).await;
    answer.refused(403, "machine_mismatch");
    let seen = review(&server, &agent).await["origins"][1]["machine"].clone();
    assert!(seen.is_string(), "people see it");
    for body in [json!({}), json!({ "machine": seen })] {
        server.decide(&agent.agent_id, "rebind", body).await.refused(409, "wrong_state");
    }
    assert!(server.audit("agent.rebound").await.is_empty());
    // Once that machine signs, it can be bound.
    changed.handshake(&server).await.refused(403, "machine_mismatch");
    server.decide(&agent.agent_id, "rebind", json!({ "machine": seen })).await.expect(200);
}

async fn a_host_that_moved_is_rebound(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = bound(&server, "web-1").await;
    server.decide(&agent.agent_id, "rebind", json!({})).await.refused(409, "wrong_state");
    let mut moved = copied(&agent);
    moved.handshake(&server).await.refused(403, "machine_mismatch");
    let seen = review(&server, &agent).await["origins"][1]["machine"].clone();
    let known = review(&server, &agent).await["origins"][0]["machine"].clone();
    // What the operator looked at must still be what was seen last.
    let wrong = json!({ "machine": known });
    server.decide(&agent.agent_id, "rebind", wrong).await.refused(409, "wrong_state");
    let body = json!({ "machine": seen, "reason": "new board" });
    let shown = server.decide(&agent.agent_id, "rebind", body).await.expect(200);
    assert_eq!((&shown["review"], &shown["status"]), (&Value::Null, &json!("approved")));
    // Sessions of the earlier machine are over, and it is the stranger now.
    agent.heartbeat(&server).await.refused(401, "invalid_session");
    moved.handshake(&server).await.expect(200);
    moved.heartbeat(&server).await.expect(200);
    agent.continuation = moved.continuation.clone();
    agent.handshake(&server).await.refused(403, "machine_mismatch");
    moved.heartbeat(&server).await.expect(200);
    let entries = server.audit("agent.rebound").await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["detail"]["to"], seen);
    assert_eq!(entries[0]["detail"]["reason"], "new board");
}

async fn a_fork_shows_both_origins_until_an_operator_confirms(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = bound(&server, "web-1").await;
    let mut clone = agent.clone();
    agent.handshake(&server).await.expect(200);
    agent.handshake(&server).await.expect(200);
    clone.handshake(&server).await.expect(200);
    let shown = server.agent(&agent.agent_id).await;
    assert_eq!(
        (&shown["status"], &shown["review"]["reason"]),
        (&json!("quarantined"), &json!("clone"))
    );
    assert_eq!(shown["review"]["origins"].as_array().unwrap().len(), 2, "{shown}");
    assert_eq!(review_by_rpc(&server, &agent).await, Some(("clone".into(), 2)));
    server.decide(&agent.agent_id, "restore", json!({})).await.expect(200);
    let shown = server.agent(&agent.agent_id).await;
    assert_eq!((&shown["status"], &shown["review"]), (&json!("approved"), &Value::Null));
}

/// An answer that lay on the wire while the agent asked again is refused, and is no fork.
async fn a_late_answer_is_no_fork(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = bound(&server, "web-1").await;
    let begun = agent.begin(&server).await.expect(200);
    let late = agent.completion(&agent.handshake_statement(&begun), Purpose::Handshake);
    agent.handshake(&server).await.expect(200);
    agent.clone().complete(&server, &late).await.refused(401, "handshake_refused");
    agent.handshake(&server).await.expect(200);
    let shown = server.agent(&agent.agent_id).await;
    assert_eq!((&shown["status"], &shown["review"]), (&json!("approved"), &Value::Null));
}

async fn a_replaced_agent_is_fenced_off(place: Place) {
    let server = TestServer::start(&place).await;
    let mut old = bound(&server, "old").await;
    let (new, waiting) = (bound(&server, "new").await, {
        let mut waiting = TestAgent::new("waiting");
        waiting.register(&server, &server.token(json!({})).await).await.expect(201);
        waiting
    });
    let id = old.agent_id.clone();
    let replace = async |by: &str| server.decide(&id, "replace", json!({ "agent_id": by })).await;
    replace("nobody").await.refused(422, "invalid");
    replace(&old.agent_id).await.refused(422, "invalid");
    replace(&waiting.agent_id).await.refused(409, "wrong_state");
    let order = json!({ "kind": "subsystem.run", "params": { "subsystem": "storage" } });
    let path = format!("/api/v1/agents/{}/commands", old.agent_id);
    let queued = server.client.post(&path, &server.admin_key, &order).await.expect(202);
    let shown = replace(&new.agent_id).await.expect(200);
    assert_eq!(shown["status"], "revoked");
    assert_eq!(shown["replaced_by"], new.agent_id.as_str());
    assert_eq!(shown["reason"], "replaced by new");
    old.heartbeat(&server).await.refused(401, "invalid_session");
    old.handshake(&server).await.refused(401, "unauthenticated");
    // Nobody is left who could carry out what waited.
    let path = format!("/api/v1/commands/{}", queued["id"].as_str().unwrap());
    let command = server.client.get(&path, &server.admin_key).await.expect(200);
    assert_eq!(command["state"], "cancelled", "{command}");
    assert_eq!(server.audit("agent.replaced").await.len(), 1);
    replace(&new.agent_id).await.refused(409, "wrong_state");
    // Its name is free.
    let path = format!("/api/v1/agents/{}", new.agent_id);
    let bearer = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", bearer.as_str())];
    let renamed = json!({ "name": "old" });
    let answer = server.client.send(Method::PATCH, &path, &headers, Some(&renamed)).await;
    assert_eq!(answer.expect(200)["name"], "old");
}

on_both!(
    a_copy_on_another_machine_is_shown_with_both_origins,
    a_machine_that_nobody_signed_for_is_bound_to_nothing,
    a_host_that_moved_is_rebound,
    a_fork_shows_both_origins_until_an_operator_confirms,
    a_late_answer_is_no_fork,
    a_replaced_agent_is_fenced_off,
);
