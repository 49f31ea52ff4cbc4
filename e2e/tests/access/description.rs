//! The OpenAPI document: nothing is missing in it, and what it says of methods is true.

use std::collections::{BTreeMap, BTreeSet};

use argosy_domain::{
    access::Permission,
    limits::{
        INGEST_RESOURCES_MAX, NAME_CHARS_MAX, PAGE_ITEMS_MAX, REASON_CHARS_MAX, TOKEN_SEATS_MAX,
        TOKEN_TEXT_BYTES_MAX,
    },
};
use argosy_e2e::{database::Place, on_both, server::TestServer};
use reqwest::Method;
use serde_json::Value;

use crate::{
    routes::{BESIDE, document, operations},
    targets::filled,
};

/// The operations that look at no credentials.
const OPEN: [&str; 10] = [
    "GET /.well-known/argosy/keys",
    "GET /api/v1/health",
    "GET /health",
    "GET /metrics",
    "GET /ready",
    "POST /api/v1/agents/handshake/begin",
    "POST /api/v1/agents/handshake/complete",
    "POST /api/v1/agents/register",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/setup",
];
/// Operations that cannot fail but by a fault, and describe no problems.
const NO_PROBLEMS: [&str; 4] = ["GET /api/v1/health", "GET /health", "GET /metrics", "GET /ready"];

async fn every_operation_is_described_whole(place: Place) {
    let server = TestServer::start(&place).await;
    let document = document(&server).await;
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let call = format!("{method} {path}");
        assert!(operation["tags"][0].is_string(), "{call} has no tag");
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty(), "{call} does not say what it does");
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(format!("{}.{id}", operation["tags"][0])), "{call}: {id} is taken");
        success(&call, operation);
        problems(&call, operation);
        parameters(&call, &path, operation);
        if let Some(body) = operation["requestBody"].as_object() {
            assert!(body["content"]["application/json"]["schema"].is_object(), "{call}");
        }
    }
    let text = document["info"]["description"].as_str().unwrap();
    assert!(text.contains("/api/v1/discovery/"), "the mirror is not mentioned");
}

/// Exactly one success, with its shape.
fn success(call: &str, operation: &Value) {
    let responses = operation["responses"].as_object().unwrap();
    let good: Vec<&String> = responses.keys().filter(|status| status.starts_with('2')).collect();
    let [status] = good.as_slice() else { panic!("{call} succeeds with {good:?}") };
    let content = responses[*status]["content"].as_object();
    if *status == "204" {
        assert!(content.is_none(), "{call}");
    } else {
        let content = content.unwrap_or_else(|| panic!("{call} does not say what it answers"));
        assert!(content.values().all(|media| media["schema"].is_object()), "{call}");
    }
}

/// Every refusal is a problem, and those of the gate are there.
fn problems(call: &str, operation: &Value) {
    let responses = operation["responses"].as_object().unwrap();
    let bad: Vec<&String> = responses.keys().filter(|status| !status.starts_with('2')).collect();
    if NO_PROBLEMS.contains(&call) {
        return;
    }
    for status in &bad {
        let schema = &responses[*status]["content"]["application/problem+json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/Problem", "{call} {status}");
    }
    for status in ["400", "401", "403", "404", "405", "413", "415", "422", "429", "500", "503"] {
        assert!(bad.iter().any(|bad| *bad == status), "{call} does not describe {status}");
    }
}

/// The parameters of the path are those that are described, and each has a shape.
fn parameters(call: &str, path: &str, operation: &Value) {
    let named = path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap());
    let named: BTreeSet<&str> = named.collect();
    let empty = Vec::new();
    let described = operation["parameters"].as_array().unwrap_or(&empty);
    let in_path = described.iter().filter(|parameter| parameter["in"] == "path");
    let in_path: BTreeSet<&str> = in_path.map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(named, in_path, "{call}");
    for parameter in described {
        assert!(parameter["schema"].is_object(), "{call}: {parameter}");
        let told = parameter["description"].as_str().unwrap_or_default();
        assert!(parameter["in"] == "path" || !told.is_empty(), "{call}: {parameter}");
    }
}

