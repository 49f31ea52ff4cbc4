//! Check-ins, the channel of agents without a stream: for their own session, agent and key only, one
//! channel an agent, and what agents without keys may say.

use std::time::Duration;

use argosy_domain::command::CommandSeq;
use argosy_e2e::{
    agent::TestAgent, database::Place, http::Answer, on_both, process::until, server::TestServer,
};
use argosy_wire::{
    bytes::{decode, encode},
    sign::Signed,
    statement::{CommandStatement, HelloStatement, ResultAckStatement},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    commands::{PARAMS, RESULT, give, receipt, show},
    gateway::{self, Down},
};

const PATH: &str = "/api/v1/agents/metrics";
/// A second is promised; the machine of a test may be busy.
const SOON: Duration = Duration::from_secs(4);

fn json_of(signed: &Signed) -> Value {
    json!({ "payload": encode(&signed.payload), "signature": signed.signature.to_string() })
}

/// A check-in with an honest hello of a journal up to `high_water`, and what else is said.
fn said(agent: &TestAgent, more: &Value) -> Value {
    let high_water = CommandSeq(more["high_water"].as_i64().unwrap_or_default());
    let hello = HelloStatement { high_water, ..gateway::hello_statement(agent) };
    let mut body = json!({ "hello": json_of(&Signed::new(&agent.key, &hello)) });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn check_in(server: &TestServer, agent: &mut TestAgent, more: Value) -> Answer {
    let body = said(agent, &more);
    agent.call(server, Method::POST, PATH, Some(&body)).await
}

async fn bearer(server: &TestServer, key: &str, body: &Value) -> Answer {
    server.client.post(PATH, key, body).await
}

fn signed(value: &Value) -> Signed {
    Signed {
        payload: decode(value["payload"].as_str().unwrap()).unwrap(),
        signature: value["signature"].as_str().unwrap().parse().unwrap(),
    }
}

/// What the server signed, verified as an agent does it.
fn certified<S: argosy_wire::sign::Statement>(server: &TestServer, value: &Value) -> S {
    let statement = |part: &str| gateway::statement_of(signed(&value[part]));
    gateway::certified(server, &statement("envelope"), &statement("certificate"))
}

/// A result, with the receipt of any key.
fn result(by: &TestAgent, agent: &TestAgent, id: &str) -> Value {
    let receipt = receipt(agent, id, "succeeded");
    json!({
        "command_id": id, "outcome": "succeeded", "payload": encode(RESULT),
        "receipt": json_of(&Signed::new(&by.key, &receipt)),
    })
}

async fn a_check_in_is_for_its_own_session_agent_and_key(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "honest").await;
    let other = TestAgent::in_session(&server, "other").await;

    // The agent is the session's, whatever a body says.
    let named = check_in(&server, &mut agent, json!({ "agent_id": other.agent_id })).await;
    named.refused(403, "forbidden");
    let silent = agent.call(&server, Method::POST, PATH, Some(&json!({}))).await;
    silent.refused(422, "invalid");
    // The hello of another session, of another agent, by another key.
    for thief in [
        TestAgent { session: other.session.clone(), ..agent.clone() },
        TestAgent { agent_id: other.agent_id.clone(), ..agent.clone() },
        TestAgent { key: other.key.clone(), ..agent.clone() },
    ] {
        let body = said(&thief, &json!({}));
        let answer = agent.call(&server, Method::POST, PATH, Some(&body)).await;
        answer.refused(401, "unauthenticated");
    }
    assert_eq!(server.agent(&agent.agent_id).await["connected"], false);

    // A key alone is nothing to an agent with keys.
    let bare = bearer(&server, &agent.api_key, &json!({})).await;
    bare.refused(401, "proof_required");
    // A proof opens one channel, also at a server that was started anew.
    let body = said(&agent, &json!({}));
    let proof = agent.proof(&server, "POST", PATH);
    let first = agent.call_with(&server, Method::POST, PATH, Some(&body), &proof).await;
    first.expect(200);
    let again = agent.call_with(&server, Method::POST, PATH, Some(&body), &proof).await;
    again.refused(401, "invalid_dpop_proof");
    let server = server.restart().await;
    let again = agent.call_with(&server, Method::POST, PATH, Some(&body), &proof).await;
    again.refused(401, "invalid_dpop_proof");
    check_in(&server, &mut agent, json!({})).await.expect(200);
    // What does not end is refused by name.
    let many = json!({ "started": vec!["c"; 257] });
    check_in(&server, &mut agent, many).await.refused(422, "invalid");
}

