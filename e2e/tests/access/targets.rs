//! What calls are about: one thing of each noun, made again once a call has used it up.

use std::collections::BTreeMap;

use argosy_domain::{
    command::{CommandResult, End, Outcome},
    id::OrgId,
    subsystem::Subsystem,
    time::Clock as _,
};
use argosy_e2e::{agent::TestAgent, server::TestServer, user::TestUser};
use argosy_store::{InventoryRow, ReportedPackage, Store};
use serde_json::json;

use crate::callers::key_with;

/// A thing that a path can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Noun {
    Account,
    Agent,
    Approval,
    Command,
    FanOut,
    Key,
    Organisation,
    Resource,
    Session,
    Token,
    Sync,
    User,
}

impl Noun {
    /// Every noun.
    pub(crate) const ALL: [Self; 12] = [
        Self::Account,
        Self::Agent,
        Self::Approval,
        Self::Command,
        Self::FanOut,
        Self::Key,
        Self::Organisation,
        Self::Resource,
        Self::Session,
        Self::Sync,
        Self::Token,
        Self::User,
    ];

    /// What the `{id}` of a path names.
    pub(crate) fn of(template: &str) -> Option<Self> {
        let owner = template.split("/{id}").next().filter(|owner| *owner != template)?;
        let owner = owner.trim_start_matches("/api/v1").trim_start_matches("/console");
        Some(match owner.trim_start_matches("/discovery") {
            "/accounts" => Self::Account,
            "/agents" => Self::Agent,
            "/auth/keys" | "/keys" => Self::Key,
            "/auth/sessions" | "/sessions" => Self::Session,
            "/bootstrap-tokens" | "/tokens" => Self::Token,
            "/commands" => Self::Command,
            "/organisations" => Self::Organisation,
            "/fan-outs" => Self::FanOut,
            "/updates/approvals" | "/packages/approvals" => Self::Approval,
            "/resources" => Self::Resource,
            "/sync" => Self::Sync,
            "/users" => Self::User,
            other => panic!("teach the tests to make a thing of {other}"),
        })
    }
}

/// One thing of each noun, of organisation `default`.
pub(crate) struct Targets {
    store: Store,
    token: String,
    made: u32,
    ids: BTreeMap<Noun, String>,
}

impl Targets {
    pub(crate) async fn new(server: &TestServer) -> Self {
        let token = server.token(json!({ "max_uses": 10_000 })).await;
        Self { store: server.store().await, token, made: 0, ids: BTreeMap::new() }
    }

    /// A token that enrols thousands.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A name that nothing has.
    pub(crate) fn fresh_name(&mut self) -> String {
        self.made += 1;
        format!("target-{}", self.made)
    }

