//! Attack 16: an agent governs nothing, and speaks for nobody but itself.

use argosy_domain::id::OrgId;
use argosy_e2e::{agent::TestAgent, database::Place, http::Answer, on_both, server::TestServer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::callers::{approved_keyless, keyless};

const HEARTBEAT: &str = "/api/v1/agents/heartbeat";
const INGEST: &str = "/api/v1/discovery/ingest";

/// An agent of either assurance, with what it shows.
enum Calling {
    Keyless(Box<TestAgent>),
    InSession(Box<TestAgent>),
}

impl Calling {
    async fn both(server: &TestServer) -> [Self; 2] {
        let keyless = approved_keyless(server, "keyless").await;
        let keyed = TestAgent::in_session(server, "keyed").await;
        [Self::Keyless(Box::new(keyless)), Self::InSession(Box::new(keyed))]
    }

    fn id(&self) -> &str {
        match self {
            Self::Keyless(agent) => &agent.agent_id,
            Self::InSession(agent) => &agent.agent_id,
        }
    }

    async fn call(
        &mut self,
        server: &TestServer,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        match self {
            Self::Keyless(agent) => {
                let bearer = format!("Bearer {}", agent.api_key);
                server.client.send(method, path, &[("authorization", &bearer)], body).await
            }
            Self::InSession(agent) => {
                // A proof is about the path without its query (RFC 9449, section 4.2).
                let about = path.split('?').next().unwrap();
                let proof = agent.proof(server, method.as_str(), about);
                agent.call_with(server, method, path, body, &proof).await
            }
        }
    }

    async fn post(&mut self, server: &TestServer, path: &str, body: Value) -> Answer {
        self.call(server, Method::POST, path, Some(&body)).await
    }
}

/// What calls could have changed.
async fn everything(server: &TestServer) -> Value {
    let mut all = json!({});
    let lists =
        ["agents", "auth/keys", "bootstrap-tokens", "commands", "discovery/resources", "audit"];
    for list in lists {
        let path = format!("/api/v1/{list}?limit=500");
        all[list] = server.client.get(&path, &server.admin_key).await.expect(200);
    }
    all
}

/// What an agent might try with its own credentials, about an agent.
fn attempts(id: &str) -> Vec<(Method, String, Option<Value>)> {
    let agent = |tail: &str| format!("/api/v1/agents/{id}{tail}");
    let run = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
    vec![
        (Method::GET, agent(""), None),
        (Method::GET, agent("/inventory"), None),
        (Method::GET, agent("/inventory/system"), None),
        (Method::GET, format!("/api/v1/commands?agent_id={id}"), None),
        (Method::GET, format!("/api/v1/audit?target=agent:{id}"), None),
        (Method::PATCH, agent(""), Some(json!({ "name": "mine", "labels": {} }))),
        (Method::POST, agent("/approve"), Some(json!({}))),
        (Method::POST, agent("/restore"), Some(json!({}))),
        (Method::POST, agent("/rebind"), Some(json!({}))),
        (Method::POST, agent("/replace"), Some(json!({ "agent_id": id }))),
        (Method::POST, agent("/reject"), Some(json!({}))),
        (Method::POST, agent("/revoke"), Some(json!({}))),
        (Method::POST, agent("/quarantine"), Some(json!({}))),
        (Method::POST, agent("/commands"), Some(run)),
        (Method::DELETE, agent(""), None),
    ]
}

async fn an_agents_credentials_govern_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let victim = TestAgent::admitted(&server, "victim").await;
    let waiting = keyless(&server, "waiting").await;
    let both = Calling::both(&server).await;
    everything(&server).await;
    let before = everything(&server).await;
    for mut caller in both {
        let own = caller.id().to_owned();
        let mint_key = json!({ "name": "k", "scopes": ["agents:read"] });
        for (path, body) in [
            ("/api/v1/auth/keys", mint_key.clone()),
            ("/api/v1/bootstrap-tokens", json!({ "name": "t", "auto_approve": true })),
            ("/api/v1/discovery/bootstrap-tokens", json!({ "name": "t" })),
        ] {
            caller.post(&server, path, body).await.refused(403, "forbidden");
        }
        for list in ["agents", "auth/keys", "bootstrap-tokens", "discovery/resources", "status"] {
            let path = format!("/api/v1/{list}");
            let answer = caller.call(&server, Method::GET, &path, None).await;
            answer.refused(403, "forbidden");
        }
        // Itself, others, whoever waits, and nobody: one and the same answer.
        for id in [own.as_str(), &victim.agent_id, &waiting.agent_id, "nobody"] {
            for (method, path, body) in attempts(id) {
                let answer = caller.call(&server, method, &path, body.as_ref()).await;
                answer.refused(403, "forbidden");
            }
        }
    }
    assert_eq!(everything(&server).await, before);
}

