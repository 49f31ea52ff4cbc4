//! schemathesis reads the interface description and tries it on a real server: no fault of the
//! server, no status and no shape that is not described. What it leaves out, and why, stands in
//! `e2e/python/schemathesis.toml`.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use argosy_e2e::{
    database::{Place, on_sqlite},
    http::Client,
    process::{Process, free_port, ready, until},
};
use serde_json::{Value, json};
use tokio::process::Command;

/// The same requests in every run; another number tries others.
const SEED: &str = "20261122";
/// Requests for each operation beside those that follow from its shape.
const EXAMPLES: &str = "20";
/// An upper bound for slow machines; it takes a fraction of this.
const WITHIN: Duration = Duration::from_secs(150);

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// schemathesis in the environment of `e2e/python/requirements.txt`, which is made when missing.
async fn schemathesis() -> PathBuf {
    let output = Command::new(root().join("scripts/python-env")).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let python = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    python.parent().unwrap().join("schemathesis")
}

/// A server process with something of every noun in it.
struct Inhabited {
    url: String,
    key: String,
    client: Client,
    folder: PathBuf,
    _server: Process,
    _agent: Process,
}

impl Inhabited {
    async fn start(place: &Place) -> Self {
        let url = format!("http://127.0.0.1:{}", free_port());
        let (client, folder) = (Client::new(&url), place.data_dir.parent().unwrap().to_owned());
        let listen = url.trim_start_matches("http://");
        let data_dir = place.data_dir.to_str().unwrap();
        let arguments = ["--mode", "server", "--listen", listen, "--data-dir", data_dir];
        // Most of the requests fail, all from one address.
        let variables = [("ARGOSY_FAILURES_PER_MINUTE", "1000000")];
        let log = folder.join("server.log");
        let server = Process::start("argosyd", &arguments, &variables, &log);
        ready(&url).await;
        let key = std::fs::read_to_string(place.data_dir.join("admin.key")).unwrap();
        let key = key.trim().to_owned();
        let agent = enrolling(&client, &url, &key, &folder).await;
        Self { url, key, client, folder, _server: server, _agent: agent }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.client.post(path, &self.key, &body).await;
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
        answer.body
    }

    async fn first(&self, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(path, async || {
            let page = self.client.get(path, &self.key).await.expect(200);
            page["items"].as_array().unwrap().iter().find(|item| fits(item)).cloned()
        })
        .await
    }

    /// The ids that the configuration asks for.
    async fn ids(&self) -> Vec<(&'static str, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let agents = "/api/v1/agents";
        let agent = text(&self.first(agents, |agent| agent["connected"] == true).await["agent_id"]);
        let run = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
        let command = self.post(&format!("{agents}/{agent}/commands"), run).await;
        let over = |command: &Value| command["receipt_available"] == true;
        self.first("/api/v1/commands", over).await;
        let seen = json!({ "provider": "aws", "resource_type": "vpc", "resource_id": "vpc-1" });
        self.post("/api/v1/discovery/ingest", json!({ "resources": [seen] })).await;
        let resource = self.first("/api/v1/discovery/resources", |_| true).await;
        let token = self.post("/api/v1/bootstrap-tokens", json!({ "name": "waits" })).await;
        let waits = json!({ "name": "waits", "bootstrap_token": token["token"] });
        let waiting = self.post("/api/v1/agents/register", waits).await;
        let scopes = json!({ "name": "spare", "scopes": ["agents:read"] });
        let key = self.post("/api/v1/auth/keys", scopes).await;
        let user = json!({ "name": "spare", "role": "viewer" });
        let user = self.post("/api/v1/users", user).await;
        vec![
            ("ARGOSY_TEST_USER_ID", text(&user["id"])),
            ("ARGOSY_TEST_AGENT_ID", agent),
            ("ARGOSY_TEST_COMMAND_ID", text(&command["id"])),
            ("ARGOSY_TEST_RESOURCE_ID", text(&resource["id"])),
            ("ARGOSY_TEST_WAITING_ID", text(&waiting["agent_id"])),
            ("ARGOSY_TEST_TOKEN_ID", text(&token["id"])),
            ("ARGOSY_TEST_KEY_ID", text(&key["id"])),
            ("ARGOSY_TEST_KEY", self.key.clone()),
        ]
    }
}

/// A real agent that enrols by itself.
async fn enrolling(client: &Client, url: &str, key: &str, folder: &Path) -> Process {
    let body = json!({ "name": "agent", "auto_approve": true, "require_proof": true });
    let token = client.post("/api/v1/bootstrap-tokens", key, &body).await.text("token");
    let (state, policy) = (folder.join("agent"), folder.join("policy.toml"));
    let variables = [
        ("ARGOSY_SERVER_URL", url),
        ("ARGOSY_STATE_DIR", state.to_str().unwrap()),
        ("ARGOSY_BOOTSTRAP_TOKEN", token.as_str()),
        ("ARGOSY_AGENT_NAME", "inhabitant"),
        ("ARGOSY_POLICY_FILE", policy.to_str().unwrap()),
    ];
    Process::start("argosy-agent", &["run"], &variables, &folder.join("agent.log"))
}

async fn the_server_does_what_its_description_says(place: Place) {
    let (tool, server) = (schemathesis().await, Inhabited::start(&place).await);
    let mut run = Command::new(tool);
    run.arg("--config-file").arg(root().join("e2e/python/schemathesis.toml"));
    run.args(["run", "--no-color", "--seed", SEED, "--max-examples", EXAMPLES]);
    run.args(["--generation-database", "none"]);
    run.arg(format!("{}/api/v1/openapi.json", server.url));
    run.envs(server.ids().await).current_dir(&server.folder).stdin(Stdio::null());
    let output = tokio::time::timeout(WITHIN, run.kill_on_drop(true).output()).await;
    let output = output.expect("schemathesis ends in time").unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("seed {SEED}\n{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "schemathesis found something; its report is above");
    assert!(told.contains("Tested: "), "nothing was tried");
    // Every fault is logged where it becomes an answer, whether or not the tool saw it.
    let log = std::fs::read_to_string(server.folder.join("server.log")).unwrap();
    let faults: Vec<&str> = log.lines().filter(|line| line.contains("internal error")).collect();
    assert!(faults.is_empty() && !log.contains("panicked"), "{faults:#?}");
    // The run has not cut off the branch that it sat on.
    server.client.get("/api/v1/auth/me", &server.key).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing() {
    on_sqlite(the_server_does_what_its_description_says).await;
}
