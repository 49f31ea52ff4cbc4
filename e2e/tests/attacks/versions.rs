//! Versions: what is too old is heard and gets nothing, and nothing goes back by itself. And the
//! configuration that a server fills in is one that the agent reads.

use argosy_agent::config::AgentSettings;
use argosy_config::load::load;
use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use argosy_wire::problem::Code;
use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway;

const HEARTBEAT: &str = "/api/v1/agents/heartbeat";
const INGEST: &str = "/api/v1/discovery/ingest";

async fn minimum(server: &TestServer, version: &str) {
    let bearer = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", bearer.as_str())];
    let change = json!({ "minimum_agent_version": version });
    let path = "/api/v1/settings";
    server.client.send(Method::PATCH, path, &headers, Some(&change)).await.expect(200);
}

async fn outdated(server: &TestServer, agent: &TestAgent) -> Value {
    server.agent(&agent.agent_id).await["outdated"].clone()
}

async fn an_outdated_agent_is_heard_and_gets_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let path = format!("/api/v1/agents/{}/commands", agent.agent_id);
    let order = json!({ "kind": "subsystem.run", "params": { "subsystem": "storage" } });
    server.client.post(&path, &server.admin_key, &order).await.expect(202);
    minimum(&server, "0.2.0").await;
    assert_eq!(outdated(&server, &agent).await, true);
    // On the session that it has, and on a new one.
    for renewed in [false, true] {
        if renewed {
            let session = agent.handshake(&server).await.expect(200);
            assert_eq!(session["scope"], "update_only");
        }
        agent.heartbeat(&server).await.expect(200);
        let nothing = json!({ "resources": [] });
        let ingest = agent.call(&server, Method::POST, INGEST, Some(&nothing)).await;
        ingest.refused(426, "upgrade_required");
        assert!(ingest.body["detail"].as_str().unwrap().contains("0.2.0"), "{ingest:?}");
        let rpc = gateway::rpc(&server);
        let options = gateway::session(&agent, &server, gateway::INVENTORY);
        let error = gateway::upload(&rpc, options).await.unwrap_err();
        assert_eq!(gateway::code(&error), Code::UpgradeRequired);
        let options = gateway::session(&agent, &server, gateway::STREAM);
        let mut stream = gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap();
        stream.send(gateway::heartbeat_frame()).await.unwrap();
        let next = gateway::next(&mut stream).await.unwrap();
        assert!(matches!(next, Some(gateway::Down::HeartbeatAck(_))), "{next:?}");
    }
    // Updated: it reports in with the new version, and what waited is delivered.
    agent.version = "0.10.0".to_owned();
    assert_eq!(agent.handshake(&server).await.expect(200)["scope"], "full");
    assert_eq!(outdated(&server, &agent).await, false);
    assert_eq!(server.agent(&agent.agent_id).await["version"], "0.10.0");
    let rpc = gateway::rpc(&server);
    let options = gateway::session(&agent, &server, gateway::STREAM);
    let mut stream = gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap();
    let next = gateway::next(&mut stream).await.unwrap();
    assert!(matches!(next, Some(gateway::Down::Command(_))), "{next:?}");
}

/// An agent without keys says its version in its heartbeats.
async fn an_outdated_agent_without_keys_may_heartbeat(place: Place) {
    let server = TestServer::start(&place).await;
    let token = server.token(json!({ "auto_approve": true })).await;
    let body = json!({ "name": "bare", "bootstrap_token": token, "version": "0.1.9" });
    let answer = server.client.post_anonymous("/api/v1/agents/register", &body).await;
    let key = answer.text("api_key");
    minimum(&server, "0.1.23").await;
    let nothing = json!({ "resources": [] });
    server.client.post(INGEST, &key, &nothing).await.refused(426, "upgrade_required");
    server.client.post(HEARTBEAT, &key, &json!({ "version": "0.1.23" })).await.expect(200);
    server.client.post(INGEST, &key, &nothing).await.expect(200);
}

