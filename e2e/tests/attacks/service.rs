//! Attack 16 for agents of service keys, and the switch that forbids agents without keys: what a
//! body names never decides.

use argosy_e2e::{database::Place, http::Answer, on_both, server::TestServer};
use argosy_wire::{
    problem::Code,
    rpc::gateway::{RegisterRequest, UploadHeartbeatRequest},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway;

const HEARTBEAT: &str = "/api/v1/agents/heartbeat";
const REGISTER: &str = "/api/v1/agents/register";
const INGEST: &str = "/api/v1/discovery/ingest";

/// A service key with these scopes.
async fn key(server: &TestServer, name: &str, scopes: &[&str]) -> String {
    let body = json!({ "name": name, "scopes": scopes });
    let answer = server.client.post("/api/v1/auth/keys", &server.admin_key, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.text("key")
}

async fn discovery(server: &TestServer, name: &str) -> String {
    key(server, name, &["discovery:create"]).await
}

async fn beat(server: &TestServer, key: &str, body: Value) -> Answer {
    server.client.post(HEARTBEAT, key, &body).await
}

async fn settings(server: &TestServer, change: Value) {
    let bearer = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", bearer.as_str())];
    let path = "/api/v1/settings";
    server.client.send(Method::PATCH, path, &headers, Some(&change)).await.expect(200);
}

/// The agent that goes by an id.
async fn called(server: &TestServer, id: &str) -> Option<Value> {
    server.agents().await.into_iter().find(|agent| agent["external_id"] == id)
}

async fn a_service_key_brings_its_agents_into_being(place: Place) {
    let server = TestServer::start(&place).await;
    let key = discovery(&server, "collector").await;
    let body = json!({ "agent_id": "aws collector/1", "version": "9.0.0", "hostname": "c1" });
    let answer = beat(&server, &key, body.clone()).await.expect(200);
    assert_eq!((&answer["status"], &answer["account_id"]), (&json!("ok"), &json!(1)));
    let agent = called(&server, "aws collector/1").await.unwrap();
    assert_eq!((&agent["status"], &agent["assurance"]), (&json!("approved"), &json!("api_key")));
    assert_eq!((&agent["name"], &agent["hostname"]), (&json!("aws collector/1"), &json!("c1")));
    let minted = server.audit("key.created").await;
    let own = minted.iter().find(|entry| entry["detail"]["name"] == "collector").unwrap();
    assert_eq!(agent["approved_by"], own["actor"]);
    // Once more, by either id, over either interface: the same agent.
    beat(&server, &key, body).await.expect(200);
    let own = agent["agent_id"].as_str().unwrap();
    beat(&server, &key, json!({ "agent_id": own })).await.expect(200);
    let request = UploadHeartbeatRequest { agent_id: own.to_owned(), ..Default::default() };
    let rpc = gateway::rpc(&server);
    rpc.upload_heartbeat_with_options(request, gateway::bearer(&key)).await.unwrap();
    // A registration names another, over REST and RPC.
    let body = json!({ "name": "two", "agent_id": "second", "platform": "linux-amd64" });
    let answer = server.client.post(REGISTER, &key, &body).await.expect(201);
    assert_eq!(answer["approval_status"], "approved");
    assert_eq!(answer.get("api_key"), None);
    let request = RegisterRequest {
        name: "ignored".to_owned(),
        agent_id: Some("second".to_owned()),
        ..Default::default()
    };
    let taken = rpc.register_with_options(request, gateway::bearer(&key)).await.unwrap();
    assert_eq!(json!(taken.into_owned().agent_id), answer["agent_id"]);
    assert_eq!(server.agents().await.len(), 2);
    // What it finds is its own.
    let resources = json!({ "agent_id": "second", "account_id": 1, "resources": [] });
    server.client.post(INGEST, &key, &resources).await.expect(200);
    for action in ["agent.registered", "agent.approved"] {
        let entries = server.audit(action).await;
        assert_eq!(entries.len(), 2, "{action}");
        assert!(entries.iter().all(|entry| entry["detail"]["service_key"].is_string()));
    }
}

async fn an_id_belongs_to_the_key_that_came_with_it_first(place: Place) {
    let server = TestServer::start(&place).await;
    let (one, two) = (discovery(&server, "one").await, discovery(&server, "two").await);
    beat(&server, &one, json!({ "agent_id": "mine" })).await.expect(200);
    let other = server.other_organisation().await;
    let before = server.agents().await;
    beat(&server, &two, json!({ "agent_id": "mine" })).await.refused(403, "forbidden");
    let body = json!({ "name": "x", "agent_id": "mine" });
    server.client.post(REGISTER, &two, &body).await.refused(403, "forbidden");
    let ingest = json!({ "agent_id": "mine", "resources": [] });
    server.client.post(INGEST, &two, &ingest).await.refused(403, "forbidden");
    let request = UploadHeartbeatRequest { agent_id: "mine".to_owned(), ..Default::default() };
    let rpc = gateway::rpc(&server);
    let refused = rpc.upload_heartbeat_with_options(request, gateway::bearer(&two)).await;
    assert_eq!(gateway::code(&refused.map(drop).unwrap_err()), Code::Forbidden);
    // Nor is an agent of another kind anybody's to name.
    let enrolled = argosy_e2e::agent::TestAgent::admitted(&server, "web-1").await;
    let answer = beat(&server, &one, json!({ "agent_id": enrolled.agent_id })).await;
    answer.refused(403, "forbidden");
    // Without the scope, or without an id, there is nothing.
    let viewer = key(&server, "viewer", &["agents:read"]).await;
    beat(&server, &viewer, json!({ "agent_id": "new" })).await.refused(403, "forbidden");
    beat(&server, &one, json!({})).await.refused(422, "invalid");
    let account = json!({ "agent_id": "new", "account_id": other.account_id });
    beat(&server, &one, account).await.refused(422, "invalid");
    assert_eq!(server.agents().await.len(), before.len() + 1);
    // Another organisation has ids of its own.
    beat(&server, &other.admin_key, json!({ "agent_id": "mine" })).await.expect(200);
    // The body of a later call changes nothing.
    let body = json!({ "agent_id": "mine", "name": "else", "account_id": other.account_id });
    assert_eq!(beat(&server, &one, body).await.expect(200)["account_id"], 1);
    assert_eq!(called(&server, "mine").await.unwrap()["name"], "mine");
}

async fn a_revoked_agent_of_a_service_key_stays_away(place: Place) {
    let server = TestServer::start(&place).await;
    let key = discovery(&server, "one").await;
    beat(&server, &key, json!({ "agent_id": "mine" })).await.expect(200);
    let id = called(&server, "mine").await.unwrap()["agent_id"].as_str().unwrap().to_owned();
    server.decide(&id, "revoke", json!({})).await.expect(200);
    beat(&server, &key, json!({ "agent_id": "mine" })).await.refused(401, "unauthenticated");
    assert_eq!(server.agents().await.len(), 1);
    // Many first calls at the same moment make one agent.
    let body = json!({ "agent_id": "together" });
    let calls = (0..8).map(|_| beat(&server, &key, body.clone()));
    for answer in futures::future::join_all(calls).await {
        answer.expect(200);
    }
    assert_eq!(server.agents().await.len(), 2);
}

async fn the_installation_may_forbid_agents_without_keys(place: Place) {
    let server = TestServer::start(&place).await;
    let service = discovery(&server, "one").await;
    beat(&server, &service, json!({ "agent_id": "mine" })).await.expect(200);
    let token = server.token(json!({ "max_uses": 3, "auto_approve": true })).await;
    let body = json!({ "name": "bare", "bootstrap_token": token });
    let bare = server.client.post_anonymous(REGISTER, &body).await.text("api_key");
    beat(&server, &bare, json!({})).await.expect(200);
    settings(&server, json!({ "allow_api_key_agents": false })).await;
    let forbidden = "api_key_agents_forbidden";
    beat(&server, &bare, json!({})).await.refused(403, forbidden);
    beat(&server, &bare, json!({})).await.refused(403, forbidden);
    beat(&server, &service, json!({ "agent_id": "mine" })).await.refused(403, forbidden);
    beat(&server, &service, json!({ "agent_id": "new" })).await.refused(403, forbidden);
    let body = json!({ "name": "bare-2", "bootstrap_token": token });
    server.client.post_anonymous(REGISTER, &body).await.refused(403, forbidden);
    assert_eq!(server.agents().await.len(), 2);
    assert_eq!(server.audit("agent.api_key_refused").await.len(), 2, "once for each");
    assert_eq!(server.audit("enrolment.refused").await[0]["detail"]["code"], forbidden);
    settings(&server, json!({ "allow_api_key_agents": true })).await;
    beat(&server, &bare, json!({})).await.expect(200);
    beat(&server, &service, json!({ "agent_id": "mine" })).await.expect(200);
}

/// What holds for an agent with a key holds for one behind a service key.
async fn an_agent_that_may_not_work_ingests_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let key = discovery(&server, "one").await;
    let body = json!({ "agent_id": "mine", "version": "0.1.0" });
    beat(&server, &key, body).await.expect(200);
    let id = called(&server, "mine").await.unwrap()["agent_id"].as_str().unwrap().to_owned();
    let body = json!({ "agent_id": "mine", "resources": [] });
    let ingest = async || server.client.post(INGEST, &key, &body).await;
    ingest().await.expect(200);
    settings(&server, json!({ "minimum_agent_version": "0.2.0" })).await;
    ingest().await.refused(426, "upgrade_required");
    settings(&server, json!({ "minimum_agent_version": "0.1.0" })).await;
    settings(&server, json!({ "allow_api_key_agents": false })).await;
    ingest().await.refused(403, "api_key_agents_forbidden");
    settings(&server, json!({ "allow_api_key_agents": true })).await;
    server.decide(&id, "quarantine", json!({})).await.expect(200);
    ingest().await.refused(403, "quarantined");
    server.decide(&id, "restore", json!({})).await.expect(200);
    ingest().await.expect(200);
    server.decide(&id, "revoke", json!({})).await.expect(200);
    ingest().await.refused(401, "unauthenticated");
    // An agent that joined in another way is nobody's to speak for.
    let enrolled = argosy_e2e::agent::TestAgent::admitted(&server, "web-1").await;
    let body = json!({ "agent_id": enrolled.agent_id, "resources": [] });
    server.client.post(INGEST, &key, &body).await.refused(403, "forbidden");
}

on_both!(
    an_agent_that_may_not_work_ingests_nothing,
    a_service_key_brings_its_agents_into_being,
    an_id_belongs_to_the_key_that_came_with_it_first,
    a_revoked_agent_of_a_service_key_stays_away,
    the_installation_may_forbid_agents_without_keys,
);
