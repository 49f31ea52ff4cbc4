//! `kill -9` of server, agent and both in the middle of a command: it ends once.

use argosy_e2e::{database::Place, on_both};
use serde_json::Value;

use crate::{commands::sequences, fleet::Fleet};

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
    let (mut fleet, mut agent, id) = Fleet::with_agent(&place).await;
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
        ended.push(fleet.succeeded(&command).await);
    }
    fleet.stands(&ended).await;
    assert_eq!((ended.len(), sequences(&ended)), (ROUNDS, ROUNDS));
    fleet.every_receipt_counted().await;
}

on_both!(a_command_ends_once_whoever_is_killed);
