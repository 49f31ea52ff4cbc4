//! Settings of the installation: checked field by field, audited, in force at once on every replica.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use argosy_e2e::{database::Place, on_both, process::until, server::TestServer};
use reqwest::Method;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/settings";

async fn patch(server: &TestServer, key: &str, body: Value) -> argosy_e2e::http::Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    server.client.send(Method::PATCH, PATH, &headers, Some(&body)).await
}

async fn shown(server: &TestServer) -> Value {
    server.client.get(PATH, &server.admin_key).await.expect(200)
}

async fn a_change_is_whole_audited_and_survives_a_restart(place: Place) {
    let server = TestServer::start(&place).await;
    let before = shown(&server).await;
    assert_eq!(before["minimum_agent_version"], Value::Null);
    assert_eq!(before["allow_api_key_agents"], true);
    let change = json!({ "minimum_agent_version": "v1.4.0", "user_session_idle_s": 600 });
    let after = patch(&server, &server.admin_key, change.clone()).await.expect(200);
    assert_eq!(after["minimum_agent_version"], "1.4.0");
    assert_eq!(after["user_session_idle_s"], 600);
    assert_eq!(after["user_session_max_s"], before["user_session_max_s"]);
    // Once more: nothing changes, and nothing is told.
    patch(&server, &server.admin_key, change).await.expect(200);
    let entries = server.audit("settings.updated").await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["actor"], "user:admin");
    let told = &entries[0]["detail"]["changed"];
    assert_eq!(told["user_session_idle_s"], json!({ "from": "3600", "to": "600" }));
    assert_eq!(told["minimum_agent_version"], json!({ "from": "", "to": "1.4.0" }));
    let server = server.restart().await;
    assert_eq!(shown(&server).await, after);
    let reset = json!({ "minimum_agent_version": "" });
    let after = patch(&server, &server.admin_key, reset).await.expect(200);
    assert_eq!(after["minimum_agent_version"], Value::Null);
}

async fn what_is_not_acceptable_is_named_field_by_field_and_changes_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let before = shown(&server).await;
    let bad = json!({
        "minimum_agent_version": "1.4", "user_session_idle_s": 59,
        "login_failures_per_minute": 0, "requests_per_minute": 600,
    });
    let answer = patch(&server, &server.admin_key, bad).await;
    answer.refused(422, "invalid");
    let named: Vec<&str> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        named,
        ["minimum_agent_version", "user_session_idle_s", "login_failures_per_minute"]
    );
    for bad in [
        json!({ "no_such_setting": 1 }),
        json!({ "user_session_max_s": -1 }),
        json!({ "allow_api_key_agents": "yes" }),
        json!({ "user_session_max_s": 4_294_967_296_u64 }),
    ] {
        patch(&server, &server.admin_key, bad).await.refused(422, "invalid");
    }
    let other = server.other_organisation().await.admin_key;
    let allowed = json!({ "user_session_idle_s": 600 });
    patch(&server, &other, allowed.clone()).await.refused(404, "not_found");
    server.client.get(PATH, &other).await.refused(404, "not_found");
    patch(&server, "", allowed).await.refused(401, "unauthenticated");
    assert_eq!(shown(&server).await, before);
    assert!(server.audit("settings.updated").await.is_empty());
}

async fn a_change_reaches_the_other_replica(place: Place) {
    let one = TestServer::start(&place).await;
    let two = one.second().await;
    let change = json!({ "user_session_idle_s": 600, "allow_api_key_agents": false });
    patch(&one, &one.admin_key, change).await.expect(200);
    until("the change on the other replica", async || {
        let settings = two.app.settings();
        let new = settings.user_session_idle_s.get() == 600 && !settings.allow_api_key_agents;
        new.then_some(())
    })
    .await;
}

on_both!(
    a_change_is_whole_audited_and_survives_a_restart,
    what_is_not_acceptable_is_named_field_by_field_and_changes_nothing,
);

/// Only PostgreSQL has several servers.
mod shared {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_reaches_the_other_replica() {
        argosy_e2e::database::on_postgres(super::a_change_reaches_the_other_replica).await;
    }
}
