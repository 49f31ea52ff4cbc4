//! A server of the test's own: the real one, in this process, on a port of its own, with a clock
//! that the test moves.

use std::{net::SocketAddr, num::NonZeroU32, sync::Arc};

use argosy_config::host::OsEntropy;
use argosy_domain::id::OrgId;
use argosy_server::{
    app::App,
    config::{Mode, Settings},
    start::{Server, target},
};
use argosy_store::{Options, Store};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::ManualClock,
    database::Place,
    http::{Answer, Client},
};

/// The id of [`OtherOrganisation`].
pub const OTHER: &str = "other";

/// A running server.
pub struct TestServer {
    /// `http://127.0.0.1:<port>`, which is also its public URL.
    pub url: String,
    /// The administrator's key.
    pub admin_key: String,
    /// Talks to it.
    pub client: Client,
    /// Its clock.
    pub clock: ManualClock,
    /// Its use cases, for looking at counters.
    pub app: App,
    settings: Settings,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
}

/// Settings of a test's server: SQLite or PostgreSQL, a free port, many failures allowed.
pub fn settings(place: &Place) -> Settings {
    Settings {
        mode: Mode::Server,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: place.data_dir.clone(),
        database_url: place.database_url.clone(),
        failures_per_minute: NonZeroU32::new(100_000).unwrap(),
        ..Settings::default()
    }
}

impl TestServer {
    /// Starts with the usual settings of a test.
    pub async fn start(place: &Place) -> Self {
        Self::start_with(settings(place), ManualClock::default()).await
    }

    /// Starts with settings and clock of the test's choice.
    pub async fn start_with(settings: Settings, clock: ManualClock) -> Self {
        let parts = (Arc::new(clock.clone()), Arc::new(OsEntropy));
        let server = Server::start_with(&settings, parts.0, parts.1).await.unwrap();
        let url = format!("http://127.0.0.1:{}", server.address().port());
        let admin_key = std::fs::read_to_string(server.admin_key()).unwrap().trim().to_owned();
        let (shutdown, app) = (CancellationToken::new(), server.app().clone());
        let running = tokio::spawn(server.run(shutdown.clone()));
        let client = Client::new(&url);
        let running = Some(running);
        Self { url, admin_key, client, clock, app, settings, shutdown, running }
    }

    /// Another server on the same PostgreSQL, with the same master key and the same clock.
    pub async fn second(&self) -> Self {
        self.second_with(|_| {}).await
    }

    /// The same with other settings.
    pub async fn second_with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let data_dir = self.settings.data_dir.with_file_name("second");
        std::fs::create_dir_all(&data_dir).unwrap();
        let own = self.settings.data_dir.join("admin.key");
        std::fs::copy(own, data_dir.join("admin.key")).unwrap();
        let master_key_file = Some(self.settings.master_key());
        let mut settings = Settings { data_dir, master_key_file, ..self.settings.clone() };
        change(&mut settings);
        Self::start_with(settings, self.clock.clone()).await
    }

    /// Begins to shut down.
    pub fn leave(&self) {
        self.shutdown.cancel();
    }

    /// Stops it and starts it again on the same state and the same port.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same with other settings.
    pub async fn restart_with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
        let port = self.url.rsplit(':').next().unwrap().parse().unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], port));
        let mut settings = Settings { listen, ..self.settings.clone() };
        change(&mut settings);
        Self::start_with(settings, self.clock.clone()).await
    }

    /// The store behind it, for what no interface makes yet.
    pub async fn store(&self) -> Store {
        Store::open(target(&self.settings), Options::default()).await.unwrap()
    }

    /// Mints a token; fields that are not given are the defaults.
    pub async fn create_token(&self, fields: Value) -> Answer {
        let mut body = json!({ "name": "test" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.client.post("/api/v1/bootstrap-tokens", &self.admin_key, &body).await
    }

    /// Mints a token and gives its text.
    pub async fn token(&self, fields: Value) -> String {
        let answer = self.create_token(fields).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.text("token")
    }

    /// An agent as the API shows it.
    pub async fn agent(&self, id: &str) -> Value {
        self.client.get(&format!("/api/v1/agents/{id}"), &self.admin_key).await.expect(200)
    }

    /// Decides about an agent: `approve`, `reject`, `revoke`, `quarantine`, `restore`.
    pub async fn decide(&self, id: &str, decision: &str, body: Value) -> Answer {
        let path = format!("/api/v1/agents/{id}/{decision}");
        self.client.post(&path, &self.admin_key, &body).await
    }

    /// Every agent.
    pub async fn agents(&self) -> Vec<Value> {
        let page = self.client.get("/api/v1/agents?limit=500", &self.admin_key).await.expect(200);
        page["items"].as_array().unwrap().clone()
    }

    /// Shuts [`OtherOrganisation`] out, or lets it in again.
    pub async fn shut_out(&self, disabled: bool) -> Answer {
        let path = format!("/api/v1/organisations/{OTHER}");
        let bearer = format!("Bearer {}", self.admin_key);
        let headers = [("authorization", bearer.as_str())];
        let body = json!({ "disabled": disabled });
        self.client.send(Method::PATCH, &path, &headers, Some(&body)).await
    }

    /// Audit entries of one action, newest first.
    pub async fn audit(&self, action: &str) -> Vec<Value> {
        let path = format!("/api/v1/audit?limit=500&action={action}");
        let page = self.client.get(&path, &self.admin_key).await.expect(200);
        page["items"].as_array().unwrap().clone()
    }

    /// A second organisation with an account and an administrator's key, made through the store.
    pub async fn other_organisation(&self) -> OtherOrganisation {
        use argosy_domain::{
            access::Role, digest::Sha256, entropy::random_bytes, time::Clock as _,
        };
        use argosy_wire::token::{ApiKeyOf, ApiKeyString, Secret32};
        let (store, now) = (self.store().await, self.clock.now());
        let org: OrgId = OTHER.parse().unwrap();
        let secret = ApiKeyString {
            of: ApiKeyOf::Operator,
            id: "other-admin".parse().unwrap(),
            secret: Secret32::new(random_bytes(&OsEntropy)),
        };
        let mut tx = store.write("test").await.unwrap();
        tx.orgs().create(&org, "Other", now).await.unwrap();
        let account = tx.accounts().create(&org, "main", None, None, &[], now).await.unwrap();
        let key = argosy_store::NewApiKey {
            id: secret.id.clone(),
            org: org.clone(),
            agent: None,
            owner: "user:other".to_owned(),
            name: "other".to_owned(),
            scopes: Role::Admin.scopes(),
            secret_sha256: Sha256::of(secret.secret.expose()),
            created_at: now,
            expires_at: None,
        };
        tx.api_keys().insert(&key).unwrap();
        tx.commit().await.unwrap();
        store.close().await;
        OtherOrganisation { account_id: account.id.0, admin_key: secret.reveal() }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A tenant that is not `default`.
#[derive(Debug, Clone)]
pub struct OtherOrganisation {
    /// Its account.
    pub account_id: i64,
    /// Its administrator's key.
    pub admin_key: String,
}
