//! Attack 17: a key makes no key that may more, and dead keys are dead at once.

use std::time::Duration;

use argosy_domain::access::Permission;
use argosy_e2e::{database::Place, http::Answer, on_both, server::TestServer};
use serde_json::json;

use crate::{callers::key_with, rpcs::RpcClient};

const KEYS: &str = "/api/v1/auth/keys";
const LIST_AGENTS: &str = "/agentadmin.v1.AgentAdminService/ListAgents";

async fn mint(server: &TestServer, key: &str, scopes: &[&str]) -> Answer {
    server.client.post(KEYS, key, &json!({ "name": "minted", "scopes": scopes })).await
}

/// The id of a key.
fn id(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

/// A key's own scopes, sets that it may hand on, and sets that it may not.
struct Minter<'a> {
    own: &'a [&'a str],
    allowed: &'a [&'a [&'a str]],
    refused: &'a [&'a [&'a str]],
}

async fn no_key_mints_a_key_that_may_more(place: Place) {
    let server = TestServer::start(&place).await;
    let every = Permission::ALL.map(Permission::scope);
    let minters = [
        Minter {
            own: &["keys:create", "agents:read"],
            allowed: &[&["agents:read"], &["keys:create"], &["agents:read", "keys:create"]],
            refused: &[
                &["*"],
                &["agents:*"],
                &["agents:write"],
                &["keys:*"],
                &["keys:write"],
                &["keys:revoke"],
                &["agents:read", "tokens:create"],
            ],
        },
        Minter {
            own: &["keys:create", "agents:write"],
            allowed: &[&["agents:revoke"], &["agents:*"], &["agents:write"]],
            refused: &[&["*"], &["keys:write"], &["tokens:read"]],
        },
        Minter {
            own: &["keys:*"],
            allowed: &[&["keys:write"], &["keys:read"]],
            refused: &[&["*"], &["agents:read"]],
        },
        // Everything that there is today is less than everything.
        Minter { own: &every, allowed: &[&["agents:write", "keys:*"]], refused: &[&["*"]] },
    ];
    let mut minted = 0;
    for Minter { own, allowed, refused } in minters {
        let minter = key_with(&server, own).await;
        minted += 1;
        for scopes in allowed {
            let body = mint(&server, &minter, scopes).await.expect(201);
            minted += 1;
            // What was minted is bound by the same rule.
            let child = body["key"].as_str().unwrap();
            let answer = mint(&server, child, &["*"]).await;
            answer.refused(403, "forbidden");
        }
        for scopes in refused {
            mint(&server, &minter, scopes).await.refused(403, "forbidden");
        }
        for scopes in [&[][..], &["agents:fly"], &["AGENTS:READ"], &[" agents:read"], &[""]] {
            mint(&server, &minter, scopes).await.refused(422, "invalid");
        }
    }
    let created = server.audit("key.created").await;
    // The first administrator's key is one of them.
    assert_eq!(created.len(), minted + 1);
}

async fn a_key_that_may_not_mint_mints_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    for scopes in [&["agents:*"][..], &["keys:read", "keys:revoke"]] {
        let key = key_with(&server, scopes).await;
        mint(&server, &key, scopes).await.refused(403, "forbidden");
    }
}

async fn a_revoked_key_is_dead_at_once(place: Place) {
    let server = TestServer::start(&place).await;
    let (key, bystander) =
        (key_with(&server, &["agents:read"]).await, key_with(&server, &["agents:read"]).await);
    server.client.get("/api/v1/agents", &key).await.expect(200);
    let path = format!("{KEYS}/{}", id(&key));
    server.client.delete(&path, &server.admin_key).await.expect(204);
    server.client.get("/api/v1/agents", &key).await.refused(401, "unauthenticated");
    server.client.get("/api/v1/auth/me", &key).await.refused(401, "unauthenticated");
    let bearer = [("authorization", format!("Bearer {key}"))];
    let answer = RpcClient::new().call(&server, LIST_AGENTS, &bearer, &json!({}), false).await;
    assert_eq!(answer.status, 401);
    server.client.get("/api/v1/agents", &bystander).await.expect(200);
    let entries = server.audit("key.revoked").await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["target"], format!("key:{}", id(&key)));
}

async fn a_key_may_end_itself_and_is_dead_then(place: Place) {
    let server = TestServer::start(&place).await;
    let key = key_with(&server, &["keys:revoke"]).await;
    let path = format!("{KEYS}/{}", id(&key));
    server.client.delete(&path, &key).await.expect(204);
    server.client.delete(&path, &key).await.refused(401, "unauthenticated");
}

async fn a_key_dies_at_its_expiry(place: Place) {
    let server = TestServer::start(&place).await;
    let body = json!({ "name": "short", "scopes": ["agents:read"], "expires_in_days": 1 });
    let answer = server.client.post(KEYS, &server.admin_key, &body).await;
    let key = answer.expect(201)["key"].as_str().unwrap().to_owned();
    let day = Duration::from_secs(86_400);
    server.clock.advance(day - Duration::from_micros(1));
    server.client.get("/api/v1/agents", &key).await.expect(200);
    server.clock.advance(Duration::from_micros(1));
    server.client.get("/api/v1/agents", &key).await.refused(401, "unauthenticated");
}

/// A key's text with another key's secret, another kind's prefix, another case.
async fn a_key_that_is_nearly_one_is_none(place: Place) {
    let server = TestServer::start(&place).await;
    let (one, two) = (key_with(&server, &["*"]).await, key_with(&server, &["agents:read"]).await);
    let secret = |key: &str| key.splitn(3, '_').nth(2).unwrap().to_owned();
    let swapped = format!("argosy_{}_{}", id(&one), secret(&two));
    let as_agent = one.replacen("argosy_", "agent_", 1);
    let cut = &one[..one.len() - 1];
    let longer = format!("{one}A");
    for key in [&swapped, &as_agent, cut, &longer, &one.to_uppercase(), "", "argosy__"] {
        server.client.get("/api/v1/agents", key).await.refused(401, "unauthenticated");
    }
    server.client.get("/api/v1/agents", &one).await.expect(200);
}

on_both!(
    no_key_mints_a_key_that_may_more,
    a_key_that_may_not_mint_mints_nothing,
    a_revoked_key_is_dead_at_once,
    a_key_may_end_itself_and_is_dead_then,
    a_key_dies_at_its_expiry,
    a_key_that_is_nearly_one_is_none,
);
