//! Attack 17: keys die with whom they owe their lives to.

use std::time::Duration;

use argosy_e2e::{
    database::Place, http::Answer, on_both, process::until, server::TestServer, user::TestUser,
};
use reqwest::Method;
use serde_json::{Value, json};

const KEYS: &str = "/api/v1/auth/keys";
const ME: &str = "/api/v1/auth/me";

fn id(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

async fn mint(server: &TestServer, key: &str, fields: Value) -> Answer {
    let mut body = json!({ "name": "k", "scopes": ["keys:create", "agents:read"] });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.client.post(KEYS, key, &body).await
}

async fn patch(server: &TestServer, user: &TestUser, body: Value) {
    let bearer = format!("Bearer {}", server.admin_key);
    let path = format!("/api/v1/users/{}", user.id);
    let headers = [("authorization", bearer.as_str())];
    server.client.send(Method::PATCH, &path, &headers, Some(&body)).await.expect(200);
}

async fn listed(server: &TestServer, id: &str) -> Value {
    let page = server.client.get(KEYS, &server.admin_key).await.expect(200);
    page["items"].as_array().unwrap().iter().find(|key| key["id"] == id).unwrap().clone()
}

/// A user's key, a key that it minted, and a key that this one minted.
async fn generations(server: &TestServer, user: &TestUser) -> [String; 3] {
    let body = json!({ "name": "k", "scopes": ["keys:create", "agents:read"] });
    let own = user.post(server, KEYS, &body).await.text("key");
    let child = mint(server, &own, json!({})).await.text("key");
    let grandchild = mint(server, &child, json!({ "service": "ci" })).await.text("key");
    for key in [&own, &child, &grandchild] {
        server.client.get("/api/v1/agents", key).await.expect(200);
    }
    [own, child, grandchild]
}

async fn all_dead(server: &TestServer, keys: &[String]) {
    for key in keys {
        server.client.get("/api/v1/agents", key).await.refused(401, "unauthenticated");
        server.client.get(ME, key).await.refused(401, "unauthenticated");
        mint(server, key, json!({})).await.refused(401, "unauthenticated");
    }
}

async fn keys_die_with_their_user(place: Place) {
    let server = TestServer::start(&place).await;
    let disabled = TestUser::make(&server, "disabled", "admin").await;
    let keys = generations(&server, &disabled).await;
    // A service's key that a user minted in person belongs to the service.
    let body = json!({ "name": "ci", "scopes": ["agents:read"], "service": "CI" });
    let service = disabled.post(&server, KEYS, &body).await.expect(201);
    assert_eq!(service["owner"], "service:ci");
    assert_eq!(service["created_by"], "user:disabled");
    patch(&server, &disabled, json!({ "disabled": true })).await;
    all_dead(&server, &keys).await;
    // For ever: whoever is let in again begins anew.
    patch(&server, &disabled, json!({ "disabled": false })).await;
    all_dead(&server, &keys).await;
    assert!(listed(&server, id(&keys[2])).await["revoked_at"].is_string());
    let service = service["key"].as_str().unwrap();
    server.client.get("/api/v1/agents", service).await.expect(200);
    let deleted = TestUser::make(&server, "deleted", "admin").await;
    let keys = generations(&server, &deleted).await;
    let path = format!("/api/v1/users/{}", deleted.id);
    server.client.delete(&path, &server.admin_key).await.expect(204);
    all_dead(&server, &keys).await;
}

async fn keys_die_with_the_key_that_minted_them(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "admin").await;
    let keys = generations(&server, &user).await;
    let bystander = generations(&server, &user).await;
    let path = format!("{KEYS}/{}", id(&keys[0]));
    server.client.delete(&path, &server.admin_key).await.expect(204);
    all_dead(&server, &keys).await;
    server.client.get("/api/v1/agents", &bystander[2]).await.expect(200);
    assert_eq!(listed(&server, id(&bystander[1])).await["parent_id"], id(&bystander[0]));
    assert_eq!(server.audit("key.revoked").await.len(), 1);
}

async fn a_key_has_no_more_than_its_user_and_no_longer_than_its_parent(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "admin").await;
    let body = json!({ "name": "all", "scopes": ["*"] });
    let all = user.post(&server, KEYS, &body).await.text("key");
    server.client.get("/api/v1/auth/keys", &all).await.expect(200);
    patch(&server, &user, json!({ "role": "viewer" })).await;
    server.client.get("/api/v1/agents", &all).await.expect(200);
    server.client.get(KEYS, &all).await.refused(403, "forbidden");
    mint(&server, &all, json!({})).await.refused(403, "forbidden");
    let short = mint(&server, &server.admin_key, json!({ "expires_in_days": 10 })).await;
    let (short, end) = (short.text("key"), short.text("expires_at"));
    for asked in [json!({}), json!({ "expires_in_days": 11 })] {
        assert_eq!(mint(&server, &short, asked).await.text("expires_at"), end);
    }
    let sooner = mint(&server, &short, json!({ "expires_in_days": 1 })).await;
    assert_ne!(sooner.text("expires_at"), end);
}

async fn a_list_says_how_old_and_how_much_used(place: Place) {
    let server = TestServer::start(&place).await;
    let key = mint(&server, &server.admin_key, json!({ "expires_in_days": 400 })).await;
    let (key, new) = (key.text("key"), key.body);
    assert_eq!((&new["age_days"], &new["rotation_due"]), (&json!(0), &json!(false)));
    assert!(new["last_used_at"].is_null());
    server.clock.advance(Duration::from_secs(365 * 86_400));
    server.client.get("/api/v1/agents", &key).await.expect(200);
    let seen = until("the use to be written", async || {
        let seen = listed(&server, id(&key)).await;
        seen["last_used_at"].is_string().then_some(seen)
    })
    .await;
    assert_eq!((&seen["age_days"], &seen["rotation_due"]), (&json!(365), &json!(true)));
    let young = mint(&server, &server.admin_key, json!({ "expires_in_days": 14 })).await;
    assert_eq!(young.body["rotation_due"], true);
}

on_both!(
    keys_die_with_their_user,
    keys_die_with_the_key_that_minted_them,
    a_key_has_no_more_than_its_user_and_no_longer_than_its_parent,
    a_list_says_how_old_and_how_much_used,
);
