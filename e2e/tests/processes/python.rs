//! An agent in Python, made from `proto/` and the protocol alone, with grpcio.

use std::{process::Stdio, time::Duration};

use argosy_e2e::{
    database::Place,
    on_both,
    process::{PATIENCE, python, root, until},
};
use serde_json::json;
use tokio::process::Command;

use crate::fleet::Fleet;

async fn an_agent_in_python_enrols_and_carries_out_a_command(place: Place) {
    let fleet = Fleet::start(&place, "server").await;
    let token = fleet.token(json!({})).await;
    let mut python = Command::new(python().await);
    python.arg(root().join("e2e/python/agent.py"));
    python.args(["--server", &fleet.url, "--name", "py-1", "--token", &token]);
    let child = python.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = child.spawn().unwrap();

    let pending = fleet.agent("the Python agent", |agent| agent["name"] == "py-1").await;
    assert_eq!(pending["status"], "pending");
    let id = pending["agent_id"].as_str().unwrap().to_owned();
    let approve = format!("/api/v1/agents/{id}/approve");
    let compared = json!({ "fingerprint": pending["fingerprint"] });
    fleet.client.post(&approve, &fleet.admin_key(), &compared).await.expect(200);
    fleet.agent("the Python agent's stream", |agent| agent["connected"] == true).await;
    let command = fleet.command(&id, "system").await;

    let finished =
        tokio::time::timeout(PATIENCE.max(Duration::from_secs(120)), child.wait_with_output());
    let output = finished.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{complained}");
    let fingerprint = pending["fingerprint"].as_str().unwrap();
    assert!(said.contains(&format!("fingerprint {fingerprint}")), "{said}");
    assert!(said.contains("result acknowledged"), "{said}");
    let over = until("the command to be over", || async {
        let shown = fleet.get(&format!("/api/v1/commands/{command}")).await;
        shown["receipt_available"].as_bool().unwrap().then_some(shown)
    })
    .await;
    assert_eq!(over["state"], "succeeded", "{over}");
}

on_both!(an_agent_in_python_enrols_and_carries_out_a_command);
