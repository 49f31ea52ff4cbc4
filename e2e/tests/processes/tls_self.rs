//! `tls = self`: the server's identity key vouches for its certificate, and a pin is all the trust that
//! agent and command line need. Another identity is refused; a successor is followed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use argosy_e2e::{
    database::{Place, on_sqlite},
    process::{Process, fails, free_port, run, until},
};
use argosy_wire::identity_tls::client_config;
use rustls::RootCertStore;
use serde_json::Value;

/// A server that certifies itself, on a port and in a folder that stay when it is started again.
struct Server {
    folder: PathBuf,
    port: u16,
    mode: &'static str,
    process: Option<Process>,
}

impl Server {
    async fn start(folder: &Path, port: u16, mode: &'static str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mut server = Self { folder: folder.to_owned(), port, mode, process: None };
        server.start_again().await;
        server
    }

    async fn start_again(&mut self) {
        let (listen, data) = (format!("127.0.0.1:{}", self.port), self.data_dir());
        let arguments = ["--mode", self.mode, "--listen", &listen, "--data-dir", &data];
        let log = self.folder.join("server.log");
        self.process = Some(Process::start("argosyd", &arguments, &[("ARGOSY_TLS", "self")], &log));
        let login = self.folder.join("data/admin.key");
        // Whoever answers: that it is the right one is what the tests are about.
        let tls = client_config(Arc::default(), RootCertStore::empty()).unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls);
        let http = http.build().unwrap();
        let ready = format!("{}/ready", self.url());
        until("the server to be ready", || async {
            let answer = http.get(&ready).send().await.ok()?;
            (answer.status().is_success() && login.exists()).then_some(())
        })
        .await;
    }

    async fn kill(&mut self) {
        self.process.take().unwrap().kill().await;
    }

    fn data_dir(&self) -> String {
        self.folder.join("data").to_str().unwrap().to_owned()
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    async fn pin(&self) -> String {
        run("argosyd", &["keys", "show", "--data-dir", &self.data_dir()], &[])
            .await
            .trim()
            .to_owned()
    }

    fn admin_key(&self) -> String {
        std::fs::read_to_string(self.folder.join("data/admin.key")).unwrap().trim().to_owned()
    }

    /// `argosy` as the administrator, who knows the pin.
    async fn argosy(&self, words: &[&str]) -> String {
        let (url, key, pin) = (self.url(), self.admin_key(), self.pin().await);
        let variables =
            [("ARGOSY_SERVER", url.as_str()), ("ARGOSY_KEY", &key), ("ARGOSY_PIN", &pin)];
        run("argosy", words, &variables).await
    }

    async fn token(&self) -> String {
        let made = self.argosy(&["token", "create", "t", "--auto-approve", "-o", "json"]).await;
        let made: Value = serde_json::from_str(&made).unwrap();
        made["token"].as_str().unwrap().to_owned()
    }

    async fn connected(&self, name: &str, is: bool) {
        until(&format!("{name} to be connected: {is}"), || async {
            let listed = self.argosy(&["agent", "list", "-o", "json"]).await;
            let agents: Value = serde_json::from_str(&listed).unwrap();
            let mut agents = agents.as_array().unwrap().iter();
            agents.any(|agent| agent["name"] == name && agent["connected"] == is).then_some(())
        })
        .await;
    }

    async fn carries_out(&self, name: &str) {
        self.connected(name, true).await;
        let words = ["command", "send", name, "subsystem.run", "--param", "subsystem=system"];
        let sent = self.argosy(&[&words[..], &["--wait"]].concat()).await;
        assert!(sent.contains("succeeded"), "{sent}");
    }
}

