//! Limits: calls of one principal, and sources behind trusted proxies.

use std::num::NonZeroU32;

use argosy_e2e::{
    agent::TestAgent,
    clock::ManualClock,
    database::Place,
    on_both,
    server::{TestServer, settings},
    user::TestUser,
};
use argosy_server::config::Settings;
use reqwest::Method;
use serde_json::json;

const ME: &str = "/api/v1/auth/me";

async fn one_principal_does_not_take_all(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "viewer").await;
    let mut agent = TestAgent::in_session(&server, "busy").await;
    let mut other = TestAgent::in_session(&server, "other").await;
    let body = json!({ "name": "k", "scopes": ["agents:read"] });
    let key = server.client.post("/api/v1/auth/keys", &server.admin_key, &body).await.text("key");
    let bearer = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", bearer.as_str())];
    let few = json!({ "requests_per_minute": 60 });
    let path = "/api/v1/settings";
    server.client.send(Method::PATCH, path, &headers, Some(&few)).await.expect(200);
    let mut last = server.client.get(ME, &key).await;
    for _ in 0..200 {
        if last.status == 429 {
            break;
        }
        last = server.client.get(ME, &key).await;
    }
    last.refused(429, "rate_limited");
    assert!(last.headers.contains_key("retry-after"));
    let mut last = agent.heartbeat(&server).await;
    for _ in 0..200 {
        if last.status == 429 {
            break;
        }
        last = agent.heartbeat(&server).await;
    }
    last.refused(429, "rate_limited");
    // Others go on: a user, another agent, and machines that enrol, as many as there are.
    other.heartbeat(&server).await.expect(200);
    user.get(&server, ME).await.expect(200);
    let body = json!({ "name": "t", "max_uses": 80 });
    let token = user_token(&server, &body).await;
    for n in 0..70 {
        let body = json!({ "name": format!("web-{n}"), "bootstrap_token": token });
        let answer = server.client.post_anonymous("/api/v1/agents/register", &body).await;
        answer.expect(201);
    }
}

async fn user_token(server: &TestServer, body: &serde_json::Value) -> String {
    let made = server.client.post("/api/v1/bootstrap-tokens", &server.admin_key, body).await;
    made.text("token")
}

async fn sources_behind_a_trusted_proxy_are_told_apart(place: Place) {
    let behind = Settings {
        failures_per_minute: NonZeroU32::new(2).unwrap(),
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..settings(&place)
    };
    let server = TestServer::start_with(behind, ManualClock::default()).await;
    let fail = async |forwarded: &str| {
        let headers = [("authorization", "Bearer argosy_x"), ("x-forwarded-for", forwarded)];
        server.client.send(Method::GET, ME, &headers, None).await.status
    };
    // What the client itself wrote to the left changes nothing.
    let tries = ["1.1.1.1, 203.0.113.7", "2.2.2.2, 203.0.113.7", "203.0.113.7", "203.0.113.7"];
    let mut statuses = Vec::new();
    for forwarded in tries {
        statuses.push(fail(forwarded).await);
    }
    assert_eq!(statuses, [401, 401, 401, 429]);
    assert_eq!(fail("203.0.113.8").await, 401);
    let body = json!({ "name": "t" });
    let bearer = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", bearer.as_str()), ("forwarded", "for=198.51.100.4")];
    let path = "/api/v1/bootstrap-tokens";
    server.client.send(Method::POST, path, &headers, Some(&body)).await.expect(201);
    assert_eq!(server.audit("token.created").await[0]["source"], "198.51.100.4");
}

async fn nobody_is_believed_unless_trusted(place: Place) {
    let few = Settings { failures_per_minute: NonZeroU32::new(2).unwrap(), ..settings(&place) };
    let server = TestServer::start_with(few, ManualClock::default()).await;
    let mut statuses = Vec::new();
    for n in 0..4 {
        let forwarded = format!("203.0.113.{n}");
        let headers =
            [("authorization", "Bearer argosy_x"), ("x-forwarded-for", forwarded.as_str())];
        statuses.push(server.client.send(Method::GET, ME, &headers, None).await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429]);
}

on_both!(
    one_principal_does_not_take_all,
    sources_behind_a_trusted_proxy_are_told_apart,
    nobody_is_believed_unless_trusted,
);
