//! `kill -9` of server, agent and both in the middle of a command: it ends once.

use argosy_e2e::{database::Place, on_both};
use serde_json::{Value, json};

use crate::fleet::{AgentProcess, Fleet};

const ROUNDS: usize = 20;

/// Where in a command's life the kill comes. A state that was passed already will do: the kill
/// then comes a little later.
const MOMENTS: [&[&str]; 4] = [
    &["queued", "sent", "received", "running", "succeeded"],
    &["sent", "received", "running", "succeeded"],
    &["received", "running", "succeeded"],
    &["running", "succeeded"],
];

async fn a_command_ends_once_whoever_is_killed(place: Place) {
    let mut fleet = Fleet::start(&place, "server").await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let mut agent = AgentProcess::start(&fleet, &token);
    let shown = fleet.agent("the agent to be connected", |a| a["connected"] == true).await;
    let id = shown["agent_id"].as_str().unwrap().to_owned();
    let mut ended = Vec::<Value>::new();
    for round in 0..ROUNDS {
        let subsystem = if round % 2 == 0 { "updates" } else { "system" };
        let command = fleet.command(&id, subsystem).await;
        fleet.command_in(&command, MOMENTS[round % MOMENTS.len()]).await;
        let (server_dies, agent_dies) = (round % 3 != 1, round % 3 != 0);
        if agent_dies {
            agent.kill().await;
        }
        if server_dies {
            fleet.kill_server().await;
            fleet.start_server().await;
        }
        if agent_dies {
            agent.start_again();
        }
        let over = fleet
            .command_in(&command, &["succeeded", "failed", "timed_out", "rejected", "lost"])
            .await;
        assert_eq!(over["state"], "succeeded", "round {round}: {over}");
        assert_eq!(over["receipt_available"], true, "round {round}: {over}");
        ended.push(over);
    }
    // What ended stays as it ended: no later delivery, result or restart has touched it.
    for before in &ended {
        let path = format!("/api/v1/commands/{}", before["id"].as_str().unwrap());
        assert_eq!(&fleet.get(&path).await, before);
    }
    let page = fleet.get("/api/v1/commands?limit=500").await;
    assert_eq!(page["items"].as_array().unwrap().len(), ROUNDS);
    let mut sequences: Vec<i64> =
        ended.iter().map(|command| command["sequence"].as_i64().unwrap()).collect();
    sequences.dedup();
    assert_eq!(sequences.len(), ROUNDS);
    let refused = fleet.get("/api/v1/audit?action=command.receipt_refused").await;
    assert_eq!(refused["items"], json!([]));
}

on_both!(a_command_ends_once_whoever_is_killed);