async fn every_operation_names_its_scope_or_is_open(place: Place) {
    let server = TestServer::start(&place).await;
    let document = document(&server).await;
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    let known = Permission::ALL.map(Permission::scope);
    let mut open = Vec::new();
    for (method, path, operation) in operations(&document) {
        let call = format!("{method} {path}");
        let Some(ways) = operation["security"].as_array() else {
            open.push(call);
            continue;
        };
        assert!(!ways.is_empty(), "{call}");
        for (scheme, scopes) in ways.iter().flat_map(|way| way.as_object().unwrap()) {
            assert!(schemes.contains_key(scheme), "{call}: {scheme}");
            for scope in scopes.as_array().unwrap() {
                assert!(known.contains(&scope.as_str().unwrap()), "{call}: {scope}");
            }
        }
    }
    open.sort();
    assert_eq!(open, OPEN);
}

/// Whoever writes may repeat it: each write of a caller takes a key, and nothing else does.
async fn every_write_of_a_caller_takes_an_idempotency_key(place: Place) {
    let server = TestServer::start(&place).await;
    let document = document(&server).await;
    let mut taken = 0;
    for (method, path, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let keys = parameters.filter(|parameter| parameter["name"] == "Idempotency-Key").count();
        let takes = !method.is_safe() && operation["security"].is_array();
        assert_eq!(keys, usize::from(takes), "{method} {path}");
        taken += keys;
    }
    assert!(taken >= 25, "{taken}");
}

/// Bounds stand in the document with the numbers that the use cases check.
async fn the_bounds_of_the_document_are_the_limits(place: Place) {
    let server = TestServer::start(&place).await;
    let document = document(&server).await;
    let mut lists = 0;
    for (method, path, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for limit in parameters.filter(|parameter| parameter["name"] == "limit") {
            let bounds = (&limit["schema"]["minimum"], &limit["schema"]["maximum"]);
            assert_eq!(bounds, (&1.into(), &PAGE_ITEMS_MAX.into()), "{method} {path}");
            lists += 1;
        }
    }
    assert!(lists >= 5, "{lists}");
    let shapes = &document["components"]["schemas"];
    for (shape, property, bound, expected) in [
        ("CreateKey", "name", "maxLength", NAME_CHARS_MAX),
        ("CreateToken", "name", "maxLength", NAME_CHARS_MAX),
        ("UpdateAgent", "name", "maxLength", NAME_CHARS_MAX),
        ("Register", "name", "maxLength", NAME_CHARS_MAX),
        ("Register", "bootstrap_token", "maxLength", TOKEN_TEXT_BYTES_MAX),
        ("WithReason", "reason", "maxLength", REASON_CHARS_MAX),
        ("Ingest", "resources", "maxItems", INGEST_RESOURCES_MAX),
        ("CreateToken", "max_uses", "maximum", usize::try_from(TOKEN_SEATS_MAX).unwrap()),
    ] {
        let told = &shapes[shape]["properties"][property][bound];
        assert_eq!(told, &expected, "{shape}.{property} {bound}");
    }
}

/// A path answers the methods that are described, and no others.
async fn a_path_has_the_methods_of_the_document(place: Place) {
    let server = TestServer::start(&place).await;
    let document = document(&server).await;
    let mut methods = BTreeMap::<String, BTreeSet<String>>::new();
    for (method, path, _) in operations(&document) {
        methods.entry(path).or_default().insert(method.to_string());
    }
    for path in BESIDE {
        let page = server.client.send(Method::GET, path, &[], None).await;
        assert_eq!(page.status, 200, "{path}");
        methods.insert(path.to_owned(), BTreeSet::from(["GET".to_owned()]));
    }
    for (template, mut methods) in methods {
        let path = filled(&template, "x");
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        for other in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            if methods.contains(other) {
                continue;
            }
            let answer = server.client.send(other.parse().unwrap(), &path, &[], None).await;
            answer.refused(405, "method_not_allowed");
            let allow = answer.headers.get("allow").and_then(|allow| allow.to_str().ok());
            let allow = allow.unwrap_or_default().split(',').map(|m| m.trim().to_owned());
            assert_eq!(allow.collect::<BTreeSet<_>>(), methods, "{other} {path}");
        }
    }
}

on_both!(
    every_operation_is_described_whole,
    every_operation_names_its_scope_or_is_open,
    every_write_of_a_caller_takes_an_idempotency_key,
    the_bounds_of_the_document_are_the_limits,
    a_path_has_the_methods_of_the_document,
);
