//! A key that a person carries: enrolled, approved, refreshed, with the real programs.

use std::{path::Path, process::Stdio};

use argosy_e2e::{
    database::Place,
    on_both,
    process::{PATIENCE, program, run},
};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::fleet::Fleet;

/// `argosy-agent refresh` with a key on standard input; its exit code and what it said.
async fn refresh(state: &Path, key: &str) -> (i32, String) {
    let mut command = Command::new(program("argosy-agent"));
    command.args(["refresh", "--state-dir", state.to_str().unwrap()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{key}\n").as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

async fn the_key_is_carried_and_a_wrong_one_changes_nothing(place: Place) {
    let fleet = Fleet::start(&place, "server").await;
    let state = fleet.folder.join("by-hand");
    let token = fleet.token(json!({})).await;
    let body = json!({ "name": "other", "bootstrap_token": fleet.token(json!({ "require_proof": false })).await });
    let other = fleet.client.post_anonymous("/api/v1/agents/register", &body).await;
    // A key that was left in the settings is not taken for this agent's.
    let left = other.text("api_key");
    let variables = [("ARGOSY_BOOTSTRAP_TOKEN", token.as_str()), ("ARGOSY_API_KEY", left.as_str())];
    let arguments = ["enroll", "--server", &fleet.url, "--state-dir", state.to_str().unwrap()];
    let enrol = [&arguments[..], &["--name", "by-hand", "--key-delivery", "operator"]].concat();
    let said = run("argosy-agent", &enrol, &variables).await;
    assert!(said.contains("argosy-agent refresh"), "{said}");
    // Asked again, as after a reboot: the same registration and the same instructions.
    let again = run("argosy-agent", &arguments, &[]).await;
    assert!(again.contains("argosy-agent refresh"), "{again}");
    let kept = std::fs::read(state.join("credentials.json")).unwrap();

    let waiting = fleet.agent("the registration", |agent| agent["name"] == "by-hand").await;
    let id = waiting["agent_id"].as_str().unwrap();
    let path = format!("/api/v1/agents/{id}/approve");
    let body = json!({ "fingerprint": waiting["fingerprint"] });
    let key = fleet.client.post(&path, &fleet.admin_key(), &body).await.text("api_key");

    // No key at all, and a key of another agent.
    let (code, said) = refresh(&state, "boot_not_a_key").await;
    assert!(code == 1 && said.contains("agent_"), "{said}");
    let (code, said) = refresh(&state, &other.text("api_key")).await;
    assert!(code == 77, "{code} {said}");
    assert!(!said.contains(&other.text("api_key")), "a key is never said");
    assert_eq!(std::fs::read(state.join("credentials.json")).unwrap(), kept);

    let (code, said) = refresh(&state, &key).await;
    assert!(code == 0 && said.contains("is enrolled"), "{said}");
    let shown = run("argosy-agent", &arguments, &[]).await;
    assert!(shown.contains("approved"), "{shown}");
}

on_both!(the_key_is_carried_and_a_wrong_one_changes_nothing);