async fn a_check_in_hands_out_commands_and_takes_the_agents_own_word(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "polls").await;
    let mut other = TestAgent::in_session(&server, "other").await;
    let id = give(&server, &agent).await;

    let handed = check_in(&server, &mut agent, json!({})).await.expect(200);
    let order: CommandStatement = certified(&server, &handed["commands"][0]);
    assert_eq!((order.command_id.as_str(), order.agent), (id.as_str(), agent.id()));
    assert_eq!(decode(handed["commands"][0]["params"].as_str().unwrap()).unwrap(), PARAMS);
    // Not acknowledged: it comes again. Acknowledged: it does not.
    let again = check_in(&server, &mut agent, json!({})).await.expect(200);
    assert_eq!(again["commands"][0]["command_id"], id);
    let ack = json!({ "command_id": id, "code": "received" });
    let more = json!({ "high_water": 1, "pending_acknowledgments": [ack], "started": [id] });
    let none = check_in(&server, &mut agent, more).await.expect(200);
    assert_eq!(none["commands"], json!([]));
    assert_eq!(show(&server, &id).await["state"], "running");

    // A receipt by another key, and the result of another agent, change nothing.
    let forged = json!({ "high_water": 1, "results": [result(&other, &agent, &id)] });
    let answer = check_in(&server, &mut agent, forged).await.expect(200);
    assert_eq!(answer["acknowledged_ids"], json!([]));
    let foreign = json!({ "results": [result(&other, &other, &id)] });
    let answer = check_in(&server, &mut other, foreign).await.expect(200);
    assert_eq!(answer["acknowledged_ids"], json!([]));
    assert_eq!(show(&server, &id).await["state"], "running");
    assert_eq!(server.audit("command.receipt_refused").await.len(), 2);

    let mut honest = result(&agent, &agent, &id);
    let answer = check_in(&server, &mut agent, json!({ "high_water": 1, "results": [honest] }))
        .await
        .expect(200);
    assert_eq!(answer["acknowledged_ids"], json!([id]));
    let ack: ResultAckStatement = certified(&server, &answer["result_acks"][0]);
    assert_eq!(ack.command_id.as_str(), id);
    let over = show(&server, &id).await;
    assert_eq!((&over["state"], &over["unsigned"]), (&json!("succeeded"), &json!(false)));
    // Once more, and without its receipt.
    honest = result(&agent, &agent, &id);
    honest.as_object_mut().unwrap().remove("receipt");
    let answer = check_in(&server, &mut agent, json!({ "high_water": 1, "results": [honest] }))
        .await
        .expect(200);
    assert_eq!(answer["acknowledged_ids"], json!([]));
}

async fn an_agent_has_one_channel_and_the_newest_wins(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "one").await;
    let rpc = gateway::rpc(&server);
    let connected = async || server.agent(&agent.agent_id).await["connected"] == true;
    let options = gateway::session(&agent, &server, gateway::STREAM);
    let mut stream = gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap();

    let mut polling = agent.clone();
    check_in(&server, &mut polling, json!({})).await.expect(200);
    let frame = gateway::next(&mut stream).await.unwrap();
    let Some(Down::Goaway(goaway)) = frame else { panic!("the stream goes on: {frame:?}") };
    assert_eq!(goaway.reason, "replaced");
    assert!(connected().await, "between two check-ins the agent is connected");

    // A stream takes the place of a check-in that waits.
    let (answer, stream) =
        tokio::join!(check_in(&server, &mut polling, json!({ "wait_s": 30 })), async {
            let before = server.app.hub().held(&agent.id());
            until("the check-in to wait", async || {
                (server.app.hub().held(&agent.id()) != before).then_some(())
            })
            .await;
            let options = gateway::session(&agent, &server, gateway::STREAM);
            gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap()
        });
    assert_eq!(answer.expect(200)["goaway"]["reason"], "replaced");
    assert!(connected().await);
    drop(stream);
    until("the end of the stream", async || (!connected().await).then_some(())).await;
    // One that nobody waits for any more leaves its place by itself.
    agent.nonce = polling.nonce.clone();
    check_in(&server, &mut agent, json!({})).await.expect(200);
    assert_eq!(server.agent(&agent.agent_id).await["connected"], true);
    until("the place to be given up", async || {
        (server.agent(&agent.agent_id).await["connected"] == false).then_some(())
    })
    .await;
}

/// Waits until the agent's call is there.
async fn waits(server: &TestServer, agent: &TestAgent) {
    let there = async || server.app.hub().has(&agent.id()).then_some(());
    until("the check-in to wait", there).await;
}

