//! Commands that concern the agent itself, carried out by a real one, also where it dies meanwhile.

use argosy_e2e::{database::Place, on_both};
use serde_json::{Value, json};

use crate::fleet::{AgentProcess, Fleet};

struct Scene {
    fleet: Fleet,
    agent: AgentProcess,
    id: String,
}

impl Scene {
    async fn new(place: &Place) -> Self {
        let (fleet, agent, id) = Fleet::with_agent(place).await;
        Self { fleet, agent, id }
    }

    async fn give(&self, kind: &str) -> String {
        let path = format!("/api/v1/agents/{}/commands", self.id);
        let order = json!({ "kind": kind, "params": {} });
        self.fleet.post(&path, &order).await["id"].as_str().unwrap().to_owned()
    }

    async fn carried_out(&self, kind: &str) -> Value {
        let over = self.fleet.succeeded(&self.give(kind).await).await;
        over["result"]["report"].clone()
    }

    async fn identity_key(&self, command: &str) -> Value {
        self.fleet.get(&format!("/api/v1/commands/{command}/receipt")).await["identity_key"].clone()
    }
}

async fn an_agent_begins_anew_in_the_same_process(place: Place) {
    let scene = Scene::new(&place).await;
    let before = scene.agent.status().await["process"].clone();
    assert!(before["pid"].is_number(), "{before}");
    assert_eq!(scene.carried_out("agent.restart").await, json!({ "restarted": true }));
    let after = scene.agent.status().await["process"].clone();
    assert_eq!(after["pid"], before["pid"], "whoever watches the process sees the same one");
    assert_ne!(after["started_at"], before["started_at"]);
    assert_eq!(scene.carried_out("agent.restart").await, json!({ "restarted": true }), "again");
}

async fn a_restart_that_was_cut_short_happened_once(place: Place) {
    let mut scene = Scene::new(&place).await;
    scene.agent.kill().await;
    scene.agent.start_with_failpoint("restart.marked");
    scene.fleet.agent("the agent to be back", |a| a["connected"] == true).await;
    let command = scene.give("agent.restart").await;
    scene.agent.ended().await;
    scene.agent.start_again();
    let over = scene.fleet.over(&command).await;
    assert_eq!(over["result"]["report"], json!({ "restarted": true }), "{over}");
}

/// Several at once: whoever is marked when the agent goes has restarted it, and who is not has not.
async fn restarts_that_meet_all_end(place: Place) {
    let scene = Scene::new(&place).await;
    let mut given = Vec::new();
    for _ in 0..4 {
        given.push(scene.give("agent.restart").await);
    }
    let mut restarted = 0;
    for command in &given {
        let over = scene.fleet.over(command).await;
        if over["state"] == "succeeded" {
            assert_eq!(over["result"]["report"], json!({ "restarted": true }), "{over}");
            restarted += 1;
        } else {
            assert_eq!(over["result"]["code"], "interrupted", "{over}");
        }
    }
    assert!(restarted > 0);
}

async fn a_new_identity_key_by_command_survives_every_death(place: Place) {
    let mut scene = Scene::new(&place).await;
    let mut keys = Vec::new();
    for failpoint in [None, Some("rotate_command.asked"), Some("rotate_command.marked")] {
        if let Some(failpoint) = failpoint {
            scene.agent.kill().await;
            scene.agent.start_with_failpoint(failpoint);
            scene.fleet.agent("the agent to be back", |a| a["connected"] == true).await;
        }
        let command = scene.give("key.rotate").await;
        if failpoint.is_some() {
            scene.agent.ended().await;
            scene.agent.start_again();
        }
        let over = scene.fleet.over(&command).await;
        // Without its mark nobody can say what became of it, and the host itself goes on.
        let told = if failpoint == Some("rotate_command.asked") { "failed" } else { "succeeded" };
        assert_eq!(over["state"], told, "{failpoint:?}: {over}");
        let key = scene.identity_key(&command).await;
        if told == "succeeded" {
            assert_eq!(over["result"]["report"]["identity_key"], key);
            assert!(!keys.contains(&key), "another key each time");
            keys.push(key);
        }
    }
}

async fn a_configuration_by_command_has_a_receipt(place: Place) {
    let scene = Scene::new(&place).await;
    let path = format!("/api/v1/agents/{}/subsystems", scene.id);
    scene.fleet.patch(&format!("{path}/storage"), &json!({ "interval_s": 600 })).await;
    assert_eq!(scene.carried_out("config.apply").await, json!({ "generation": 1 }));
    let refused = json!({ "kind": "config.apply", "params": { "generation": 9, "document": {} } });
    let commands = format!("/api/v1/agents/{}/commands", scene.id);
    scene.fleet.refused(&commands, &refused, 422).await;
}

on_both!(
    an_agent_begins_anew_in_the_same_process,
    a_restart_that_was_cut_short_happened_once,
    restarts_that_meet_all_end,
    a_new_identity_key_by_command_survives_every_death,
    a_configuration_by_command_has_a_receipt,
);