/// An agent with a state directory of its own.
struct Agent {
    folder: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Agent {
    fn new(folder: &Path, server: &Server, name: &str, token: &str) -> Self {
        let folder = folder.join(name);
        let variables = vec![
            ("ARGOSY_SERVER_URL", server.url()),
            ("ARGOSY_STATE_DIR", folder.to_str().unwrap().to_owned()),
            ("ARGOSY_BOOTSTRAP_TOKEN", token.to_owned()),
            ("ARGOSY_AGENT_NAME", name.to_owned()),
        ];
        Self { folder, variables }
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    fn log(&self) -> PathBuf {
        self.folder.with_extension("log")
    }

    fn run(&self) -> Process {
        Process::start("argosy-agent", &["run"], &self.variables(), &self.log())
    }

    async fn says(&self, what: &str) {
        until(&format!("the agent to say {what:?}"), || async {
            std::fs::read_to_string(self.log()).ok()?.contains(what).then_some(())
        })
        .await;
    }
}

fn folder(place: &Place) -> PathBuf {
    place.data_dir.parent().unwrap().to_owned()
}

async fn a_pin_is_all_that_is_needed(place: Place) {
    let folder = folder(&place);
    let server = Server::start(&folder.join("one"), free_port(), "server").await;
    let token = server.token().await;
    let pinned = Agent::new(&folder, &server, "pinned", &token);
    let _pinned = pinned.run();
    server.carries_out("pinned").await;

    // By hand without the pin: the first contact is trusted, and shown as such.
    let token = server.token().await;
    let (bare, _) = token.rsplit_once('.').unwrap();
    let tofu = Agent::new(&folder, &server, "tofu", bare);
    let said = run("argosy-agent", &["enroll", "--no-wait"], &tofu.variables()).await;
    assert!(said.contains("trusted at first contact"), "{said}");
    assert!(said.contains(&server.pin().await), "{said}");
    let _tofu = tofu.run();
    server.carries_out("tofu").await;

    // The command line sends a key, so it trusts nobody unseen.
    let (url, key) = (server.url(), server.admin_key());
    let config = folder.join("config").to_str().unwrap().to_owned();
    let mut variables =
        vec![("ARGOSY_KEY", key.as_str()), ("XDG_CONFIG_HOME", &config), ("HOME", &config)];
    let login = ["login", "--server", &url];
    let said = fails("argosy", &login, &variables).await;
    assert!(said.contains("--pin PIN"), "{said}");
    let pin = server.pin().await;
    run("argosy", &[&login[..], &["--pin", &pin]].concat(), &variables).await;
    // The profile keeps it.
    variables.remove(0);
    let listed = run("argosy", &["agent", "list"], &variables).await;
    assert!(listed.contains("pinned"), "{listed}");
}

async fn another_identity_is_refused(place: Place) {
    let folder = folder(&place);
    let mut server = Server::start(&folder.join("one"), free_port(), "server").await;
    let agent = Agent::new(&folder, &server, "web-1", &server.token().await);
    let process = agent.run();
    server.carries_out("web-1").await;
    let (pin, token) = (server.pin().await, server.token().await);
    server.kill().await;
    // Somebody else answers at the same address.
    let mut impostor = Server::start(&folder.join("two"), server.port, "server").await;
    let shown = impostor.pin().await;
    agent.says(&format!("shows the identity {shown}, and this agent knows it as {pin}")).await;
    let newcomer = Agent::new(&folder, &impostor, "web-2", &token);
    let said = fails("argosy-agent", &["enroll", "--no-wait"], &newcomer.variables()).await;
    assert!(said.contains(&shown) && said.contains("Do not go on"), "{said}");
    let (url, key) = (impostor.url(), impostor.admin_key());
    let variables = [("ARGOSY_SERVER", url.as_str()), ("ARGOSY_KEY", &key), ("ARGOSY_PIN", &pin)];
    let said = fails("argosy", &["status"], &variables).await;
    assert!(said.contains(&format!("of the identity {shown}, and {pin} is pinned")), "{said}");
    let listed = impostor.argosy(&["agent", "list", "-o", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), serde_json::json!([]));
    // The right one is known again.
    impostor.kill().await;
    server.start_again().await;
    server.carries_out("web-1").await;
    drop(process);
}

async fn a_successor_is_followed(place: Place) {
    let folder = folder(&place);
    let mut server = Server::start(&folder.join("one"), free_port(), "server").await;
    let there = Agent::new(&folder, &server, "there", &server.token().await);
    let _there = there.run();
    let away = Agent::new(&folder, &server, "away", &server.token().await);
    let mut running = away.run();
    server.carries_out("there").await;
    server.carries_out("away").await;
    let (old, token) = (server.pin().await, server.token().await);
    running.kill().await;
    let rotate = ["keys", "rotate", "--use", "identity", "--data-dir", &server.data_dir()];
    run("argosyd", &rotate, &[]).await;
    assert_ne!(server.pin().await, old);
    // Who was there, on a connection that was made under the old identity and on a new one.
    until("the new identity to be in force", || async {
        let (url, key, pin) = (server.url(), server.admin_key(), server.pin().await);
        let variables =
            [("ARGOSY_SERVER", url.as_str()), ("ARGOSY_KEY", &key), ("ARGOSY_PIN", &pin)];
        let status = tokio::process::Command::new(argosy_e2e::process::program("argosy"))
            .arg("status")
            .envs(variables)
            .output();
        status.await.unwrap().status.success().then_some(())
    })
    .await;
    server.carries_out("there").await;
    server.kill().await;
    server.start_again().await;
    server.carries_out("there").await;
    // Who was away, and who comes with a token of before.
    let _away = away.run();
    server.carries_out("away").await;
    let late = Agent::new(&folder, &server, "late", &token);
    let _late = late.run();
    server.carries_out("late").await;
}

async fn the_local_agent_needs_no_more_than_its_token(place: Place) {
    let folder = folder(&place);
    let server = Server::start(&folder.join("one"), free_port(), "combined").await;
    until("the local agent to be connected", || async {
        let listed = server.argosy(&["agent", "list", "-o", "json"]).await;
        let agents: Value = serde_json::from_str(&listed).unwrap();
        (agents[0]["connected"] == true).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_is_all_the_trust_that_tls_needs() {
    on_sqlite(a_pin_is_all_that_is_needed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_identity_is_refused_in_tls() {
    on_sqlite(another_identity_is_refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_is_followed_in_tls() {
    on_sqlite(a_successor_is_followed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn combined_mode_certifies_itself() {
    on_sqlite(the_local_agent_needs_no_more_than_its_token).await;
}