    /// The id of a thing.
    pub(crate) async fn id(&mut self, server: &TestServer, noun: Noun) -> String {
        if let Some(id) = self.ids.get(&noun) {
            return id.clone();
        }
        let id = match noun {
            Noun::Account => {
                let body = json!({ "name": self.fresh_name() });
                let made = server.client.post("/api/v1/accounts", &server.admin_key, &body).await;
                made.expect(201)["id"].to_string()
            }
            Noun::Agent => self.agent(server).await.agent_id,
            Noun::Approval => self.approval(server).await,
            Noun::Command => self.command(server).await,
            Noun::FanOut => {
                self.agent(server).await;
                let order = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" },
                    "selector": { "all": true }, "concurrency": 1 });
                server.client.post("/api/v1/commands", &server.admin_key, &order).await.text("id")
            }
            Noun::Key => {
                let key = key_with(server, &["agents:read"]).await;
                key.split('_').nth(1).unwrap().to_owned()
            }
            Noun::Organisation => OrgId::default_org().to_string(),
            Noun::Resource => resource(server).await,
            Noun::Session => {
                let name = self.fresh_name();
                TestUser::make(server, &name, "viewer").await.session_id().to_owned()
            }
            Noun::Sync => {
                let path = "/api/v1/discovery/sync";
                let asked = server.client.post(path, &server.admin_key, &json!({})).await;
                asked.expect(202)["items"][0]["id"].as_str().unwrap().to_owned()
            }
            Noun::User => {
                let body = json!({ "name": self.fresh_name(), "role": "viewer" });
                server.client.post("/api/v1/users", &server.admin_key, &body).await.text("id")
            }
            Noun::Token => server.create_token(json!({})).await.text("id"),
        };
        self.ids.insert(noun, id.clone());
        id
    }

    /// A call has succeeded and may have used the thing up.
    pub(crate) fn spend(&mut self, noun: Noun) {
        self.ids.remove(&noun);
    }

    /// The path of a template. Agents name themselves.
    pub(crate) async fn path(
        &mut self,
        server: &TestServer,
        template: &str,
        own: Option<&str>,
    ) -> String {
        let Some(noun) = Noun::of(template) else { return template.to_owned() };
        let id = match own.filter(|_| [Noun::Agent, Noun::Session].contains(&noun)) {
            Some(own) => own.to_owned(),
            None => self.id(server, noun).await,
        };
        filled(template, &id)
    }

    /// An approved agent whose inventory is known.
    async fn agent(&mut self, server: &TestServer) -> TestAgent {
        let mut agent = TestAgent::new(&self.fresh_name());
        agent.register(server, &self.token).await.expect(201);
        server.decide(&agent.agent_id, "approve", json!({})).await.expect(200);
        let now = server.clock.now();
        let row = InventoryRow {
            org: OrgId::default_org(),
            agent: agent.id(),
            subsystem: Subsystem::System,
            report: b"{}".to_vec(),
            captured_at: now,
            received_at: now,
            command: None,
            duration_ms: 1,
        };
        let mut tx = self.store.write("test").await.unwrap();
        tx.inventory().put(&row).await.unwrap();
        tx.commit().await.unwrap();
        agent
    }

    /// A command that is over and has a receipt.
    /// An approval of a package that some agent has pending.
    async fn approval(&mut self, server: &TestServer) -> String {
        let agent = self.agent(server).await;
        let package = ReportedPackage {
            name: "bash".parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            installed: "5.1".parse().unwrap(),
            available: "5.2".parse().unwrap(),
            security: false,
            repository: "stable".to_owned(),
        };
        let mut tx = self.store.write("test").await.unwrap();
        let (org, pending) = (OrgId::default_org(), [package]);
        tx.pending_packages().replace(&org, &agent.id(), &pending).await.unwrap();
        tx.commit().await.unwrap();
        let body = json!({ "selector": { "all": true }, "packages": [{ "name": "bash" }] });
        server.client.post("/api/v1/updates/approve", &server.admin_key, &body).await.text("id")
    }

    async fn command(&mut self, server: &TestServer) -> String {
        let agent = self.agent(server).await;
        let path = format!("/api/v1/agents/{}/commands", agent.agent_id);
        let body = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
        let answer = server.client.post(&path, &server.admin_key, &body).await;
        let id = answer.text("id");
        let end = End { outcome: Outcome::Succeeded, at: server.clock.now(), detail: None };
        let result = CommandResult {
            payload: b"{}".to_vec(),
            receipt: Some(b"{}".to_vec()),
            receipt_signature: Some(vec![0; 64]),
        };
        let mut tx = self.store.write("test").await.unwrap();
        let ended = (&id.parse().unwrap(), &end, &result, "queued");
        assert_eq!(tx.commands().save_ends(&[ended]).await.unwrap().len(), 1);
        tx.commit().await.unwrap();
        id
    }
}

/// A template with its parameters.
pub(crate) fn filled(template: &str, id: &str) -> String {
    let path = template.replace("{id}", id).replace("{subsystem}", "system");
    assert!(!path.contains('{'), "teach the tests what {template} names");
    path
}

async fn resource(server: &TestServer) -> String {
    let seen = json!({ "provider": "aws", "resource_type": "vpc", "resource_id": "vpc-1" });
    let run = json!({ "resources": [seen] });
    let ingest = server.client.post("/api/v1/discovery/ingest", &server.admin_key, &run).await;
    ingest.expect(200);
    let list = server.client.get("/api/v1/discovery/resources", &server.admin_key).await;
    list.expect(200)["items"][0]["id"].as_str().unwrap().to_owned()
}
