//! Schedules of subsystems, from the operator to the agent: signed, fenced by generation, and handed
//! to nobody who may not have them (attack 6).

use argosy_e2e::{agent::TestAgent, database::Place, on_both, process::until, server::TestServer};
use argosy_wire::{
    rpc::gateway::{ConfigInForce, ControlStreamRequest, State},
    statement::ConfigStatement,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway::{self, Down, Stream};

async fn change(server: &TestServer, agent: &TestAgent, change: Value) -> argosy_e2e::http::Answer {
    let path = format!("/api/v1/agents/{}/subsystems/system", agent.agent_id);
    let authorization = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", authorization.as_str())];
    server.client.send(Method::PATCH, &path, &headers, Some(&change)).await
}

async fn show(server: &TestServer, agent: &TestAgent) -> Value {
    let path = format!("/api/v1/agents/{}/subsystems", agent.agent_id);
    server.client.get(&path, &server.admin_key).await.expect(200)
}

/// A stream of an agent that has this generation.
async fn open(server: &TestServer, agent: &TestAgent, generation: i64) -> Stream {
    let options = gateway::session(agent, server, gateway::STREAM);
    let statement = gateway::hello_statement(agent);
    let hello = gateway::configured_hello(&agent.key, &statement, generation);
    gateway::open(&gateway::rpc(server), options, hello).await.unwrap()
}

fn in_force(generation: i64, error: &str) -> ControlStreamRequest {
    let config = ConfigInForce { generation, error: error.to_owned(), ..Default::default() };
    gateway::frame(State { config: Some(config).into(), ..Default::default() }.into())
}

/// The next configuration, verified as an agent does it.
async fn configured(server: &TestServer, stream: &mut Stream) -> (ConfigStatement, Value) {
    let mut frame = gateway::next(stream).await.unwrap().expect("the stream goes on");
    while matches!(frame, Down::HeartbeatAck(_)) {
        frame = gateway::next(stream).await.unwrap().expect("the stream goes on");
    }
    let Down::Config(config) = frame else { panic!("no configuration: {frame:?}") };
    let (envelope, certificate) = (config.envelope.as_option(), config.certificate.as_option());
    let statement: ConfigStatement =
        gateway::certified(server, envelope.unwrap(), certificate.unwrap());
    let digest = argosy_domain::digest::Sha256::of(&config.document).0;
    assert_eq!(statement.document_sha256.0, digest);
    (statement, serde_json::from_slice(&config.document).unwrap())
}

/// Whether nothing but the answer to a heartbeat comes.
async fn quiet(stream: &mut Stream) {
    stream.send(gateway::heartbeat_frame()).await.unwrap();
    let next = gateway::next(stream).await.unwrap();
    assert!(matches!(next, Some(Down::HeartbeatAck(_))), "{next:?}");
}

async fn a_change_reaches_the_agent_and_its_answer_is_shown(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let mut stream = open(&server, &agent, 0).await;
    quiet(&mut stream).await;
    let before = show(&server, &agent).await;
    assert_eq!(
        (before["generation"].as_i64(), before["items"][2]["name"].as_str()),
        (Some(0), Some("system"))
    );
    let changed =
        change(&server, &agent, json!({ "interval_s": 600, "timeout_s": 20 })).await.expect(200);
    assert_eq!(
        (changed["generation"].as_i64(), changed["applied_generation"].as_i64()),
        (Some(1), Some(0))
    );
    let (statement, document) = configured(&server, &mut stream).await;
    assert_eq!((statement.generation.0, &statement.agent), (1, &agent.id()));
    assert_eq!(document["subsystems"]["system"]["interval_s"], 600);
    assert_eq!(document["subsystems"]["storage"]["interval_s"], 300, "the whole is sent");
    stream.send(in_force(1, "")).await.unwrap();
    until("the answer", async || {
        let shown = show(&server, &agent).await;
        (shown["applied_generation"] == 1 && shown["applied_at"].is_string()).then_some(())
    })
    .await;
    change(&server, &agent, json!({ "interval_s": 600 })).await.expect(200);
    quiet(&mut stream).await;
    assert_eq!(show(&server, &agent).await["generation"], 1, "what changes nothing is no change");
    change(&server, &agent, json!({ "enabled": false })).await.expect(200);
    assert_eq!(configured(&server, &mut stream).await.0.generation.0, 2);
    stream.send(in_force(1, "the disk is full")).await.unwrap();
    until("the refusal", async || {
        (show(&server, &agent).await["refused"] == "the disk is full").then_some(())
    })
    .await;
    assert_eq!(server.audit("subsystem.updated").await.len(), 2);
}

async fn each_stream_begins_with_what_the_agent_lacks(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    change(&server, &agent, json!({ "auto_run": false })).await.expect(200);
    let mut stream = open(&server, &agent, 0).await;
    assert_eq!(configured(&server, &mut stream).await.0.generation.0, 1);
    drop(stream);
    let mut stream = open(&server, &agent, 0).await;
    assert_eq!(configured(&server, &mut stream).await.0.generation.0, 1, "it never answered");
    drop(stream);
    let mut stream = open(&server, &agent, 1).await;
    quiet(&mut stream).await;
    drop(stream);
    // The server was restored from a backup, and the agent is ahead.
    let mut stream = open(&server, &agent, 7).await;
    let (statement, document) = configured(&server, &mut stream).await;
    assert_eq!(statement.generation.0, 8);
    assert_eq!(document["subsystems"]["system"]["auto_run"], false);
}

async fn nobody_gets_a_configuration_who_may_not_have_it(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    for bad in [
        json!({ "interval_s": 59 }),
        json!({ "interval_s": 86_401 }),
        json!({ "timeout_s": 0 }),
        json!({ "timeout_s": 301 }),
    ] {
        change(&server, &agent, bad).await.refused(422, "invalid");
    }
    let mut stream = open(&server, &agent, 0).await;
    quiet(&mut stream).await;
    server.decide(&agent.agent_id, "quarantine", json!({})).await.expect(200);
    change(&server, &agent, json!({ "interval_s": 600 })).await.expect(200);
    // Whether the stream goes on or not: the answer to a heartbeat comes, or its end, and nothing
    // before.
    let _ = stream.send(gateway::heartbeat_frame()).await;
    let next = gateway::next(&mut stream).await;
    assert!(!matches!(next, Ok(Some(Down::Config(_)))), "it was handed out");
}

on_both!(
    a_change_reaches_the_agent_and_its_answer_is_shown,
    each_stream_begins_with_what_the_agent_lacks,
    nobody_gets_a_configuration_who_may_not_have_it,
);