async fn whoever_waits_cannot_let_itself_in(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = keyless(&server, "waiting").await;
    for (method, path, body) in attempts(&agent.agent_id) {
        let bearer = format!("Bearer {}", agent.api_key);
        let headers = [("authorization", bearer.as_str())];
        let answer = server.client.send(method, &path, &headers, body.as_ref()).await;
        answer.refused(403, "not_approved");
    }
    assert_eq!(server.agent(&agent.agent_id).await["status"], "pending");
}

async fn an_agent_speaks_for_nobody_else(place: Place) {
    let server = TestServer::start(&place).await;
    let victim = TestAgent::admitted(&server, "victim").await;
    let foreign = another_account(&server).await;
    for mut caller in Calling::both(&server).await {
        let own = caller.id().to_owned();
        let name = server.agent(&own).await["name"].clone();
        let others = json!({ "agent_id": victim.agent_id });
        caller.post(&server, HEARTBEAT, others.clone()).await.refused(403, "forbidden");
        caller.post(&server, INGEST, others).await.refused(403, "forbidden");
        for account in [foreign, 987_654_321, -1] {
            let body = json!({ "account_id": account, "resources": [] });
            caller.post(&server, INGEST, body).await.refused(403, "forbidden");
        }
        // A heartbeat names what it likes; account, name and state follow from the credential.
        let body = json!({
            "agent_id": own, "account_id": foreign, "name": "victim", "status": "approved",
        });
        let answer = caller.post(&server, HEARTBEAT, body).await.expect(200);
        assert_eq!(answer["account_id"], 1);
        let shown = server.agent(&own).await;
        assert_eq!((&shown["name"], &shown["account_id"]), (&name, &json!(1)));
    }
    assert_eq!(server.agent(&victim.agent_id).await["last_seen_at"], Value::Null);
}

/// A second account of the same organisation.
async fn another_account(server: &TestServer) -> i64 {
    use argosy_domain::time::Clock as _;
    let (store, org) = (server.store().await, OrgId::default_org());
    let mut tx = store.write("test").await.unwrap();
    let now = server.clock.now();
    let account = tx.accounts().create(&org, "second", None, None, &[], now).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    account.id.0
}

/// What stands inside a resource is data, and decides nothing.
async fn a_resource_names_no_owner(place: Place) {
    let server = TestServer::start(&place).await;
    let victim = TestAgent::admitted(&server, "victim").await;
    let foreign = another_account(&server).await;
    let seen =
        json!({ "provider": "aws", "region": "r", "resource_type": "vpc", "resource_id": "v" });
    let run = json!({ "account_id": foreign, "resources": [seen] });
    server.client.post(INGEST, &server.admin_key, &run).await.expect(200);
    let theirs = resources(&server, foreign).await;
    for mut caller in Calling::both(&server).await {
        let mut claim = seen.clone();
        let claims = json!({
            "id": theirs[0]["id"], "account_id": foreign, "org_id": "other", "status": "stale",
            "agent_id": victim.agent_id, "discovered_at": "2001-01-01T00:00:00Z",
            "metadata": { "account_id": foreign, "status": "deleted", "id": theirs[0]["id"] },
        });
        claim.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let counts =
            caller.post(&server, INGEST, json!({ "resources": [claim] })).await.expect(200);
        assert_eq!(counts["resources_found"], 1);
        let own = resources(&server, 1).await;
        assert_eq!(own.len(), 1);
        assert_ne!(own[0]["id"], theirs[0]["id"]);
        assert_eq!((&own[0]["status"], &own[0]["account_id"]), (&json!("active"), &json!(1)));
        assert_eq!(own[0]["discovered_at"], theirs[0]["discovered_at"]);
        // Nor does an empty or another region of one's own touch what is theirs.
        let elsewhere = json!({ "resources": [{ "provider": "aws", "region": "r",
            "resource_type": "vpc", "resource_id": "another" }] });
        caller.post(&server, INGEST, elsewhere).await.expect(200);
        assert_eq!(resources(&server, foreign).await, theirs);
    }
    assert_eq!(server.agent(&victim.agent_id).await["connected"], false);
}

async fn resources(server: &TestServer, account: i64) -> Vec<Value> {
    let path = format!("/api/v1/discovery/resources?account_id={account}&resource_type=vpc&q=v");
    let page = server.client.get(&path, &server.admin_key).await.expect(200);
    let items = page["items"].as_array().unwrap().iter();
    items.filter(|item| item["resource_id"] == "v").cloned().collect()
}

on_both!(
    an_agents_credentials_govern_nothing,
    whoever_waits_cannot_let_itself_in,
    an_agent_speaks_for_nobody_else,
    a_resource_names_no_owner,
);
