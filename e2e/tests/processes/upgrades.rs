//! Versions meet: server and agent of the previous release with those of this one, both ways round.
//! `scripts/previous-release` builds the previous ones.

use argosy_e2e::{database::Place, on_both, process::until};
use serde_json::{Value, json};

use crate::fleet::{AgentProcess, Build, Fleet};

struct Scene {
    fleet: Fleet,
    agent: AgentProcess,
    id: String,
    ended: Vec<Value>,
}

impl Scene {
    async fn start(place: &Place, server: Build, agent: Build) -> Self {
        let mut fleet = Fleet::prepare(place, "server").of(server);
        fleet.start_server().await;
        let token = fleet.token(json!({})).await;
        let agent = AgentProcess::start_of(&fleet, &token, agent);
        let waits = fleet.agent("the agent to ask", |a| a["status"] == "pending").await;
        let id = waits["agent_id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/agents/{id}/approve");
        fleet.post(&path, &json!({ "fingerprint": waits["fingerprint"] })).await;
        Self { fleet, agent, id, ended: Vec::new() }
    }

    /// The agent is there, carries out a command, and shows what its host is.
    async fn works(&mut self) {
        self.fleet.agent("the agent to be connected", |a| a["connected"] == true).await;
        let id = self.fleet.command(&self.id, "system").await;
        self.end(&id).await;
        let path = format!("/api/v1/agents/{}/inventory/system", self.id);
        let report = self.fleet.get(&path).await;
        assert_eq!(report["subsystem"], "system", "{report}");
        let health = self.fleet.agent("the agent", |a| a["agent_id"] == self.id.as_str()).await;
        assert_eq!((&health["health"], &health["status"]), (&json!("healthy"), &json!("approved")));
    }

    async fn end(&mut self, id: &str) {
        self.ended.push(self.fleet.succeeded(id).await);
    }

    /// What was recorded is as it was; a newer server may say more about it.
    async fn stands(&self) {
        for command in &self.ended {
            let path = format!("/api/v1/commands/{}", command["id"].as_str().unwrap());
            let now = self.fleet.get(&path).await;
            for (name, value) in command.as_object().unwrap() {
                assert_eq!(&now[name], value, "{name} of {now}");
            }
        }
        let page = self.fleet.get("/api/v1/commands?limit=500").await;
        assert_eq!(page["items"].as_array().unwrap().len(), self.ended.len());
        let agents = self.fleet.get("/api/v1/agents").await;
        assert_eq!(agents["items"].as_array().unwrap().len(), 1, "it is the same agent: {agents}");
    }

    async fn server_becomes(mut self, build: Build) -> Self {
        self.fleet.kill_server().await;
        self.fleet = self.fleet.of(build);
        self.fleet.start_server().await;
        self
    }
}

/// First the server, as the documentation says, then the agent, in the middle of a command.
async fn an_earlier_fleet_becomes_this_one(place: Place) {
    let mut scene = Scene::start(&place, Build::Previous, Build::Previous).await;
    scene.works().await;
    let mut scene = scene.server_becomes(Build::Here).await;
    scene.works().await;
    let left_behind = scene.fleet.command(&scene.id, "system").await;
    scene.agent.kill().await;
    let waiting = scene.fleet.command(&scene.id, "system").await;
    scene.agent.start_again_as(Build::Here);
    scene.end(&left_behind).await;
    scene.end(&waiting).await;
    scene.works().await;
    // What the earlier agent could not: schedules from the server.
    let subsystems = format!("/api/v1/agents/{}/subsystems", scene.id);
    let change = json!({ "interval_s": 600 });
    scene.fleet.patch(&format!("{subsystems}/storage"), &change).await;
    until("the schedule to be in force", || async {
        let shown = scene.fleet.get(&subsystems).await;
        (shown["applied_generation"] == shown["generation"]).then_some(())
    })
    .await;
    scene.stands().await;
}

/// An agent that was updated before its server.
async fn an_agent_is_ahead_of_its_server(place: Place) {
    let mut scene = Scene::start(&place, Build::Previous, Build::Here).await;
    scene.works().await;
    scene.agent.kill().await;
    scene.agent.start_again();
    scene.works().await;
    let mut scene = scene.server_becomes(Build::Here).await;
    scene.works().await;
    scene.stands().await;
    // What the agent kept because the earlier server did not take it arrives.
    let path = format!("/api/v1/agents/{}/telemetry?metric=load_1m", scene.id);
    until("telemetry", || async {
        let shown = scene.fleet.get(&path).await;
        shown["series"][0]["points"][0].is_object().then_some(())
    })
    .await;
}

on_both!(an_earlier_fleet_becomes_this_one, an_agent_is_ahead_of_its_server);
