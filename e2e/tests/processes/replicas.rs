//! Two real servers on one PostgreSQL behind a TCP balancer, and a real agent: commands and
//! revocations find it wherever its stream is, and it survives the end of either server.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use argosy_e2e::{
    database::{Place, on_sqlite},
    http::Client,
    on_shared,
    process::{Process, free_port, ready, until},
    proxy::Proxy,
};
use serde_json::{Value, json};

use crate::fleet::Fleet;

/// One of the servers.
struct Replica {
    client: Client,
    url: String,
    process: Process,
}

/// A second is promised; the machine of a test may be busy.
const SOON: Duration = Duration::from_secs(4);

struct Replicas {
    folder: PathBuf,
    ports: [u16; 2],
    key: String,
    balancer: Proxy,
    servers: Vec<Replica>,
}

impl Replicas {
    async fn start(place: &Place) -> Self {
        let folder = place.data_dir.parent().unwrap().to_owned();
        let ports = [free_port(), free_port()];
        let targets = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let balancer = Proxy::start(targets.to_vec()).await;
        let public = format!("http://{}", balancer.address);
        let mut servers = Vec::new();
        for port in ports {
            servers.push(Replica::start(place, &folder, port, &public).await);
        }
        let key = std::fs::read_to_string(folder.join("data/admin.key")).unwrap();
        Self { folder, ports, key: key.trim().to_owned(), balancer, servers }
    }

    /// Starts a server that was killed.
    async fn restart(&mut self, place: &Place, server: usize) {
        let public = format!("http://{}", self.balancer.address);
        let port = self.ports[server];
        self.servers[server] = Replica::start(place, &self.folder, port, &public).await;
    }

    /// What a server answers to the administrator.
    async fn get(&self, server: usize, path: &str) -> Value {
        self.servers[server].client.get(path, &self.key).await.expect(200)
    }

    async fn agent(&self, server: usize, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(what, || async {
            let page = self.get(server, "/api/v1/agents").await;
            page["items"].as_array().unwrap().iter().find(|agent| fits(agent)).cloned()
        })
        .await
    }

    /// Gives a command by one server and waits there for its end.
    async fn carried_out(&self, server: usize, agent: &str) -> Value {
        let path = format!("/api/v1/agents/{agent}/commands");
        let body = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
        let given = self.servers[server].client.post(&path, &self.key, &body).await.expect(202);
        let path = format!("/api/v1/commands/{}", given["id"].as_str().unwrap());
        until("the command to end", || async {
            let command = self.get(server, &path).await;
            (command["state"] == "succeeded").then_some(command)
        })
        .await
    }

    /// How many streams a server holds.
    async fn streams(&self, server: usize) -> u64 {
        let url = format!("{}/metrics", self.servers[server].url);
        let http = argosy_e2e::http::plain();
        let text = http.get(url).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find(|line| line.starts_with("argosy_streams_open ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn start_agent(&self, token: &str) -> Process {
        let url = format!("http://{}", self.balancer.address);
        let state = self.folder.join("agent");
        let policy = self.folder.join("policy.toml");
        let variables = [
            ("ARGOSY_SERVER_URL", url.as_str()),
            ("ARGOSY_BOOTSTRAP_TOKEN", token),
            ("ARGOSY_AGENT_NAME", "web-1"),
            ("ARGOSY_STATE_DIR", state.to_str().unwrap()),
            ("ARGOSY_POLICY_FILE", policy.to_str().unwrap()),
        ];
        Process::start("argosy-agent", &["run"], &variables, &self.folder.join("agent.log"))
    }
}

impl Replica {
    async fn start(place: &Place, folder: &Path, port: u16, public: &str) -> Self {
        let listen = format!("127.0.0.1:{port}");
        let (first, second) = (folder.join("data"), folder.join(format!("data-{port}")));
        // The first one makes the master key, the second one is given it.
        let data_dir = if first.exists() { second } else { first.clone() };
        let arguments =
            ["--mode", "server", "--listen", &listen, "--data-dir", data_dir.to_str().unwrap()];
        let master_key = first.join("master.key");
        let variables = [
            ("ARGOSY_DATABASE_URL", place.database_url.as_deref().unwrap()),
            ("ARGOSY_MASTER_KEY_FILE", master_key.to_str().unwrap()),
            ("ARGOSY_PUBLIC_URL", public),
        ];
        let log = folder.join(format!("server-{port}.log"));
        let process = Process::start("argosyd", &arguments, &variables, &log);
        let url = format!("http://{listen}");
        let client = Client::new(&url);
        ready(&url).await;
        Self { client, url, process }
    }
}

async fn an_agent_moves_from_a_server_that_dies_to_the_other(place: Place) {
    let mut replicas = Replicas::start(&place).await;
    let body = json!({ "name": "test", "require_proof": true, "auto_approve": true });
    let minted = replicas.servers[1].client.post("/api/v1/bootstrap-tokens", &replicas.key, &body);
    let token = minted.await.expect(201)["token"].as_str().unwrap().to_owned();
    let _agent = replicas.start_agent(&token);
    let connected = |agent: &Value| agent["connected"] == true;
    let agent = replicas.agent(1, "the agent to be connected", connected).await;
    let id = agent["agent_id"].as_str().unwrap().to_owned();
    assert_eq!((replicas.streams(0).await, replicas.streams(1).await), (1, 0));
    let through_the_other = replicas.carried_out(1, &id).await;
    assert_eq!(through_the_other["receipt_available"], true);
    replicas.servers[0].process.kill().await;
    let moved = async || (replicas.streams(1).await == 1).then_some(());
    until("the agent to come to the other server", moved).await;
    let there = replicas.carried_out(1, &id).await;
    assert_ne!(there["id"], through_the_other["id"]);
    let shown = replicas.get(1, &format!("/api/v1/agents/{id}")).await;
    assert_eq!((&shown["connected"], &shown["status"]), (&json!(true), &json!("approved")));
    // The dead one comes back, and what it revokes ends on the other.
    replicas.restart(&place, 0).await;
    let path = format!("/api/v1/agents/{id}/revoke");
    let began = Instant::now();
    replicas.servers[0].client.post(&path, &replicas.key, &json!({})).await.expect(200);
    let ended = async || (replicas.streams(1).await == 0).then_some(());
    until("the stream to end", ended).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

/// SQLite is for one server: a second one on the same data directory does not start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_one_sqlite_database_does_not_start() {
    on_sqlite(|place| async move {
        let fleet = Fleet::start(&place, "server").await;
        let data_dir = place.data_dir.to_str().unwrap();
        let arguments = ["--mode", "server", "--listen", "127.0.0.1:0", "--data-dir", data_dir];
        let log = fleet.folder.join("second.log");
        let mut second = Process::start("argosyd", &arguments, &[], &log);
        assert_ne!(second.ended().await, Some(0));
        let told = std::fs::read_to_string(&log).unwrap();
        assert!(told.contains("another server runs on"), "{told}");
        assert_eq!(fleet.get("/api/v1/agents").await["items"], json!([]));
    })
    .await;
}

on_shared!(an_agent_moves_from_a_server_that_dies_to_the_other);
