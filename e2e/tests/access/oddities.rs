//! Odd values wherever a value can be: no text, number or nesting makes the server fail.

use argosy_e2e::{database::Place, http::Answer, on_both, server::TestServer};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::{
    routes::{self, Route, document, operations},
    targets::Targets,
};

/// As they travel in a query.
const IN_QUERY: [&str; 14] = [
    "",
    "%00",
    "a%00b",
    "%ff%fe",
    "%ED%A0%80",
    "%F0%9F%9A%A2",
    "%E2%80%AE%EF%BB%BF",
    "%25%5F%5C",
    "%27%22%3B--",
    "0",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "1e400",
];

/// As they travel in a body.
fn in_body() -> Vec<Value> {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    vec![
        json!(""),
        json!("\u{0}"),
        json!("a\u{0}b"),
        json!("\u{feff}\u{202e}"),
        json!("🚢".repeat(300)),
        json!("a".repeat(70_000)),
        json!("9999999999999999999d"),
        json!("9999-12-31T23:59:60Z"),
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!(true),
        json!(null),
        json!([null]),
        json!({ "\u{0}": "\u{0}" }),
        deep,
    ]
}

async fn send(server: &TestServer, method: &Method, path: &str, body: Option<&Value>) -> Answer {
    let bearer = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", bearer.as_str())];
    server.client.send(method.clone(), path, &headers, body).await
}

fn is_no_fault(answer: &Answer, what: &str) {
    assert!(answer.status < 500, "{what}: {answer:?}");
    if answer.status >= 400 {
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
    }
}

async fn no_query_makes_the_server_fail(place: Place) {
    let server = TestServer::start(&place).await;
    let mut targets = Targets::new(&server).await;
    let document = document(&server).await;
    for (method, template, operation) in operations(&document) {
        let path = targets.path(&server, &template, None).await;
        let none = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap_or(&none).iter();
        for parameter in parameters.filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            for value in IN_QUERY {
                let path = format!("{path}?{name}={value}");
                is_no_fault(&send(&server, &method, &path, None).await, &path);
            }
        }
    }
}

/// The properties of a body, through the reference to its shape.
fn properties(document: &Value, operation: &Value) -> Vec<String> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let optional = schema["oneOf"].as_array().into_iter().flatten();
    let named = std::iter::once(schema).chain(optional).find_map(|schema| schema["$ref"].as_str());
    let Some(named) = named else { return Vec::new() };
    let schema = document.pointer(named.trim_start_matches('#')).unwrap();
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

async fn no_body_makes_the_server_fail(place: Place) {
    let server = TestServer::start(&place).await;
    let mut targets = Targets::new(&server).await;
    let document = document(&server).await;
    let mut tried = 0;
    for (method, template, operation) in operations(&document) {
        let properties = properties(&document, operation);
        let route = Route { method, template, need: routes::Need::Nothing };
        for property in properties {
            for value in in_body() {
                // Decisions are about a fresh agent only as long as they can be taken at all.
                let path = targets.path(&server, &route.template, None).await;
                let (name, token) = (targets.fresh_name(), targets.token().to_owned());
                let mut body = route.body(&name, &token).unwrap_or_else(|| json!({}));
                body[&property] = value;
                let answer = send(&server, &route.method, &path, Some(&body)).await;
                let shown: String = body.to_string().chars().take(200).collect();
                is_no_fault(&answer, &format!("{} {path} {shown}", route.method));
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

/// What stands deeper: a resource, its metadata, labels, parameters of commands.
async fn nothing_inside_a_body_makes_the_server_fail(place: Place) {
    let server = TestServer::start(&place).await;
    let mut targets = Targets::new(&server).await;
    let seen = json!({
        "provider": "aws", "region": "r", "resource_type": "vpc", "resource_id": "v", "name": "n",
        "cidr": "10.0.0.0/8", "parent_resource_id": "p", "metadata": {},
    });
    let commands = targets.path(&server, "/api/v1/agents/{id}/commands", None).await;
    let agent = targets.path(&server, "/api/v1/agents/{id}", None).await;
    for value in in_body() {
        let text = value.as_str().unwrap_or("\u{0}").to_owned();
        let mut metadata = Map::new();
        metadata.insert("key".to_owned(), value.clone());
        metadata.insert(text.clone(), json!("value"));
        let mut resources = vec![json!({ "metadata": metadata })];
        resources.extend(
            seen.as_object()
                .unwrap()
                .keys()
                .map(|name| Value::Object(Map::from_iter([(name.clone(), value.clone())]))),
        );
        for change in resources {
            let mut resource = seen.clone();
            resource.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let body = json!({ "resources": [resource] });
            let answer =
                send(&server, &Method::POST, "/api/v1/discovery/ingest", Some(&body)).await;
            is_no_fault(&answer, &format!("resource {change}"));
        }
        let labels = json!({ "name": "t", "labels": { "key": value, text.as_str(): "v" } });
        for (method, path) in [(Method::POST, "/api/v1/bootstrap-tokens"), (Method::PATCH, &agent)]
        {
            is_no_fault(&send(&server, &method, path, Some(&labels)).await, path);
        }
        let run = json!({ "kind": "subsystem.run", "params": { "subsystem": value, text: 1 } });
        is_no_fault(&send(&server, &Method::POST, &commands, Some(&run)).await, "parameters");
        let key = [("authorization", format!("Bearer {}", server.admin_key))];
        is_no_fault(&keyed(&server, &commands, &key, &value).await, "an idempotency key");
    }
    // Whatever was stored can be shown again.
    for list in ["agents", "bootstrap-tokens", "commands", "discovery/resources", "audit"] {
        let path = format!("/api/v1/{list}?limit=500");
        server.client.get(&path, &server.admin_key).await.expect(200);
    }
}

/// A command under an odd idempotency key, where a header can hold it.
async fn keyed(
    server: &TestServer,
    path: &str,
    key: &[(&str, String); 1],
    value: &Value,
) -> Answer {
    let odd = value.to_string().chars().filter(|c| !c.is_control()).take(4_000).collect::<String>();
    let headers = [(key[0].0, key[0].1.as_str()), ("idempotency-key", odd.as_str())];
    let run = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
    server.client.send(Method::POST, path, &headers, Some(&run)).await
}

on_both!(
    no_query_makes_the_server_fail,
    no_body_makes_the_server_fail,
    nothing_inside_a_body_makes_the_server_fail,
);
