//! Attack 22, and what becomes of commands that are withdrawn or forgotten: an agent in the test's
//! hands says what it likes about them.

use std::time::Duration;

use argosy_domain::{command::CommandSeq, digest::Sha256, limits::COMMAND_LOST_AFTER};
use argosy_e2e::{
    agent::TestAgent, database::Place, http::Answer, on_both, process::until, server::TestServer,
};
use argosy_wire::{
    bytes::Fixed,
    rpc::gateway::{Ack, AckCode, CommandResult, ControlStreamRequest, State},
    sign::Signed,
    statement::{CancelStatement, CommandStatement, HelloStatement, ReceiptStatement},
};
use serde_json::{Value, json};

use crate::gateway::{self, Down, Stream};

/// Parameters of a run of `system`, as they are signed.
pub(crate) const PARAMS: &[u8] = br#"{"subsystem":"system"}"#;
/// What agents of these tests answer.
pub(crate) const RESULT: &[u8] = br#"{"report":{"by":"hand"}}"#;

/// Asks for a run of `system`; `more` of the order as it is given.
pub(crate) async fn order(server: &TestServer, agent: &TestAgent, more: Value) -> Answer {
    let path = format!("/api/v1/agents/{}/commands", agent.agent_id);
    let mut order = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.client.post(&path, &server.admin_key, &order).await
}

/// Gives an agent a run of `system`.
pub(crate) async fn give(server: &TestServer, agent: &TestAgent) -> String {
    let command = order(server, agent, json!({})).await.expect(202);
    command["id"].as_str().unwrap().to_owned()
}

/// A command as the server shows it.
pub(crate) async fn show(server: &TestServer, id: &str) -> Value {
    server.client.get(&format!("/api/v1/commands/{id}"), &server.admin_key).await.expect(200)
}

/// How far a command is in the server's record.
pub(crate) async fn state(server: &TestServer, id: &str) -> String {
    show(server, id).await["state"].as_str().unwrap().to_owned()
}

async fn reaches(server: &TestServer, id: &str, wanted: &str) {
    until(wanted, async || (state(server, id).await == wanted).then_some(())).await;
}

async fn withdraw(server: &TestServer, id: &str) -> Value {
    let path = format!("/api/v1/commands/{id}/cancel");
    server.client.post(&path, &server.admin_key, &json!({})).await.expect(200)
}

async fn open(server: &TestServer, agent: &TestAgent, hello: &HelloStatement) -> Stream {
    let options = gateway::session(agent, server, gateway::STREAM);
    let hello = gateway::signed_hello(&agent.key, hello);
    gateway::open(&gateway::rpc(server), options, hello).await.unwrap()
}

/// A hello of an agent that has taken commands up to this one.
fn hello(agent: &TestAgent, journal: &str, high_water: i64) -> HelloStatement {
    let journal_id = journal.parse().unwrap();
    let high_water = CommandSeq(high_water);
    HelloStatement { journal_id, high_water, ..gateway::hello_statement(agent) }
}

/// The next frame that is about a command.
async fn told(stream: &mut Stream) -> Down {
    loop {
        let frame = gateway::next(stream).await.unwrap().expect("the stream goes on");
        if !matches!(frame, Down::HeartbeatAck(_)) {
            return frame;
        }
    }
}

async fn ordered(stream: &mut Stream) -> CommandStatement {
    let Down::Command(command) = told(stream).await else { panic!("no command") };
    argosy_wire::sign::read(&command.envelope.as_option().unwrap().payload).unwrap()
}

async fn cancelled(server: &TestServer, stream: &mut Stream) -> CancelStatement {
    let Down::Cancel(cancel) = told(stream).await else { panic!("no withdrawal") };
    let (envelope, certificate) = (cancel.envelope.as_option(), cancel.certificate.as_option());
    gateway::certified(server, envelope.unwrap(), certificate.unwrap())
}

async fn send(stream: &mut Stream, frame: ControlStreamRequest) {
    stream.send(frame).await.unwrap();
}

fn ack(id: &str) -> ControlStreamRequest {
    let code = AckCode::ACK_CODE_RECEIVED.into();
    gateway::frame(Ack { command_id: id.to_owned(), code, ..Default::default() }.into())
}

fn started(id: &str) -> ControlStreamRequest {
    gateway::frame(State { command_id: id.to_owned(), ..Default::default() }.into())
}

/// A receipt for a run of `system` that answered [`RESULT`].
pub(crate) fn receipt(agent: &TestAgent, id: &str, outcome: &str) -> ReceiptStatement {
    ReceiptStatement {
        agent: agent.id(),
        command_id: id.parse().unwrap(),
        params_sha256: Fixed(Sha256::of(PARAMS).0),
        outcome: outcome.to_owned(),
        result_sha256: Fixed(Sha256::of(RESULT).0),
        policy_sha256: Fixed(Sha256::of(b"").0),
        started_at: None,
        ended_at: "2026-11-22T08:00:00Z".parse().unwrap(),
        boot_id: "boot-1".to_owned(),
        journal_id: "journal-1".parse().unwrap(),
    }
}

