//! Attacks 1 to 5 and 7: tokens, statements, accounts, approval.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use serde_json::json;

async fn a_machine_enrols_is_approved_and_heartbeats(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::new("web-1");
    let token = server.token(json!({})).await;
    let registered = agent.register(&server, &token).await.expect(201);
    assert_eq!(registered["approval_status"], "pending_approval");
    let shown = server.agent(&agent.agent_id).await;
    assert_eq!(shown["fingerprint"], registered["fingerprint"]);
    agent.handshake(&server).await.refused(403, "not_approved");
    let compared = json!({ "fingerprint": registered["fingerprint"] });
    server.decide(&agent.agent_id, "approve", compared).await.expect(200);
    agent.handshake(&server).await.expect(200);
    agent.heartbeat(&server).await.expect(200);
    assert_eq!(server.agent(&agent.agent_id).await["health"], "healthy");
    let entries = server.audit("agent.approved").await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["target"].as_str().unwrap(), format!("agent:{}", agent.agent_id));
}

on_both!(a_machine_enrols_is_approved_and_heartbeats);
