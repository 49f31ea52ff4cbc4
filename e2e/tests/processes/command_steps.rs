//! Attack 21, step by step: server or agent dies at every durable step of a command's life, and each
//! command ends once.
//!
//! A new failpoint on this way gets a line in [`SERVER`] or [`AGENT`].

use std::collections::BTreeSet;

use argosy_e2e::{database::Place, on_both, process::root};
use serde_json::{Value, json};

use crate::{
    commands::sequences,
    fleet::{AgentProcess, Fleet},
    steps::steps_of_groups,
};

/// What the server makes durable of a command, in that order.
const SERVER: [&str; 5] =
    ["command_created", "command_sent", "command_received", "command_running", "command_ended"];
const SERVER_MOMENTS: [&str; 2] = ["before_commit", "after_commit"];

/// What the agent makes durable of it.
const AGENT: [&str; 4] = ["received", "started", "finished", "acknowledged"];
const AGENT_MOMENTS: [&str; 3] = ["before", "before_commit", "after"];

/// Each start of the server ends at the next step. Commands that an earlier death left behind are on
/// their way too, so a step may end the life of the server on behalf of any of them.
async fn a_command_ends_once_wherever_the_server_dies(place: Place) {
    let (mut fleet, mut agent, id) = Fleet::with_agent(&place).await;
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
    let ended = fleet.all_succeeded(&ids).await;
    assert_eq!(sequences(&ended), ended.len());
    // A restart of both sends nothing again and changes nothing.
    agent.kill().await;
    fleet.kill_server().await;
    fleet.start_server().await;
    agent.start_again();
    let last = fleet.succeeded(&fleet.command(&id, "system").await).await;
    fleet.stands(&[ended, vec![last]].concat()).await;
    fleet.every_receipt_counted().await;
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
    let first = fleet.all_succeeded(&given).await;
    // The agent goes on, and what ended stays as it ended.
    let mut more = Vec::new();
    for command in &first {
        more.push(fleet.command(command["agent_id"].as_str().unwrap(), "system").await);
    }
    let second = fleet.all_succeeded(&more).await;
    fleet.stands(&[first, second].concat()).await;
    fleet.every_receipt_counted().await;
}

/// The tables name every failpoint on the way of a command.
#[test]
fn the_tables_are_complete() {
    let named = |source: &str, moments: &[&str]| -> usize {
        let text = std::fs::read_to_string(root().join(source)).unwrap();
        let steps = text.split("failpoint(").skip(1);
        steps.filter(|call| moments.iter().any(|m| call.contains(&format!("\"{m}\");")))).count()
    };
    let alone = named("crates/server/src/app/commands.rs", &SERVER_MOMENTS);
    assert_eq!(alone, SERVER_MOMENTS.len(), "a command is given");
    let groups = ["delivery", "results"]
        .map(|module| steps_of_groups(&format!("crates/server/src/app/{module}/together.rs")));
    let groups: BTreeSet<_> = groups.iter().flatten().map(String::as_str).collect();
    assert_eq!(groups, SERVER[1..].iter().copied().collect());
    // The agent's three steps after the first share theirs.
    assert_eq!(named("crates/agent/src/journal/mod.rs", &AGENT_MOMENTS), 2 * AGENT_MOMENTS.len());
}

on_both!(a_command_ends_once_wherever_the_server_dies, a_command_ends_once_wherever_an_agent_dies,);