/// A result with any receipt that any key signed.
pub(crate) fn result(
    by: &TestAgent,
    id: &str,
    receipt: &ReceiptStatement,
    payload: &[u8],
) -> ControlStreamRequest {
    let statement = gateway::statement_of(Signed::new(&by.key, receipt));
    gateway::frame(
        CommandResult {
            command_id: id.to_owned(),
            outcome: receipt.outcome.clone(),
            payload: payload.to_vec(),
            receipt: Some(statement).into(),
            ..Default::default()
        }
        .into(),
    )
}

async fn acknowledged(stream: &mut Stream, id: &str) {
    let Down::ResultAck(ack) = told(stream).await else { panic!("not acknowledged") };
    let payload = String::from_utf8(ack.envelope.as_option().unwrap().payload.clone()).unwrap();
    assert!(payload.contains(id), "{payload}");
}

async fn one_that_waits_ends_at_once(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let id = give(&server, &agent).await;
    let withdrawn = withdraw(&server, &id).await;
    assert_eq!(withdrawn["state"], "cancelled");
    let path = format!("/api/v1/commands/{id}/cancel");
    let again = server.client.post(&path, &server.admin_key, &json!({})).await;
    again.refused(409, "wrong_state");
    let mut stream = open(&server, &agent, &hello(&agent, "journal-1", 0)).await;
    let next = give(&server, &agent).await;
    assert_eq!(ordered(&mut stream).await.command_id.as_str(), next, "the first is never sent");
}

async fn one_that_was_sent_is_withdrawn_by_a_signed_word(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let mut stream = open(&server, &agent, &hello(&agent, "journal-1", 0)).await;
    let id = give(&server, &agent).await;
    let order = ordered(&mut stream).await;
    send(&mut stream, ack(&id)).await;
    send(&mut stream, started(&id)).await;
    reaches(&server, &id, "running").await;
    // The agent's word alone ends nothing as cancelled.
    send(&mut stream, result(&agent, &id, &receipt(&agent, &id, "cancelled"), RESULT)).await;
    until("the refusal", async || server.audit("command.receipt_refused").await.pop()).await;
    assert_eq!(state(&server, &id).await, "running");
    let withdrawn = withdraw(&server, &id).await;
    assert_eq!(withdrawn["state"], "running", "only the agent can stop it");
    assert!(withdrawn["withdrawn_at"].is_string() && withdrawn["withdrawn_by"].is_string());
    let cancel = cancelled(&server, &mut stream).await;
    assert_eq!((&cancel.command_id, &cancel.agent), (&order.command_id, &order.agent));
    assert_eq!((cancel.sequence, cancel.params_sha256), (order.sequence, order.params_sha256));
    assert_eq!(withdraw(&server, &id).await["withdrawn_at"], withdrawn["withdrawn_at"]);
    assert_eq!(server.audit("command.cancelled").await.len(), 1, "asked once, noted once");
    send(&mut stream, result(&agent, &id, &receipt(&agent, &id, "cancelled"), RESULT)).await;
    acknowledged(&mut stream, &id).await;
    assert_eq!(state(&server, &id).await, "cancelled");
}

/// The stream ends between the command and its withdrawal: the next one begins with the withdrawal,
/// and the command itself is not sent again.
async fn a_withdrawal_survives_the_stream(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let mut stream = open(&server, &agent, &hello(&agent, "journal-1", 0)).await;
    let id = give(&server, &agent).await;
    ordered(&mut stream).await;
    drop(stream);
    until("the end of the stream", async || (!server.app.hub().has(&agent.id())).then_some(()))
        .await;
    assert_eq!(withdraw(&server, &id).await["state"], "sent");
    let after = give(&server, &agent).await;
    let server = server.restart().await;
    let mut stream = open(&server, &agent, &hello(&agent, "journal-1", 0)).await;
    assert_eq!(cancelled(&server, &mut stream).await.command_id.as_str(), id);
    assert_eq!(ordered(&mut stream).await.command_id.as_str(), after, "in their order");
    // It was too late: the agent had done it. Its word stands.
    send(&mut stream, result(&agent, &id, &receipt(&agent, &id, "succeeded"), RESULT)).await;
    acknowledged(&mut stream, &id).await;
    assert_eq!(state(&server, &id).await, "succeeded");
}

