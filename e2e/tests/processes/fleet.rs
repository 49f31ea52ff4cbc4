//! A server process and what a test does with it.

use std::path::{Path, PathBuf};

use argosy_e2e::{
    database::Place,
    http::Client,
    process::{Process, free_port, ready, until},
    proxy::Proxy,
};
use serde_json::{Value, json};

/// Variables of a process beside the usual ones.
type Variables = &'static [(&'static str, &'static str)];

/// Which build of a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// This one.
    Here,
    /// That of the release before.
    Previous,
}

impl Build {
    const fn server(self) -> &'static str {
        match self {
            Self::Here => "argosyd",
            Self::Previous => "previous/argosyd",
        }
    }

    const fn agent(self) -> &'static str {
        match self {
            Self::Here => "argosy-agent",
            Self::Previous => "previous/argosy-agent",
        }
    }
}

/// `argosyd` as a process that can be killed and started again on the same state and port.
pub(crate) struct Fleet {
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) folder: PathBuf,
    mode: &'static str,
    host: &'static str,
    port: u16,
    place: Place,
    variables: Variables,
    public_url: Option<String>,
    build: Build,
    server: Option<Process>,
}

impl Fleet {
    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(place: &Place, mode: &'static str) -> Self {
        Self::start_with(place, mode, &[]).await
    }

    /// The same with variables.
    pub(crate) async fn start_with(
        place: &Place,
        mode: &'static str,
        variables: Variables,
    ) -> Self {
        let mut fleet = Self { variables, ..Self::prepare(place, mode) };
        fleet.start_server().await;
        fleet
    }

    /// The same without a server yet.
    pub(crate) fn prepare(place: &Place, mode: &'static str) -> Self {
        Self::prepare_at("127.0.0.1", place, mode)
    }

    /// The same, which will listen on another address than loopback.
    pub(crate) fn prepare_at(host: &'static str, place: &Place, mode: &'static str) -> Self {
        let port = free_port();
        let url = format!("http://{host}:{port}");
        let folder = place.data_dir.parent().unwrap().to_owned();
        let client = Client::new(&url);
        let place = place.clone();
        Self {
            url,
            client,
            folder,
            mode,
            host,
            port,
            place,
            variables: &[],
            public_url: None,
            build: Build::Here,
            server: None,
        }
    }

    /// A running server and the proxy through which its agents find it.
    pub(crate) async fn behind_a_proxy(place: &Place) -> (Self, Proxy) {
        let mut fleet = Self::prepare(place, "server");
        let server = fleet.url.trim_start_matches("http://").parse().unwrap();
        let proxy = Proxy::start(vec![server]).await;
        fleet.public_url(&format!("http://{}", proxy.address));
        fleet.start_server().await;
        (fleet, proxy)
    }

    /// Which build of the server is started from now on.
    pub(crate) fn of(mut self, build: Build) -> Self {
        self.build = build;
        self
    }

    /// Where agents find the server, when it is not where it listens.
    pub(crate) fn public_url(&mut self, url: &str) {
        self.public_url = Some(url.to_owned());
    }

    /// Starts the server process (again).
    pub(crate) async fn start_server(&mut self) {
        self.spawn_server(None);
        ready(&self.url).await;
    }

    /// Starts the server process with a failpoint at which it dies, once somebody comes there.
    pub(crate) async fn server_with_failpoint(&mut self, at: &str) {
        if self.server.is_some() {
            self.kill_server().await;
        }
        self.spawn_server(Some(at));
        ready(&self.url).await;
    }

    /// Waits until the server has died of its failpoint, and starts it again without one.
    pub(crate) async fn server_again(&mut self) {
        self.server_ended().await;
        self.start_server().await;
    }

    /// Waits until the server has died.
    pub(crate) async fn server_ended(&mut self) {
        assert_eq!(self.server.take().unwrap().ended().await, None, "it was to be aborted");
    }

    /// Starts the server process and does not wait.
    pub(crate) fn spawn_server(&mut self, failpoint: Option<&str>) {
        let listen = format!("{}:{}", self.host, self.port);
        let data_dir = self.place.data_dir.to_str().unwrap();
        let arguments = ["--mode", self.mode, "--listen", &listen, "--data-dir", data_dir];
        let policy = self.folder.join("policy.toml");
        let mut variables = vec![("ARGOSY_POLICY_FILE", policy.to_str().unwrap())];
        variables.extend(self.variables);
        variables.extend(self.public_url.as_deref().map(|url| ("ARGOSY_PUBLIC_URL", url)));
        variables.extend(failpoint.map(|at| ("ARGOSY_FAILPOINT", at)));
        if let Some(url) = &self.place.database_url {
            variables.push(("ARGOSY_DATABASE_URL", url));
        }
        let log = self.folder.join("server.log");
        self.server = Some(Process::start(self.build.server(), &arguments, &variables, &log));
    }

