//! Attack 14: server or agent dies between every two steps of joining and of changing keys. Whoever died
//! is started again, and all goes on: one agent, enrolled wholly, that carries out a command.
//!
//! A new failpoint on these ways gets a line in [`STEPS`].

use std::collections::BTreeSet;

use argosy_e2e::{
    database::Place,
    on_both,
    process::{fails, root, run, until},
};
use serde_json::json;

use crate::fleet::{AgentProcess, Fleet};

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Server,
    Agent,
}

/// During what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Registration,
    Approval,
    Handshake,
    KeyRotation,
}

/// Who dies, at which failpoint, during what.
const STEPS: [(Who, &str, Way); 17] = [
    (Who::Agent, "enrol.begun", Way::Registration),
    (Who::Server, "register.before_commit", Way::Registration),
    (Who::Server, "register.after_commit", Way::Registration),
    (Who::Agent, "enrol.answered", Way::Registration),
    (Who::Agent, "enrol.registered", Way::Registration),
    (Who::Server, "approve.before_commit", Way::Approval),
    (Who::Server, "approve.after_commit", Way::Approval),
    (Who::Server, "begin.before_commit", Way::Handshake),
    (Who::Server, "begin.after_commit", Way::Handshake),
    (Who::Agent, "handshake.challenged", Way::Handshake),
    (Who::Server, "complete.before_commit", Way::Handshake),
    (Who::Server, "complete.after_commit", Way::Handshake),
    (Who::Agent, "handshake.before_kept", Way::Handshake),
    (Who::Agent, "handshake.after_kept", Way::Handshake),
    (Who::Agent, "rotate_key.prepared", Way::KeyRotation),
    (Who::Server, "rotate_key.before_commit", Way::KeyRotation),
    (Who::Server, "rotate_key.after_commit", Way::KeyRotation),
];

/// Those that follow the server's answer to a rotation.
const LAST_STEPS: [(Who, &str, Way); 3] = [
    (Who::Agent, "rotate_key.confirmed", Way::KeyRotation),
    (Who::Agent, "rotate_key.committed", Way::KeyRotation),
    (Who::Agent, "rotate_key.forgotten", Way::KeyRotation),
];

fn steps(ways: &[Way]) -> Vec<(Who, &'static str, Way)> {
    STEPS.into_iter().chain(LAST_STEPS).filter(|(_, _, way)| ways.contains(way)).collect()
}

/// One fleet, one agent of its own for each step.
struct Walk {
    fleet: Fleet,
    number: usize,
}

impl Walk {
    async fn start(place: &Place) -> Self {
        Self { fleet: Fleet::start(place, "server").await, number: 0 }
    }

    async fn with_status(&self, name: &str, status: &str) -> String {
        let what = format!("{name} to be {status}");
        let fits = |agent: &serde_json::Value| agent["name"] == name && agent["status"] == status;
        let agent = self.fleet.agent(&what, fits).await;
        agent["agent_id"].as_str().unwrap().to_owned()
    }

    /// Approves; whoever asked may die of it, so it is asked again until it is so.
    async fn approve(&mut self, id: &str, dies: bool) {
        let path = format!("/api/v1/agents/{id}/approve");
        if dies {
            let (client, key, path) =
                (self.fleet.client.clone(), self.fleet.admin_key(), path.clone());
            // The connection breaks in the middle of the answer.
            let _ = tokio::spawn(async move { client.post(&path, &key, &json!({})).await }).await;
            self.fleet.server_again().await;
        }
        let answer = self.fleet.client.post(&path, &self.fleet.admin_key(), &json!({})).await;
        assert!([200, 409].contains(&answer.status), "{answer:?}");
    }

    async fn carried_out(&self, id: &str) {
        let command = self.fleet.command(id, "system").await;
        let ends = ["succeeded", "failed", "rejected", "lost", "expired"];
        let over = self.fleet.command_in(&command, &ends).await;
        assert_eq!(over["state"], "succeeded", "{over}");
        assert_eq!(over["receipt_available"], true, "{over}");
    }