async fn a_result_counts_once_and_only_with_the_agents_receipt(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let other = TestAgent::in_session(&server, "web-2").await;
    let mut stream = open(&server, &agent, &hello(&agent, "journal-1", 0)).await;
    let mut foreign = open(&server, &other, &hello(&other, "journal-2", 0)).await;
    let id = give(&server, &agent).await;
    ordered(&mut stream).await;
    send(&mut stream, ack(&id)).await;
    let good = receipt(&agent, &id, "failed");
    let wrong = [
        ReceiptStatement { agent: other.id(), ..good.clone() },
        ReceiptStatement { command_id: "another".parse().unwrap(), ..good.clone() },
        ReceiptStatement { params_sha256: Fixed([1; 32]), ..good.clone() },
        ReceiptStatement { result_sha256: Fixed([1; 32]), ..good.clone() },
        ReceiptStatement { outcome: "lost".to_owned(), ..good.clone() },
        ReceiptStatement { outcome: "splendid".to_owned(), ..good.clone() },
    ];
    for receipt in &wrong {
        send(&mut stream, result(&agent, &id, receipt, RESULT)).await;
    }
    send(&mut stream, result(&other, &id, &good, RESULT)).await;
    send(&mut foreign, result(&other, &id, &receipt(&other, &id, "failed"), RESULT)).await;
    let refused = async || {
        let refused = server.audit("command.receipt_refused").await.len();
        (refused == wrong.len() + 2).then_some(())
    };
    until("every refusal in the audit log", refused).await;
    assert_eq!(state(&server, &id).await, "received");
    for _ in 0..2 {
        send(&mut stream, result(&agent, &id, &good, RESULT)).await;
        acknowledged(&mut stream, &id).await;
    }
    let better = receipt(&agent, &id, "succeeded");
    send(&mut stream, result(&agent, &id, &better, RESULT)).await;
    acknowledged(&mut stream, &id).await;
    assert_eq!(state(&server, &id).await, "failed", "an end stands");
    let seen = server.client.get("/api/v1/security/events", &server.admin_key).await.expect(200);
    for kind in ["receipt_forged", "cross_agent"] {
        assert!(seen.to_string().contains(kind), "{seen}");
    }
}

/// A message above the limit never reaches a use case, and the command stays as it was.
async fn a_result_above_the_limit_ends_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let mut stream = open(&server, &agent, &hello(&agent, "journal-1", 0)).await;
    let id = give(&server, &agent).await;
    ordered(&mut stream).await;
    let large = vec![b' '; 2 * argosy_domain::limits::PAYLOAD_BYTES_MAX];
    let receipt = ReceiptStatement {
        result_sha256: Fixed(Sha256::of(&large).0),
        ..receipt(&agent, &id, "succeeded")
    };
    let _ = stream.send(result(&agent, &id, &receipt, &large)).await;
    while let Ok(Some(frame)) = gateway::next(&mut stream).await {
        assert!(!matches!(frame, Down::ResultAck(_)), "it was taken");
    }
    assert_eq!(state(&server, &id).await, "sent");
}

/// What an agent had and has no more is lost, until a receipt says otherwise.
async fn what_a_journal_has_forgotten_is_lost_and_a_late_receipt_amends_it(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let mut stream = open(&server, &agent, &hello(&agent, "journal-1", 0)).await;
    let (had, put_back) = (give(&server, &agent).await, give(&server, &agent).await);
    let first = ordered(&mut stream).await.sequence.0;
    let second = ordered(&mut stream).await.sequence.0;
    send(&mut stream, ack(&had)).await;
    send(&mut stream, ack(&put_back)).await;
    reaches(&server, &put_back, "received").await;
    drop(stream);

    // A disk that was put back knows the first and not the second.
    let mut stream = open(&server, &agent, &hello(&agent, "journal-1", first)).await;
    reaches(&server, &put_back, "lost").await;
    assert_eq!(state(&server, &had).await, "received");
    send(&mut stream, result(&agent, &put_back, &receipt(&agent, &put_back, "failed"), RESULT))
        .await;
    acknowledged(&mut stream, &put_back).await;
    assert_eq!(state(&server, &put_back).await, "failed");
    drop(stream);

    // Another journal has neither; what was only sent, and repeats harmlessly, comes again.
    let sent = give(&server, &agent).await;
    let mut stream = open(&server, &agent, &hello(&agent, "journal-1", second)).await;
    ordered(&mut stream).await;
    drop(stream);
    let mut stream = open(&server, &agent, &hello(&agent, "journal-2", 0)).await;
    assert_eq!(ordered(&mut stream).await.command_id.as_str(), sent);
    reaches(&server, &had, "lost").await;
    let seen = server.client.get("/api/v1/security/events", &server.admin_key).await.expect(200);
    assert!(seen.to_string().contains("journal_lost"), "{seen}");
}

async fn what_nobody_hears_of_is_given_up_a_week_later(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let mut stream = open(&server, &agent, &hello(&agent, "journal-1", 0)).await;
    let id = give(&server, &agent).await;
    ordered(&mut stream).await;
    drop(stream);
    server.clock.advance(Duration::from_secs(24 * 3600) + COMMAND_LOST_AFTER);
    assert_eq!(server.app.lose_commands().await.unwrap(), 0, "not before its time");
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(server.app.lose_commands().await.unwrap(), 1);
    assert_eq!(state(&server, &id).await, "lost");
}

on_both!(
    one_that_waits_ends_at_once,
    one_that_was_sent_is_withdrawn_by_a_signed_word,
    a_withdrawal_survives_the_stream,
    a_result_counts_once_and_only_with_the_agents_receipt,
    a_result_above_the_limit_ends_nothing,
    what_a_journal_has_forgotten_is_lost_and_a_late_receipt_amends_it,
    what_nobody_hears_of_is_given_up_a_week_later,
);
