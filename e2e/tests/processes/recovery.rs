//! A server whose master key is lost begins anew, and the person on the host says so to the agent.

use argosy_e2e::{
    agent::TestAgent,
    database::Place,
    on_both,
    process::{fails, run, until},
};
use serde_json::{Value, json};

use crate::fleet::{AgentProcess, Fleet};

/// The server's variables and arguments for a command on the state of the fleet.
struct Argosyd<'a> {
    place: &'a Place,
}

impl Argosyd<'_> {
    fn variables(&self) -> Vec<(&str, &str)> {
        let url = self.place.database_url.as_deref();
        let url = url.map(|url| ("ARGOSY_DATABASE_URL", url));
        url.into_iter()
            .chain([("ARGOSY_MODE", "server"), ("ARGOSY_LISTEN", "127.0.0.1:0")])
            .collect()
    }

    fn arguments<'c>(&'c self, command: &[&'c str]) -> Vec<&'c str> {
        [command, &["--data-dir", self.place.data_dir.to_str().unwrap()]].concat()
    }

    async fn run(&self, command: &[&str]) -> String {
        run("argosyd", &self.arguments(command), &self.variables()).await
    }

    async fn fails(&self, command: &[&str]) -> String {
        fails("argosyd", &self.arguments(command), &self.variables()).await
    }
}

async fn carried_out(fleet: &Fleet, agent: &str) {
    let command = fleet.command(agent, "system").await;
    let over = fleet.command_in(&command, &["succeeded", "failed", "rejected", "lost"]).await;
    assert_eq!(over["state"], "succeeded", "{over}");
}

async fn pin_of(fleet: &Fleet) -> String {
    fleet.get("/.well-known/argosy/keys").await["thumbprint"].as_str().unwrap().to_owned()
}

async fn a_lost_master_key_costs_a_repin_and_no_more(place: Place) {
    let mut fleet = Fleet::start(&place, "server").await;
    let argosyd = Argosyd { place: &place };
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let mut agent = AgentProcess::start(&fleet, &token);
    let shown = fleet.agent("the agent to be connected", |a| a["connected"] == true).await;
    let id = shown["agent_id"].as_str().unwrap();
    carried_out(&fleet, id).await;
    let old = pin_of(&fleet).await;

    // Without its master key the server says what to do, and makes no other.
    fleet.kill_server().await;
    let master = place.data_dir.join("master.key");
    std::fs::remove_file(&master).unwrap();
    let said = argosyd.fails(&[]).await;
    assert!(said.contains("master.key is missing") && said.contains("keys reset"), "{said}");
    assert!(!master.exists());
    let said = argosyd.fails(&["keys", "rotate"]).await;
    assert!(said.contains("there is no server here"), "{said}");
    let said = argosyd.fails(&["keys", "reset"]).await;
    assert!(said.contains("--agents-must-repin"), "{said}");
    assert!(!master.exists());
    let told = argosyd.run(&["keys", "reset", "--agents-must-repin"]).await;
    assert!(told.contains("identity-2") && told.contains("session-2"), "{told}");

    // What was minted before admits nobody: neither the token itself nor a proof with it.
    fleet.start_server().await;
    let late = TestAgent::new("late");
    let register = "/api/v1/agents/register";
    let pinned = late.registration(&token);
    fleet.client.post_anonymous(register, &pinned).await.refused(422, "invalid");
    let unpinned = token.split('.').next().unwrap();
    let proved = late.registration(unpinned);
    fleet.client.post_anonymous(register, &proved).await.refused(401, "invalid_token");
    let raw = json!({ "name": "late", "bootstrap_token": unpinned });
    fleet.client.post_anonymous(register, &raw).await.refused(401, "invalid_token");
    let said = argosyd.fails(&["keys", "reset", "--agents-must-repin"]).await;
    assert!(said.contains("another server runs") || said.contains("a server runs"), "{said}");
    fleet.kill_server().await;

    // The agent does not follow, and while it runs nobody repins behind its back.
    fleet.start_server().await;
    let new = pin_of(&fleet).await;
    assert_ne!(old, new);
    let state = fleet.folder.join("agent");
    let state = ["--state-dir", state.to_str().unwrap()];
    let status = async || -> Value {
        let told = run("argosy-agent", &[&["status", "--json"][..], &state].concat(), &[]).await;
        serde_json::from_str(&told).unwrap()
    };
    until("the agent to distrust the server", || async {
        status().await.to_string().contains("this agent knows it as").then_some(())
    })
    .await;
    let repin = ["repin", "--server", fleet.url.as_str()];
    let repin = [&repin[..], &state].concat();
    let said = fails("argosy-agent", &repin, &[]).await;
    assert!(said.contains("is held by process"), "{said}");
    agent.kill().await;
    let said = fails("argosy-agent", &repin, &[]).await;
    assert!(
        said.contains(&old) && said.contains(&new) && said.contains("nobody confirmed"),
        "{said}"
    );
    let said = fails("argosy-agent", &[&repin[..], &["--pin", &old]].concat(), &[]).await;
    assert!(said.contains("was asked for"), "{said}");
    assert_eq!(status().await["server_pin"], old.as_str());
    run("argosy-agent", &[&repin[..], &["--pin", &new]].concat(), &[]).await;
    assert_eq!(status().await["server_pin"], new.as_str());

    // The same agent, approved as it was.
    agent.start_again();
    carried_out(&fleet, id).await;
    let entries = fleet.get("/api/v1/audit?action=server.keys_reset").await;
    assert_eq!(entries["items"].as_array().unwrap().len(), 1);
    let key = fleet.admin_key();
    let login = [("ARGOSY_SERVER", fleet.url.as_str()), ("ARGOSY_KEY", key.as_str())];
    run("argosy", &["audit", "verify", "--pin", &new], &login).await;
}

on_both!(a_lost_master_key_costs_a_repin_and_no_more);