    /// The life of one agent, with a death in it.
    async fn survives(&mut self, (who, at, way): (Who, &'static str, Way)) {
        self.number += 1;
        let name = format!("step-{}", self.number);
        let server_dies = who == Who::Server;
        let agent_dies_at = if server_dies { None } else { Some(at) };
        let token = self.fleet.token(json!({})).await;
        // During a registration the failpoint is there from the beginning, else once it is needed.
        let early = way == Way::Registration;
        if server_dies && early {
            self.fleet.server_with_failpoint(at).await;
        }
        let failing = agent_dies_at.filter(|_| early);
        let mut agent = AgentProcess::named(&self.fleet, &name, &token, failing);
        if early {
            self.death(&mut agent, server_dies).await;
        }
        let id = self.with_status(&name, "pending").await;
        // An answer that is lost after the approval cannot be asked for again: that is for a person.
        agent.registered().await;
        if way == Way::Handshake || way == Way::Approval {
            self.arm(&mut agent, server_dies, at).await;
        }
        self.approve(&id, server_dies && way == Way::Approval).await;
        if way == Way::Handshake {
            self.death(&mut agent, server_dies).await;
        }
        self.with_status(&name, "approved").await;
        self.carried_out(&id).await;
        if way == Way::KeyRotation {
            self.rotation(&mut agent, server_dies, at, &id).await;
        }
        let page = self.fleet.get("/api/v1/agents?limit=500").await;
        let agents = page["items"].as_array().unwrap().iter();
        let ours: Vec<_> = agents.filter(|agent| agent["name"] == name.as_str()).collect();
        assert_eq!(ours.len(), 1, "{at}: {ours:?}");
        assert_eq!(ours[0]["status"], "approved", "{at}: {ours:?}");
        agent.kill().await;
    }

    /// The failpoint is there from now on.
    async fn arm(&mut self, agent: &mut AgentProcess, server_dies: bool, at: &'static str) {
        if server_dies {
            self.fleet.kill_server().await;
            self.fleet.server_with_failpoint(at).await;
        } else {
            agent.kill().await;
            agent.start_with_failpoint(at);
        }
    }

    /// Waits for the death, and starts who died again.
    async fn death(&mut self, agent: &mut AgentProcess, server_dies: bool) {
        if server_dies {
            self.fleet.server_again().await;
        } else {
            agent.ended().await;
            agent.start_again();
        }
    }

    /// Somebody asks for a new key; who dies of it is started again, and there is one.
    async fn rotation(
        &mut self,
        agent: &mut AgentProcess,
        server_dies: bool,
        at: &'static str,
        id: &str,
    ) {
        if server_dies {
            self.arm(agent, server_dies, at).await;
            agent.ask_for_new_key();
        } else {
            agent.kill().await;
            agent.ask_for_new_key();
            agent.start_with_failpoint(at);
        }
        self.death(agent, server_dies).await;
        let rotated = format!("/api/v1/audit?action=agent.key_rotated&target=agent:{id}");
        until(&format!("the key to be replaced after {at}"), || async {
            let entries = self.fleet.get(&rotated).await;
            (entries["items"].as_array().unwrap().len() == 1).then_some(())
        })
        .await;
        self.carried_out(id).await;
    }
}

async fn joining_survives_every_death(place: Place) {
    let mut walk = Walk::start(&place).await;
    for step in steps(&[Way::Registration, Way::Approval]) {
        walk.survives(step).await;
    }
}

async fn handshakes_survive_every_death(place: Place) {
    let mut walk = Walk::start(&place).await;
    for step in steps(&[Way::Handshake]) {
        walk.survives(step).await;
    }
}

async fn a_new_agent_key_survives_every_death(place: Place) {
    let mut walk = Walk::start(&place).await;
    for step in steps(&[Way::KeyRotation]) {
        walk.survives(step).await;
    }
}

/// `argosyd keys rotate` dies before or after its commit, and the first start in the middle of it.
async fn the_servers_own_keys_survive_every_death(place: Place) {
    let mut fleet = Fleet::prepare(&place, "server");
    for at in ["initialise.before_commit", "initialise.after_commit"] {
        fleet.spawn_server(Some(at));
        fleet.server_ended().await;
    }
    fleet.start_server().await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let _agent = AgentProcess::start(&fleet, &token);
    let shown = fleet.agent("the agent to be connected", |a| a["connected"] == true).await;
    let id = shown["agent_id"].as_str().unwrap().to_owned();
    let walk = Walk { fleet, number: 0 };
    for (at, identity) in [("before_commit", "identity-1"), ("after_commit", "identity-2")] {
        let at = format!("server_keys.{at}");
        let data_dir = place.data_dir.to_str().unwrap();
        let mut variables = vec![("ARGOSY_FAILPOINT", at.as_str())];
        variables.extend(place.database_url.as_deref().map(|url| ("ARGOSY_DATABASE_URL", url)));
        let rotate = ["keys", "rotate", "--use", "identity", "--data-dir", data_dir];
        fails("argosyd", &rotate, &variables).await;
        until(&format!("{identity} after {at}"), || async {
            let listed = walk.fleet.get("/api/v1/security/signing").await;
            let mut keys = listed["keys"].as_array().unwrap().iter();
            keys.any(|key| key["id"] == identity && key["status"] == "active").then_some(())
        })
        .await;
        walk.carried_out(&id).await;
    }
}

/// `argosy-agent rotate-key`, with and without an agent that runs.
async fn a_person_asks_for_a_new_agent_key(place: Place) {
    let walk = Walk::start(&place).await;
    for (name, runs) in [("runs", true), ("rests", false)] {
        let token = walk.fleet.token(json!({ "auto_approve": true })).await;
        let mut agent = AgentProcess::named(&walk.fleet, name, &token, None);
        let id = walk.with_status(name, "approved").await;
        walk.carried_out(&id).await;
        if !runs {
            agent.kill().await;
        }
        let state = agent.state_dir().to_str().unwrap().to_owned();
        let told = run("argosy-agent", &["rotate-key", "--state-dir", &state], &[]).await;
        assert!(told.contains("the server knows it"), "{told}");
        if !runs {
            agent.start_again();
        }
        walk.carried_out(&id).await;
    }
    let entries = walk.fleet.get("/api/v1/audit?action=agent.key_rotated").await;
    assert_eq!(entries["items"].as_array().unwrap().len(), 2);
}

/// The steps that the groups of a source name.
pub(crate) fn steps_of_groups(source: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(source)).unwrap();
    let mut named = Vec::new();
    for body in text.split("fn step(").skip(1) {
        let (body, _) = body.split_once("\n    }").unwrap();
        named.extend(body.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    named
}

/// The table names every failpoint on the ways of joining and of changing keys.
#[test]
fn the_table_is_complete() {
    let sources = [
        "crates/agent/src/enrol.rs",
        "crates/agent/src/session.rs",
        "crates/agent/src/key_rotation.rs",
        "crates/server/src/app/enrolment/mod.rs",
        "crates/server/src/app/agents/rulings.rs",
        "crates/server/src/app/handshake.rs",
        "crates/server/src/app/agent_keys.rs",
    ];
    // Written in groups, each around its commit.
    let groups = ["crates/server/src/app/handshake/together.rs"];
    let mut there = BTreeSet::new();
    for step in groups.into_iter().flat_map(steps_of_groups) {
        there.extend(["before_commit", "after_commit"].map(|moment| format!("{step}.{moment}")));
    }
    for source in sources {
        let text = std::fs::read_to_string(root().join(source)).unwrap();
        for call in text.split("failpoint(\"").skip(1) {
            let (step, rest) = call.split_once("\", \"").unwrap();
            let (moment, _) = rest.split_once('"').unwrap();
            there.insert(format!("{step}.{moment}"));
        }
    }
    let walked = STEPS.into_iter().chain(LAST_STEPS).map(|(_, at, _)| at.to_owned());
    assert_eq!(there, walked.collect());
}

on_both!(
    joining_survives_every_death,
    handshakes_survive_every_death,
    a_new_agent_key_survives_every_death,
    the_servers_own_keys_survive_every_death,
    a_person_asks_for_a_new_agent_key,
);
