//! A small fleet with one thing of each kind, so that no page is empty.

use std::time::Duration;

use argosy_domain::{
    command::{CommandResult, End, Outcome},
    id::OrgId,
    subsystem::Subsystem,
    time::Clock as _,
};
use argosy_e2e::{agent::TestAgent, database::Place, server::TestServer, user::TestUser};
use argosy_store::InventoryRow;
use serde_json::json;

/// A report as an agent makes it.
pub(crate) const SYSTEM: &str = r#"{"subsystem":"system","hostname":"web-1","os":{"name":"Debian GNU/Linux",
"version":"12","arch":"x86_64"},"kernel":"6.1.0","uptime_s":90000,"cpu":{"model":"A processor",
"cores":2,"usage_percent":12.5},"memory":{"total_bytes":8589934592,"used_bytes":4294967296,
"available_bytes":4294967296,"swap_total_bytes":0,"swap_used_bytes":0},"load":{"load_1m":0.1,
"load_5m":0.2,"load_15m":0.3},"processes":{"count":99,"top_by_memory":[{"name":"postgres","pid":7,
"memory_bytes":104857600,"cpu_usage_percent":1.5}]},"reboot_required":true,"reboot_packages":[]}"#;

/// A server with one thing of each kind, and somebody of each role.
pub(crate) struct World {
    pub(crate) server: TestServer,
    pub(crate) admin: TestUser,
    pub(crate) viewer: TestUser,
    /// Approved, with inventory and a command that is over.
    pub(crate) agent: TestAgent,
    /// Waits for approval.
    pub(crate) pending: TestAgent,
    pub(crate) command: String,
}

impl World {
    pub(crate) async fn start(place: &Place) -> Self {
        let server = TestServer::start(place).await;
        let admin = TestUser::make(&server, "ada", "admin").await;
        let viewer = TestUser::make(&server, "vera", "viewer").await;
        let agent = TestAgent::admitted(&server, "web-1").await;
        // Of two that registered in one moment either may be the newer one.
        server.clock.advance(Duration::from_secs(1));
        let mut pending = TestAgent::new("web-2");
        let token = server.token(json!({ "name": "desks" })).await;
        pending.register(&server, &token).await.expect(201);
        let command = Self::command(&server, &agent).await;
        Self { server, admin, viewer, agent, pending, command }
    }

    async fn command(server: &TestServer, agent: &TestAgent) -> String {
        let path = format!("/api/v1/agents/{}/commands", agent.agent_id);
        let body = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
        let id = server.client.post(&path, &server.admin_key, &body).await.text("id");
        let (store, now) = (server.store().await, server.clock.now());
        let end = End { outcome: Outcome::Failed, at: now, detail: Some("it broke".to_owned()) };
        let receipt = json!({ "outcome": "failed", "policy_sha256": "a policy" }).to_string();
        let result = CommandResult {
            payload: b"{\"code\":\"broken\"}".to_vec(),
            receipt: Some(receipt.into_bytes()),
            receipt_signature: Some(vec![0; 64]),
        };
        let report = InventoryRow {
            org: OrgId::default_org(),
            agent: agent.id(),
            subsystem: Subsystem::System,
            report: SYSTEM.replace('\n', "").into_bytes(),
            captured_at: now,
            received_at: now,
            command: None,
            duration_ms: 12,
        };
        let mut tx = store.write("test").await.unwrap();
        let ended = (&id.parse().unwrap(), &end, &result, "queued");
        assert_eq!(tx.commands().save_ends(&[ended]).await.unwrap().len(), 1);
        tx.inventory().put(&report).await.unwrap();
        tx.commit().await.unwrap();
        store.close().await;
        id
    }

    /// The page of the agent, or what is below it.
    pub(crate) fn path(&self, agent: &TestAgent, below: &str) -> String {
        format!("/console/agents/{}{below}", agent.agent_id)
    }
}
