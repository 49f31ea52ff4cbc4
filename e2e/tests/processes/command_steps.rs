//! Attack 21, step by step: server or agent dies at every durable step of a command's life, and each
//! command ends once.
//!
//! A new failpoint on this way gets a line in [`SERVER`] or [`AGENT`].

use std::collections::BTreeSet;

use argosy_e2e::{database::Place, on_both, process::root};
use serde_json::{Value, json};

use crate::fleet::{AgentProcess, Fleet};

/// What the server makes durable of a command, in that order.
const SERVER: [&str; 5] =
    ["command_created", "command_sent", "command_received", "command_running", "command_ended"];
const SERVER_MOMENTS: [&str; 2] = ["before_commit", "after_commit"];

/// What the agent makes durable of it.
const AGENT: [&str; 4] = ["received", "started", "finished", "acknowledged"];
const AGENT_MOMENTS: [&str; 3] = ["before", "before_commit", "after"];

/// Every command has succeeded, with a receipt and a place of its own in the order.
async fn ended(fleet: &Fleet, ids: &[String]) -> Vec<Value> {
    let ends = ["succeeded", "failed", "timed_out", "rejected", "cancelled", "expired", "lost"];
    let mut ended = Vec::new();
    for id in ids {
        let command = fleet.command_in(id, &ends).await;
        assert_eq!(command["state"], "succeeded", "{command}");
        assert_eq!(command["receipt_available"], true, "{command}");
        ended.push(command);
    }
    ended
}

/// The record has these commands, as they ended, and no other.
async fn stand(fleet: &Fleet, ended: &[Value]) {
    for command in ended {
        let path = format!("/api/v1/commands/{}", command["id"].as_str().unwrap());
        assert_eq!(&fleet.get(&path).await, command);
    }
    let page = fleet.get("/api/v1/commands?limit=500").await;
    assert_eq!(page["items"].as_array().unwrap().len(), ended.len(), "{page}");
    let refused = fleet.get("/api/v1/audit?action=command.receipt_refused").await;
    assert_eq!(refused["items"], json!([]));
}

/// Each start of the server ends at the next step. Commands that an earlier death left behind are on
/// their way too, so a step may end the life of the server on behalf of any of them.
async fn a_command_ends_once_wherever_the_server_dies(place: Place) {
    let mut fleet = Fleet::start(&place, "server").await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let mut agent = AgentProcess::start(&fleet, &token);
    let shown = fleet.agent("the agent to be connected", |a| a["connected"] == true).await;
    let id = shown["agent_id"].as_str().unwrap().to_owned();
    fleet.kill_server().await;
    let mut given = Vec::new();
    for step in SERVER {
        for moment in SERVER_MOMENTS {
            fleet.spawn_server(Some(&format!("{step}.{moment}")));
            given.push(fleet.insist(&id, "subsystem.run", format!("{step}-{moment}")));
            fleet.server_ended().await;
            // It would come back later and later to a server that dies again and again.
            agent.kill().await;
            agent.start_again();
        }
    }
    fleet.start_server().await;
    let mut ids = Vec::new();
    for command in given {
        ids.push(command.await.unwrap());
    }
    let ended = ended(&fleet, &ids).await;
    let sequences: BTreeSet<i64> =
        ended.iter().map(|command| command["sequence"].as_i64().unwrap()).collect();
    assert_eq!(sequences.len(), ended.len());
    // A restart of both sends nothing again and changes nothing.
    agent.kill().await;
    fleet.kill_server().await;
    fleet.start_server().await;
    agent.start_again();
    let after = vec![fleet.command(&id, "system").await];
    let last = self::ended(&fleet, &after).await;
    stand(&fleet, &[ended, last].concat()).await;
}

/// One agent for each step, all at once.
async fn a_command_ends_once_wherever_an_agent_dies(place: Place) {
    let fleet = Fleet::start(&place, "server").await;
    let token = fleet.token(json!({ "auto_approve": true, "max_uses": 12 })).await;
    let mut agents = Vec::new();
    for step in AGENT {
        for moment in AGENT_MOMENTS {
            let at = format!("{step}.{moment}");
            let name = at.replace(['.', '_'], "-");
            agents.push((AgentProcess::named(&fleet, &name, &token, Some(&at)), name));
        }
    }
    let mut given = Vec::new();
    for (_, name) in &agents {
        let connected = |a: &Value| a["name"] == name.as_str() && a["connected"] == true;
        let shown = fleet.agent(&format!("{name} to be connected"), connected).await;
        given.push(fleet.command(shown["agent_id"].as_str().unwrap(), "system").await);
    }
    for (agent, _) in &mut agents {
        agent.ended().await;
        agent.start_again();
    }
    let first = ended(&fleet, &given).await;
    // The agent goes on, and what ended stays as it ended.
    let mut more = Vec::new();
    for command in &first {
        more.push(fleet.command(command["agent_id"].as_str().unwrap(), "system").await);
    }
    let second = ended(&fleet, &more).await;
    stand(&fleet, &[first, second].concat()).await;
}

/// The tables name every failpoint on the way of a command.
#[test]
fn the_tables_are_complete() {
    let named = |source: &str, moments: &[&str]| -> usize {
        let text = std::fs::read_to_string(root().join(source)).unwrap();
        let steps = text.split("failpoint(").skip(1);
        steps.filter(|call| moments.iter().any(|m| call.contains(&format!("\"{m}\");")))).count()
    };
    // Receiving and running share two; so do the agent's three steps after the first.
    let server = named("crates/server/src/app/commands.rs", &SERVER_MOMENTS)
        + named("crates/server/src/app/delivery.rs", &SERVER_MOMENTS)
        + named("crates/server/src/app/results.rs", &SERVER_MOMENTS);
    assert_eq!(server, 2 * (SERVER.len() - 1));
    assert_eq!(named("crates/agent/src/journal/mod.rs", &AGENT_MOMENTS), 2 * AGENT_MOMENTS.len());
}

on_both!(a_command_ends_once_wherever_the_server_dies, a_command_ends_once_wherever_an_agent_dies,);