async fn an_older_version_comes_back_only_by_an_operator(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    agent.version = "0.2.0".to_owned();
    agent.handshake(&server).await.expect(200);
    let newer = agent.clone();
    agent.version = "0.1.9".to_owned();
    agent.handshake(&server).await.refused(403, "downgrade");
    // A call that shows an older version than the recorded one, under a genuine session.
    let proof = agent.proof(&server, "POST", HEARTBEAT);
    let authorization = format!("DPoP {}", agent.session);
    let shown = |version: &'static str| {
        [
            ("authorization", authorization.as_str()),
            ("dpop", proof.as_str()),
            ("x-agent-version", version),
        ]
    };
    let answer = server.client.send(Method::POST, HEARTBEAT, &shown("0.1.9"), None).await;
    answer.refused(403, "downgrade");
    let shown = server.agent(&agent.agent_id).await;
    assert_eq!((&shown["version"], &shown["status"]), (&json!("0.2.0"), &json!("approved")));
    assert_eq!(shown["review"]["reason"], "downgrade");
    assert_eq!(shown["review"]["origins"][1]["version"], "0.1.9");
    assert!(!server.audit("agent.downgrade_refused").await.is_empty());
    // The newer one goes on working; the operator may accept the older one all the same.
    newer.clone().heartbeat(&server).await.expect(200);
    server.decide(&agent.agent_id, "restore", json!({})).await.expect(200);
    agent.handshake(&server).await.expect(200);
    let shown = server.agent(&agent.agent_id).await;
    assert_eq!((&shown["version"], &shown["review"]), (&json!("0.1.9"), &Value::Null));
}

async fn the_agent_reads_the_configuration_that_the_server_fills_in(place: Place) {
    let server = TestServer::start(&place).await;
    let thumbprint = server.app.keyring().thumbprint().to_string();
    let token = server.token(json!({})).await;
    let bearer = format!("Bearer {}", server.admin_key);
    let path = "/api/v1/agents/config-template";
    for format in ["yaml", "toml"] {
        let address = format!("{}{path}?account_id=1&format={format}", server.url);
        let request = argosy_e2e::http::plain().get(address);
        let answer = request.header("authorization", &bearer).send().await.unwrap();
        let text = answer.error_for_status().unwrap().text().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(format!("agent.{format}"));
        std::fs::write(&file, &text).unwrap();
        let settings = load::<AgentSettings>(Some(&file), [], &[], &[]).unwrap().settings;
        // Left as it is, the agent says which setting is wrong.
        assert!(settings.check().unwrap_err().to_string().contains("bootstrap_token"));
        let placeholder = settings.bootstrap_token.unwrap().expose().to_owned();
        assert_eq!(text.matches(&placeholder).count(), 1);
        std::fs::write(&file, text.replace(&placeholder, &token)).unwrap();
        let settings = load::<AgentSettings>(Some(&file), [], &[], &[]).unwrap().settings;
        let config = settings.check().unwrap();
        assert_eq!(config.pin.unwrap().to_string(), thumbprint);
        assert_eq!(config.account.0, 1);
        let url = config.server.unwrap();
        let origin = url.origin();
        assert!(server.app.rules().public_urls.iter().any(|public| public == origin));
    }
    for (query, field) in [("?format=ini", "format"), ("?account_id=77", "account_id")] {
        let answer = server.client.get(&format!("{path}{query}"), &server.admin_key).await;
        answer.refused(422, "invalid");
        assert_eq!(answer.body["errors"][0]["field"], field);
    }
}

on_both!(
    an_outdated_agent_is_heard_and_gets_nothing,
    an_outdated_agent_without_keys_may_heartbeat,
    an_older_version_comes_back_only_by_an_operator,
    the_agent_reads_the_configuration_that_the_server_fills_in,
);