    /// `kill -9` of the server process.
    pub(crate) async fn kill_server(&mut self) {
        self.server.take().unwrap().kill().await;
    }

    /// Asks the server process to end, and waits until it has done what was left to do.
    pub(crate) async fn stop_server(&mut self) {
        assert_eq!(self.server.take().unwrap().stop().await, Some(0));
    }

    /// The server's process id.
    pub(crate) fn server_id(&self) -> u32 {
        self.server.as_ref().and_then(Process::id).unwrap()
    }

    /// The administrator's key.
    pub(crate) fn admin_key(&self) -> String {
        let path = self.place.data_dir.join("admin.key");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// `GET` as the administrator.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.client.get(path, &self.admin_key()).await.expect(200)
    }

    /// `POST` as the administrator.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(path, &self.admin_key(), body).await;
        assert!([200, 201, 202].contains(&answer.status), "{answer:?}");
        answer.body
    }

    /// `POST` as the administrator, which is refused.
    pub(crate) async fn refused(&self, path: &str, body: &Value, status: u16) {
        let answer = self.client.post(path, &self.admin_key(), body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }

    /// `PATCH` as the administrator.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Value {
        let bearer = format!("Bearer {}", self.admin_key());
        let headers = [("authorization", bearer.as_str())];
        self.client.send(reqwest::Method::PATCH, path, &headers, Some(body)).await.expect(200)
    }

    /// A token; fields that are not given are the defaults.
    pub(crate) async fn token(&self, fields: Value) -> String {
        let mut body = json!({ "name": "test", "require_proof": true });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = self.client.post("/api/v1/bootstrap-tokens", &self.admin_key(), &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.text("token")
    }

    /// A server with one agent, which is connected; its id too.
    pub(crate) async fn with_agent(place: &Place) -> (Self, AgentProcess, String) {
        let fleet = Self::start(place, "server").await;
        let token = fleet.token(json!({ "auto_approve": true })).await;
        let agent = AgentProcess::start(&fleet, &token);
        let id = fleet.connected().await;
        (fleet, agent, id)
    }

    /// Waits until the server answers out of its database (again).
    pub(crate) async fn sees_its_database(&self) {
        until("the server to have its database back", || async {
            let answer = self.client.get("/api/v1/agents", &self.admin_key()).await;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// The id of the one agent, once it is connected.
    pub(crate) async fn connected(&self) -> String {
        let shown = self.agent("the agent to be connected", |a| a["connected"] == true).await;
        shown["agent_id"].as_str().unwrap().to_owned()
    }

    /// The one agent that satisfies a condition, once there is one.
    pub(crate) async fn agent(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(what, || async {
            let page = self.get("/api/v1/agents").await;
            page["items"].as_array().unwrap().iter().find(|agent| fits(agent)).cloned()
        })
        .await
    }
}

/// `argosy-agent` as a process.
pub(crate) struct AgentProcess {
    state_dir: PathBuf,
    folder: PathBuf,
    url: String,
    token: String,
    name: String,
    variables: Variables,
    /// Another program that it is started by.
    prefix: Vec<String>,
    build: Build,
    process: Option<Process>,
}

impl AgentProcess {
    /// Starts an agent that enrols by itself with a token.
    pub(crate) fn start(fleet: &Fleet, token: &str) -> Self {
        Self::start_with(fleet, token, &[])
    }

    /// The same with variables.
    pub(crate) fn start_with(fleet: &Fleet, token: &str, variables: Variables) -> Self {
        let mut agent = Self { variables, ..Self::prepare(fleet, "crash-test", "agent", token) };
        agent.start_again();
        agent
    }

    /// The same, of some build.
    pub(crate) fn start_of(fleet: &Fleet, token: &str, build: Build) -> Self {
        let mut agent = Self { build, ..Self::prepare(fleet, "crash-test", "agent", token) };
        agent.start_again();
        agent
    }

    /// The same, by way of a proxy.
    pub(crate) fn through(fleet: &Fleet, proxy: &Proxy, token: &str) -> Self {
        let url = format!("http://{}", proxy.address);
        let mut agent = Self { url, ..Self::prepare(fleet, "far-away", "agent", token) };
        agent.start_again();
        agent
    }

    /// The same, by way of another program and in plain text.
    pub(crate) fn start_by(fleet: &Fleet, prefix: Vec<String>, token: &str) -> Self {
        let variables: Variables = &[("ARGOSY_ALLOW_INSECURE_TRANSPORT", "true")];
        let mut agent =
            Self { prefix, variables, ..Self::prepare(fleet, "far-away", "agent", token) };
        agent.start_again();
        agent
    }

    /// One of several: with a name and a state directory of its own, and perhaps a failpoint at which
    /// it dies.
    pub(crate) fn named(fleet: &Fleet, name: &str, token: &str, failpoint: Option<&str>) -> Self {
        let mut agent = Self::prepare(fleet, name, name, token);
        agent.spawn(failpoint);
        agent
    }

    /// One of several, with variables.
    pub(crate) fn named_with(fleet: &Fleet, name: &str, token: &str, variables: Variables) -> Self {
        let mut agent = Self { variables, ..Self::prepare(fleet, name, name, token) };
        agent.start_again();
        agent
    }

    fn prepare(fleet: &Fleet, name: &str, state_dir: &str, token: &str) -> Self {
        Self {
            state_dir: fleet.folder.join(state_dir),
            folder: fleet.folder.clone(),
            url: fleet.url.clone(),
            token: token.to_owned(),
            name: name.to_owned(),
            variables: &[],
            prefix: Vec::new(),
            build: Build::Here,
            process: None,
        }
    }

    /// Another build takes over on the same state.
    pub(crate) fn start_again_as(&mut self, build: Build) {
        self.build = build;
        self.start_again();
    }

    /// Where it keeps its state.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Its process id.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.as_ref().and_then(Process::id).unwrap()
    }

    /// Waits until it keeps the server's answer to its registration.
    pub(crate) async fn registered(&self) {
        let file = self.state_dir.join("credentials.json");
        until("the agent to keep its registration", || async {
            std::fs::read_to_string(&file).ok()?.contains("\"registered\"").then_some(())
        })
        .await;
    }

    /// Leaves word in the state directory, as `argosy-agent rotate-key` does for an agent that runs.
    pub(crate) fn ask_for_new_key(&self) {
        argosy_agent::key_rotation::ask(&self.state_dir).unwrap();
    }

    /// Waits until it has died of its failpoint.
    pub(crate) async fn ended(&mut self) {
        assert_eq!(self.process.take().unwrap().ended().await, None, "it was to be aborted");
    }

    /// Waits until it has ended by itself, and answers its exit code.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        self.process.take().unwrap().ended().await
    }

    /// Starts the process (again) on the same state.
    pub(crate) fn start_again(&mut self) {
        self.spawn(None);
    }

    /// The same with a failpoint.
    pub(crate) fn start_with_failpoint(&mut self, at: &str) {
        self.spawn(Some(at));
    }

    fn spawn(&mut self, failpoint: Option<&str>) {
        let policy = self.folder.join("policy.toml");
        let mut variables = vec![
            ("ARGOSY_SERVER_URL", self.url.as_str()),
            ("ARGOSY_STATE_DIR", self.state_dir.to_str().unwrap()),
            ("ARGOSY_BOOTSTRAP_TOKEN", self.token.as_str()),
            ("ARGOSY_AGENT_NAME", self.name.as_str()),
            ("ARGOSY_POLICY_FILE", policy.to_str().unwrap()),
        ];
        variables.extend(self.variables);
        variables.extend(failpoint.map(|at| ("ARGOSY_FAILPOINT", at)));
        let log: &Path = &self.folder.join("agent.log");
        let (prefix, program) = (&self.prefix, self.build.agent());
        self.process = Some(Process::start_by(prefix, program, &["run"], &variables, log));
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.process.take().unwrap().kill().await;
    }

    /// What `argosy-agent status` says.
    pub(crate) async fn status(&self) -> Value {
        let arguments = ["status", "--json", "--state-dir", self.state_dir.to_str().unwrap()];
        let text = argosy_e2e::process::run("argosy-agent", &arguments, &[]).await;
        serde_json::from_str(&text).unwrap()
    }
}
