//! The routes of the OpenAPI document, and a body for each that passes every check but the gate.

use argosy_e2e::server::TestServer;
use argosy_server::console;
use reqwest::Method;
use serde_json::{Value, json};

/// What a call asks of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: the call looks at no credentials.
    Nothing,
    /// Any credential.
    Somebody,
    /// A scope, or another one where several are accepted.
    Scopes(Vec<String>),
}

impl Need {
    /// Any one of these scopes.
    pub(crate) fn scopes(scopes: &[&str]) -> Self {
        Self::Scopes(scopes.iter().map(|scope| (*scope).to_owned()).collect())
    }
}

/// One operation of the document.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// With its parameters in braces.
    pub(crate) template: String,
    pub(crate) need: Need,
}

/// Every route of the console.
pub(crate) fn of_console() -> Vec<Route> {
    let route = |route: &console::Route| Route {
        method: route.method.to_uppercase().parse().unwrap(),
        template: route.path.to_owned(),
        need: match route.need {
            console::Need::Nothing => Need::Nothing,
            console::Need::User => Need::Somebody,
            console::Need::Scope(permission) => Need::scopes(&[permission.scope()]),
        },
    };
    console::ROUTES.iter().map(route).collect()
}

/// The document as it is served.
pub(crate) async fn document(server: &TestServer) -> Value {
    server.client.send(Method::GET, "/api/v1/openapi.json", &[], None).await.expect(200)
}

/// Every operation of a document: method, path, description.
pub(crate) fn operations(document: &Value) -> Vec<(Method, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, operation)| {
            (method.to_uppercase().parse().unwrap(), path.clone(), operation)
        })
    });
    operations.collect()
}

fn need(operation: &Value) -> Need {
    let Some(schemes) = operation["security"].as_array() else { return Need::Nothing };
    let scopes = schemes.iter().filter_map(|scheme| scheme["api_key"].as_array()).flatten();
    let scopes: Vec<&str> = scopes.map(|scope| scope.as_str().unwrap()).collect();
    if scopes.is_empty() { Need::Somebody } else { Need::scopes(&scopes) }
}

/// What is served and is not in the document: the document, and the page that shows it. The mirror
/// below `/api/v1/discovery` is in its text.
pub(crate) const BESIDE: [&str; 2] = ["/api/docs/", "/api/v1/openapi.json"];

/// Every route of the document, and what is served beside it.
pub(crate) async fn all(server: &TestServer) -> Vec<Route> {
    let document = document(server).await;
    let operations = operations(&document).into_iter();
    operations
        .map(|(method, template, operation)| Route { method, template, need: need(operation) })
        .chain(BESIDE.map(|path| Route {
            method: Method::GET,
            template: path.to_owned(),
            need: Need::Nothing,
        }))
        .collect()
}

impl Route {
    /// The same route below `/api/v1/discovery`, where there is one.
    pub(crate) fn mirror(&self) -> Option<String> {
        let tail = self.template.strip_prefix("/api/v1")?;
        let first = tail.split('/').nth(1)?;
        let mirrored = ["agents", "bootstrap-tokens"].contains(&first);
        mirrored.then(|| format!("/api/v1/discovery{tail}"))
    }

    /// A body that nothing but the gate refuses, or that is refused behind the gate. `name` is
    /// fresh and `token` enrols.
    pub(crate) fn body(&self, name: &str, token: &str) -> Option<Value> {
        let tail = self.template.trim_start_matches("/api/v1");
        match (self.method.as_str(), tail) {
            ("POST", "/accounts") => Some(json!({ "name": name })),
            ("POST", "/bootstrap-tokens") => Some(json!({ "name": name })),
            ("POST", "/auth/keys") => Some(json!({ "name": name, "scopes": ["keys:create"] })),
            ("POST", "/agents/register") => Some(json!({ "name": name, "bootstrap_token": token })),
            ("POST", "/agents/handshake/begin") => {
                Some(json!({ "api_key": "", "identity_key": "", "agent_nonce": "" }))
            }
            ("POST", "/agents/handshake/complete") => {
                let nothing = json!({ "agent_id": "", "challenge": "", "signature": "" });
                let mut body = nothing.as_object().unwrap().clone();
                body.insert("version".to_owned(), "0.1.0".into());
                Some(body.into())
            }
            ("POST", "/discovery/ingest") => Some(json!({ "resources": [] })),
            ("POST", "/discovery/ingest/org") => Some(json!({ "accounts": [] })),
            ("POST", "/discovery/sync") => Some(json!({})),
            ("POST", "/agents/{id}/commands") => {
                Some(json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } }))
            }
            ("POST", "/commands") => {
                Some(json!({ "selector": {}, "kind": "subsystem.run", "params": {} }))
            }
            // Which is refused behind the gate where the caller has keys.
            ("POST", "/agents/metrics") => Some(json!({})),
            ("POST", "/agents/keys/rotate") => {
                Some(json!({ "payload": "", "signature": "", "successor_signature": "" }))
            }
            // Which is refused behind the gate, so that the keys stay what they are.
            ("POST", "/keys/rotate") => Some(json!({ "uses": [] })),
            ("POST", "/users") => Some(json!({ "name": name, "role": "viewer" })),
            ("POST", "/organisations") => Some(json!({ "id": name, "name": name, "admin": "ada" })),
            ("PATCH", "/accounts/{id}" | "/users/{id}" | "/organisations/{id}") => Some(json!({})),
            // Which are refused behind the gate.
            ("POST", "/auth/login" | "/auth/setup") => Some(json!({})),
            ("POST", "/auth/password") => {
                Some(json!({ "current_password": "x", "new_password": "a longer one" }))
            }
            ("PATCH", "/settings") => Some(json!({})),
            // Which names nothing that is pending, so that nothing is approved.
            ("POST", "/updates/approve") => {
                Some(json!({ "selector": { "all": true }, "packages": [{ "name": name }] }))
            }
            ("POST", "/updates/install") => Some(json!({ "selector": { "all": true } })),
            ("POST", "/agents/{id}/replace") => Some(json!({ "agent_id": "nobody" })),
            ("PATCH", "/agents/{id}/subsystems/{subsystem}") => Some(json!({ "auto_run": true })),
            ("PATCH", "/agents/{id}") => Some(json!({ "labels": {} })),
            _ => None,
        }
    }
}
