//! Attack 17: what another organisation owns does not exist, whatever names it.

use argosy_e2e::{database::Place, http::Answer, on_both, server::TestServer};
use argosy_server::rpc;
use serde_json::{Value, json};

use crate::{
    routes::{self, Route},
    rpcs::{RpcClient, rpc},
    targets::{Noun, Targets, filled},
};

/// An id as it might be, of nothing.
const UNKNOWN: &str = "01981f10-0000-7000-8000-000000000000";
/// What no id can be, as it travels in a path.
const UNREADABLE: [&str; 5] = ["%00", "a%20b", "%2e%2e%2fx", "%ff%fe", "%F0%9F%9A%A2"];

/// What an answer tells: everything but its trace id and the time.
fn told(mut answer: Answer) -> (u16, Vec<String>, Value) {
    if let Some(body) = answer.body.as_object_mut() {
        body.remove("trace_id");
    }
    let mut headers: Vec<String> =
        answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
    headers.sort();
    (answer.status, headers, answer.body)
}

async fn call(server: &TestServer, route: &Route, path: &str, key: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    let body = route.body("other", "");
    server.client.send(route.method.clone(), path, &headers, body.as_ref()).await
}

/// Everything of organisation `default` that a call could have changed.
async fn everything(server: &TestServer) -> Value {
    let mut all = json!({});
    for list in ["agents", "auth/keys", "bootstrap-tokens", "commands", "audit", "users"] {
        let path = format!("/api/v1/{list}?limit=500");
        all[list] = server.client.get(&path, &server.admin_key).await.expect(200);
        for item in all[list]["items"].as_array_mut().into_iter().flatten() {
            // Written a moment later.
            item.as_object_mut().unwrap().remove("last_used_at");
        }
    }
    all
}

async fn an_id_of_another_tenant_is_an_unknown_id(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await.admin_key;
    let mut targets = Targets::new(&server).await;
    for noun in Noun::ALL {
        targets.id(&server, noun).await;
    }
    // The first use of a key is noted; then nothing may change any more.
    everything(&server).await;
    let before = everything(&server).await;
    let mut tried = 0;
    for route in routes::all(&server).await {
        let Some(noun) = Noun::of(&route.template) else {
            assert!(!route.template.contains('{'), "{} names what?", route.template);
            continue;
        };
        // Which only users have; `e2e/tests/people` tries those of others.
        if noun == Noun::Session {
            continue;
        }
        let id = targets.id(&server, noun).await;
        for template in std::iter::once(route.template.clone()).chain(route.mirror()) {
            let foreign = call(&server, &route, &filled(&template, &id), &other).await;
            let unknown = call(&server, &route, &filled(&template, UNKNOWN), &other).await;
            foreign.refused(404, "not_found");
            assert_eq!(told(foreign), told(unknown), "{} {template}", route.method);
            for text in UNREADABLE {
                let answer = call(&server, &route, &filled(&template, text), &other).await;
                assert_eq!(answer.status, 404, "{} {template} {text}", route.method);
            }
            tried += 1;
        }
    }
    assert!(tried >= 25, "{tried}");
    assert_eq!(everything(&server).await, before);
}

async fn an_rpc_knows_no_ids_of_other_tenants_either(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await.admin_key;
    let headers = [("authorization", format!("Bearer {other}"))];
    let (mut targets, client) = (Targets::new(&server).await, RpcClient::new());
    let mut tried = 0;
    for procedure in rpc::procedures() {
        let called = rpc(&procedure);
        let Some(noun) = called.noun else { continue };
        let id = targets.id(&server, noun).await;
        let ask = async |id: &str| {
            let message = called.message(id, "", "");
            client.call(&server, &procedure, &headers, &message, called.streams).await
        };
        let (foreign, unknown) = (ask(&id).await, ask(UNKNOWN).await);
        assert_eq!(foreign.status, 404, "{procedure}");
        assert_eq!(told(foreign), told(unknown), "{procedure}");
        tried += 1;
    }
    assert_eq!(tried, 4);
    let id = targets.id(&server, Noun::Agent).await;
    assert_eq!(server.agent(&id).await["status"], "approved");
}

/// Ids of others in queries and bodies.
async fn what_a_request_names_beside_its_path_stays_within_the_tenant(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await;
    let mut targets = Targets::new(&server).await;
    let agent = targets.id(&server, Noun::Agent).await;
    targets.id(&server, Noun::Resource).await;
    targets.id(&server, Noun::Command).await;
    for filter in [
        format!("commands?agent_id={agent}"),
        "agents?account_id=1".to_owned(),
        format!("agents?q={agent}"),
        "discovery/resources?account_id=1".to_owned(),
        format!("audit?target=agent:{agent}"),
        "accounts?id=1".to_owned(),
    ] {
        let shown = server.client.get(&format!("/api/v1/{filter}"), &other.admin_key).await;
        let items = shown.expect(200)["items"].as_array().unwrap().clone();
        let foreign = items.iter().any(|item| {
            item["account_id"] == 1 || item["id"] == 1 || item["target"] == format!("agent:{agent}")
        });
        assert!(!foreign, "{filter}: {items:?}");
        assert!(filter.starts_with("accounts") || items.is_empty(), "{filter}: {items:?}");
    }
    for (path, mut body) in [
        ("/api/v1/bootstrap-tokens", json!({ "name": "t" })),
        ("/api/v1/discovery/ingest", json!({ "resources": [] })),
    ] {
        let mut answers = Vec::new();
        for account in [1, 987_654_321] {
            body["account_id"] = account.into();
            answers.push(told(server.client.post(path, &other.admin_key, &body).await));
        }
        assert!([404, 422].contains(&answers[0].0), "{path}: {answers:?}");
        assert_eq!(answers[0], answers[1], "{path}");
        body["account_id"] = other.account_id.into();
        let own = server.client.post(path, &other.admin_key, &body).await;
        assert!((200..300).contains(&own.status), "{path}: {own:?}");
    }
}

on_both!(
    an_id_of_another_tenant_is_an_unknown_id,
    an_rpc_knows_no_ids_of_other_tenants_either,
    what_a_request_names_beside_its_path_stays_within_the_tenant,
);
