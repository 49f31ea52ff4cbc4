//! One order to many agents, by the command line, REST and agents that carry it out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use argosy_e2e::{agent::TestAgent, database::Place, on_both, process::until, server::TestServer};
use reqwest::Method;
use serde_json::{Value, json};

async fn begin(server: &TestServer, fields: Value) -> Value {
    let mut order = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
    order.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.client.post("/api/v1/commands", &server.admin_key, &order).await.expect(202)
}

async fn show(server: &TestServer, fan_out: &Value) -> Value {
    let path = format!("/api/v1/fan-outs/{}", fan_out["id"].as_str().unwrap());
    server.client.get(&path, &server.admin_key).await.expect(200)
}

async fn commands(server: &TestServer, state: &str) -> Vec<Value> {
    let path = format!("/api/v1/commands?limit=500&state={state}");
    let page = server.client.get(&path, &server.admin_key).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

/// Waits until so many commands are queued, and no more.
async fn queued(server: &TestServer, n: usize) -> Vec<Value> {
    until("commands", async || {
        let queued = commands(server, "queued").await;
        (queued.len() == n).then_some(queued)
    })
    .await
}

async fn fleet(server: &TestServer, n: usize) {
    for number in 0..n {
        TestAgent::admitted(server, &format!("web-{number}")).await;
    }
}

async fn cancel(server: &TestServer, command: &Value) {
    let path = format!("/api/v1/commands/{}/cancel", command["id"].as_str().unwrap());
    server.client.post(&path, &server.admin_key, &json!({})).await.expect(200);
}

async fn no_more_at_once_than_was_asked_for(place: Place) {
    let server = TestServer::start(&place).await;
    fleet(&server, 5).await;
    let begun = begin(&server, json!({ "selector": { "all": true }, "concurrency": 2 })).await;
    assert_eq!((begun["state"].as_str(), begun["total"].as_u64()), (Some("running"), Some(5)));
    for left in [3, 2, 1] {
        let two = queued(&server, 2).await;
        server.app.move_fan_outs().await.unwrap();
        assert_eq!(commands(&server, "queued").await.len(), 2, "not before one has ended");
        assert_eq!(show(&server, &begun).await["agents"]["waiting"], left);
        cancel(&server, &two[0]).await;
    }
    for command in queued(&server, 2).await {
        cancel(&server, &command).await;
    }
    let over = until("the end", async || {
        let shown = show(&server, &begun).await;
        (shown["state"] == "completed").then_some(shown)
    })
    .await;
    assert_eq!(over["agents"], json!({ "cancelled": 5 }));
    assert!(over["ended_at"].is_string());
    let created = server.audit("fan_out.created").await;
    assert_eq!(created[0]["detail"]["agents"], 5, "{created:?}");
}

async fn a_selector_names_approved_agents_of_the_organisation(place: Place) {
    let server = TestServer::start(&place).await;
    fleet(&server, 3).await;
    let other = server.other_organisation().await;
    let agents = server.agents().await;
    let first = agents[0]["agent_id"].as_str().unwrap();
    let path = format!("/api/v1/agents/{first}");
    let labels = json!({ "labels": { "role": "db", "env": "prod" } });
    let authorization = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", authorization.as_str())];
    server.client.send(Method::PATCH, &path, &headers, Some(&labels)).await.expect(200);
    server
        .decide(agents[1]["agent_id"].as_str().unwrap(), "quarantine", json!({}))
        .await
        .expect(200);
    for (selector, wanted) in [
        (json!({ "all": true }), 2),
        (json!({ "labels": { "role": "db", "env": "prod" } }), 1),
        (json!({ "agents": [first, "unknown"] }), 1),
        (json!({ "q": "web-", "account_id": 1 }), 2),
    ] {
        let begun = begin(&server, json!({ "selector": selector })).await;
        assert_eq!(begun["total"], wanted, "{begun}");
        assert_eq!(begun["selector"], selector);
    }
    let refused = async |key: &str, selector: Value| {
        let order = json!({ "selector": selector, "kind": "subsystem.run",
            "params": { "subsystem": "system" } });
        server.client.post("/api/v1/commands", key, &order).await.refused(422, "invalid");
    };
    refused(&server.admin_key, json!({})).await;
    refused(&server.admin_key, json!({ "labels": { "role": "db", "env": "test" } })).await;
    refused(&server.admin_key, json!({ "health": "splendid" })).await;
    refused(&server.admin_key, json!({ "agents": [agents[1]["agent_id"]] })).await;
    refused(&other.admin_key, json!({ "agents": [first] })).await;
    let fan_outs = server.client.get("/api/v1/fan-outs", &other.admin_key).await.expect(200);
    assert_eq!(fan_outs["items"], json!([]));
}

async fn it_halts_when_too_much_goes_wrong_and_survives_a_restart(place: Place) {
    let server = TestServer::start(&place).await;
    fleet(&server, 4).await;
    let fields = json!({
        "selector": { "all": true }, "concurrency": 1, "max_errors": 0, "idempotency_key": "k1",
    });
    let begun = begin(&server, fields.clone()).await;
    assert_eq!(begin(&server, fields.clone()).await["id"], begun["id"]);
    let mut other = fields;
    other["concurrency"] = json!(2);
    other["kind"] = json!("subsystem.run");
    other["params"] = json!({ "subsystem": "system" });
    let conflict = server.client.post("/api/v1/commands", &server.admin_key, &other).await;
    conflict.refused(409, "idempotency_conflict");
    let first = queued(&server, 1).await.remove(0);
    let server = server.restart().await;
    cancel(&server, &first).await;
    let second = queued(&server, 1).await.remove(0);
    assert_ne!(second["id"], first["id"]);
    let agent = second["agent_id"].as_str().unwrap();
    // The agent leaves with a command that nobody sent: withdrawn is not wrong. The next is sent and
    // its agent leaves: lost is.
    server.decide(agent, "revoke", json!({})).await.expect(200);
    let third = queued(&server, 1).await.remove(0);
    let mut store = server.store().await.write("sent").await.unwrap();
    let sent = argosy_domain::command::CommandState::Queued.sent(server.app.now()).unwrap();
    let id = third["id"].as_str().unwrap().parse().unwrap();
    store.commands().save_state(&id, &sent, "queued").await.unwrap();
    store.commit().await.unwrap();
    server.decide(third["agent_id"].as_str().unwrap(), "revoke", json!({})).await.expect(200);
    let over = until("the halt", async || {
        let shown = show(&server, &begun).await;
        (shown["state"] == "halted").then_some(shown)
    })
    .await;
    assert_eq!(over["agents"], json!({ "cancelled": 2, "lost": 1, "waiting": 1 }));
    assert_eq!(over["errors"], 1);
}

async fn a_fan_out_is_withdrawn_with_its_commands(place: Place) {
    let server = TestServer::start(&place).await;
    fleet(&server, 3).await;
    let begun = begin(&server, json!({ "selector": { "all": true }, "concurrency": 2 })).await;
    queued(&server, 2).await;
    let path = format!("/api/v1/fan-outs/{}/cancel", begun["id"].as_str().unwrap());
    let over = server.client.post(&path, &server.admin_key, &json!({})).await.expect(200);
    assert_eq!(over["state"], "cancelled");
    assert_eq!(over["agents"], json!({ "cancelled": 2, "waiting": 1 }));
    server.app.move_fan_outs().await.unwrap();
    assert!(commands(&server, "queued").await.is_empty(), "nothing more is begun");
    let again = server.client.post(&path, &server.admin_key, &json!({})).await;
    again.refused(409, "wrong_state");
    assert_eq!(server.audit("fan_out.cancelled").await.len(), 1);
}

on_both!(
    no_more_at_once_than_was_asked_for,
    a_selector_names_approved_agents_of_the_organisation,
    it_halts_when_too_much_goes_wrong_and_survives_a_restart,
    a_fan_out_is_withdrawn_with_its_commands,
);