async fn a_check_in_waits_for_what_comes_and_ends_with_the_agent(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "waits").await;
    let honest = agent.clone();
    let began = Instant::now();
    let (answer, id) =
        tokio::join!(check_in(&server, &mut agent, json!({ "wait_s": 30 })), async {
            waits(&server, &honest).await;
            give(&server, &honest).await
        });
    assert_eq!(answer.expect(200)["commands"][0]["command_id"], id);
    assert!(began.elapsed() < SOON * 2, "{:?}", began.elapsed());

    let mut revoked = TestAgent::in_session(&server, "revoked").await;
    let honest = revoked.clone();
    let (answer, told) =
        tokio::join!(check_in(&server, &mut revoked, json!({ "wait_s": 30 })), async {
            waits(&server, &honest).await;
            server.decide(&honest.agent_id, "revoke", json!({})).await.expect(200);
            Instant::now()
        });
    assert!(told.elapsed() < SOON, "{:?}", told.elapsed());
    assert_eq!(answer.expect(200)["goaway"]["reason"], "revoked");
    check_in(&server, &mut revoked, json!({})).await.refused(401, "invalid_session");

    let mut quarantined = TestAgent::in_session(&server, "quarantined").await;
    give(&server, &quarantined).await;
    server.decide(&quarantined.agent_id, "quarantine", json!({})).await.expect(200);
    quarantined.handshake(&server).await.expect(200);
    let answer = check_in(&server, &mut quarantined, json!({})).await.expect(200);
    assert_eq!(answer["commands"], json!([]));
}

async fn a_server_that_shuts_down_answers_whoever_waits(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "drained").await;
    let honest = agent.clone();
    let body = said(&agent, &json!({ "wait_s": 30 }));
    let (answer, ()) = tokio::join!(agent.call(&server, Method::POST, PATH, Some(&body)), async {
        waits(&server, &honest).await;
        server.app.hub().drain();
    });
    assert_eq!(answer.expect(200)["goaway"]["reason"], "draining");
}

async fn an_agent_without_keys_gives_its_bare_word_about_what_reads(place: Place) {
    let server = TestServer::start(&place).await;
    let token = server.token(json!({ "require_proof": false, "auto_approve": true })).await;
    let body = json!({ "name": "bare", "bootstrap_token": token });
    let made = server.client.post_anonymous("/api/v1/agents/register", &body).await;
    let (key, agent_id) = (made.text("api_key"), made.text("agent_id"));
    let agent = TestAgent { agent_id: agent_id.clone(), ..TestAgent::new("bare") };
    let path = format!("/api/v1/agents/{agent_id}/commands");
    for kind in ["agent.restart", "key.rotate"] {
        let order = json!({ "kind": kind, "params": {} });
        let refused = server.client.post(&path, &server.admin_key, &order).await;
        assert_eq!(refused.status, 409, "{refused:?}");
    }
    let id = give(&server, &agent).await;
    let metrics = json!([{ "metric": "load_1m", "value": 0.5 }]);
    let body = json!({ "version": "1.2.3", "metrics": metrics });
    let handed = bearer(&server, &key, &body).await.expect(200);
    assert_eq!(handed["commands"][0]["command_id"], id);
    assert_eq!(server.agent(&agent_id).await["version"], "1.2.3");
    let path = format!("/api/v1/agents/{agent_id}/telemetry");
    let told = server.client.get(&path, &server.admin_key).await.expect(200);
    assert_eq!(told["latest"][0]["metric"], "load_1m");

    // It has no key to sign with, so no signature counts.
    let mut result = result(&agent, &agent, &id);
    let answer = bearer(&server, &key, &json!({ "results": [result] })).await.expect(200);
    assert_eq!(answer["acknowledged_ids"], json!([]));
    result.as_object_mut().unwrap().remove("receipt");
    let answer = bearer(&server, &key, &json!({ "results": [result] })).await.expect(200);
    assert_eq!(answer["acknowledged_ids"], json!([id]));
    let over = show(&server, &id).await;
    assert_eq!((&over["state"], &over["unsigned"]), (&json!("succeeded"), &json!(true)));
    assert_eq!(over["receipt_available"], false);
    // Somebody else's hello makes it nobody else.
    let other = TestAgent::in_session(&server, "other").await;
    bearer(&server, &key, &said(&other, &json!({}))).await.refused(422, "invalid");
    let named = json!({ "agent_id": other.agent_id });
    bearer(&server, &key, &named).await.refused(403, "forbidden");
}

on_both!(
    a_check_in_is_for_its_own_session_agent_and_key,
    a_check_in_hands_out_commands_and_takes_the_agents_own_word,
    an_agent_has_one_channel_and_the_newest_wins,
    a_check_in_waits_for_what_comes_and_ends_with_the_agent,
    a_server_that_shuts_down_answers_whoever_waits,
    an_agent_without_keys_gives_its_bare_word_about_what_reads,
);
