//! Attack 23: a queue that is full, ten thousand commands for one agent, an agent that was away for a day.

use std::{collections::BTreeMap, time::Duration};

use argosy_domain::{command::CommandSeq, limits::COMMANDS_OPEN_MAX, time::Clock as _};
use argosy_e2e::{
    agent::TestAgent,
    database::{Place, on_postgres, on_sqlite},
    on_both,
    process::until,
    server::TestServer,
};
use argosy_wire::{
    rpc::gateway::{Command, ControlStreamRequest},
    statement::CommandStatement,
};
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    commands::{self, order, state},
    gateway::{self, Down, Stream},
};

/// Commands that are on their way to one agent at once.
const WINDOW: usize = 32;
/// Commands that are asked for, many at once: the whole flood, and enough of it to find who counts at the
/// same time as another (SQLite has one writer, and so nobody who does).
const FLOOD: usize = 10_000;
const RACE: usize = 2_000;

async fn given(server: &TestServer, agent: &TestAgent, more: Value) -> String {
    let answer = order(server, agent, more).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.text("id")
}

async fn connected(server: &TestServer, agent: &TestAgent) -> Stream {
    let options = gateway::session(agent, server, gateway::STREAM);
    gateway::open(&gateway::rpc(server), options, gateway::hello(agent)).await.unwrap()
}

fn read(command: &Command) -> CommandStatement {
    argosy_wire::sign::read(&command.envelope.as_option().unwrap().payload).unwrap()
}

/// The next command on a stream on which nothing else is due.
async fn next_command(stream: &mut Stream) -> CommandStatement {
    match gateway::next(stream).await.unwrap() {
        Some(Down::Command(command)) => read(&command),
        other => panic!("no command: {other:?}"),
    }
}

/// What an honest agent says at the end of a command.
fn ended(agent: &TestAgent, command: &CommandStatement, outcome: &str) -> ControlStreamRequest {
    let id = command.command_id.as_str();
    commands::result(agent, id, &commands::receipt(agent, id, outcome), commands::RESULT)
}

/// Nothing is due on the stream: the answer to a heartbeat is the next that comes.
async fn nothing_is_due(stream: &mut Stream) {
    stream.send(gateway::heartbeat_frame()).await.unwrap();
    let next = gateway::next(stream).await.unwrap();
    assert!(matches!(next, Some(Down::HeartbeatAck(_))), "{next:?}");
}

/// One agent is given more commands than its queue holds.
async fn flooded(server: &TestServer, flood: usize) -> TestAgent {
    let bearer = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", bearer.as_str())];
    let fast = json!({ "requests_per_minute": 1_000_000 });
    let path = "/api/v1/settings";
    server.client.send(Method::PATCH, path, &headers, Some(&fast)).await.expect(200);
    let agent = TestAgent::in_session(server, "flooded").await;
    let other = TestAgent::in_session(server, "other").await;
    let asked = futures::stream::iter(0..flood).map(|_| order(server, &agent, json!({})));
    let mut counts = BTreeMap::new();
    let mut answers = asked.buffer_unordered(64);
    while let Some(answer) = answers.next().await {
        if answer.status != 202 {
            answer.refused(429, "queue_full");
            assert_eq!(answer.headers["retry-after"], "30");
        }
        *counts.entry(answer.status).or_insert(0_usize) += 1;
    }
    drop(answers);
    let room = COMMANDS_OPEN_MAX as usize;
    assert_eq!(counts, BTreeMap::from([(202, room), (429, flood - room)]));
    // Another agent's queue is its own.
    given(server, &other, json!({})).await;
    agent
}

async fn ten_thousand_commands_for_one_agent_are_a_thousand(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = flooded(&server, FLOOD).await;
    let room = COMMANDS_OPEN_MAX as usize;
    // The agent is handed what it can hold, in order, and all of it in the end.
    let mut stream = connected(&server, &agent).await;
    let mut held = Vec::new();
    for _ in 0..WINDOW {
        held.push(next_command(&mut stream).await);
    }
    nothing_is_due(&mut stream).await;
    let (mut last, mut done) = (CommandSeq(0), 0);
    let mut acknowledged = 0;
    while acknowledged < room {
        if let Some(command) = (done < held.len()).then(|| &held[done]) {
            assert!(command.sequence > last, "{command:?} after {last:?}");
            last = command.sequence;
            stream.send(ended(&agent, command, "succeeded")).await.unwrap();
            done += 1;
        }
        match gateway::next(&mut stream).await.unwrap() {
            Some(Down::Command(command)) => held.push(read(&command)),
            Some(Down::ResultAck(_)) => acknowledged += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(held.len(), room);
    given(&server, &agent, json!({})).await;
}

/// What was never sent expires with its time; what was, is sent again; what has time left, is sent.
async fn an_agent_that_was_away_for_a_day_gets_what_still_stands(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "away").await;
    let mut stream = connected(&server, &agent).await;
    let sent = given(&server, &agent, json!({})).await;
    next_command(&mut stream).await;
    drop(stream);
    let gone = async || (server.agent(&agent.agent_id).await["connected"] == false).then_some(());
    until("the stream to be gone", gone).await;
    let short = given(&server, &agent, json!({ "expires_in": "12h" })).await;
    let long = given(&server, &agent, json!({ "expires_in": "48h" })).await;
    server.clock.advance(Duration::from_secs(24 * 3600 + 60));
    server.app.expire_commands().await.unwrap();
    assert_eq!(server.agent(&agent.agent_id).await["health"], "offline");
    // Nobody can say what became of what was sent, so nobody says that it expired.
    assert_eq!(state(&server, &sent).await, "sent");
    assert_eq!(state(&server, &short).await, "expired");
    assert_eq!(state(&server, &long).await, "queued");

    agent.handshake(&server).await.expect(200);
    let mut stream = connected(&server, &agent).await;
    let (first, second) = (next_command(&mut stream).await, next_command(&mut stream).await);
    assert_eq!(first.command_id.as_str(), sent);
    assert!(first.expires_at < server.clock.now(), "the agent sees that it is over");
    assert_eq!(second.command_id.as_str(), long);
    stream.send(ended(&agent, &first, "expired")).await.unwrap();
    stream.send(ended(&agent, &second, "succeeded")).await.unwrap();
    for _ in 0..2 {
        let next = gateway::next(&mut stream).await.unwrap();
        assert!(matches!(next, Some(Down::ResultAck(_))), "{next:?}");
    }
    nothing_is_due(&mut stream).await;
    assert_eq!(state(&server, &sent).await, "expired");
    assert_eq!(state(&server, &long).await, "succeeded");
}

async fn who_counts_at_once_counts_right(place: Place) {
    let server = TestServer::start(&place).await;
    flooded(&server, RACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods() {
    on_sqlite(ten_thousand_commands_for_one_agent_are_a_thousand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn races() {
    on_postgres(who_counts_at_once_counts_right).await;
}

on_both!(an_agent_that_was_away_for_a_day_gets_what_still_stands);
