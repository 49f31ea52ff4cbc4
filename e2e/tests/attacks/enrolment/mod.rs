//! Attacks 1 to 5 and 7: tokens, seats, repeats, statements, accounts, approval.
//!
//! Every registration is tried both ways, REST and RPC, from one body; what came back is brought
//! into one form, after each transport's own form was checked.

mod accounts;
mod approval;
mod delivery;
mod lost;
mod repeats;
mod seats;
mod statements;
mod tokens;

use std::collections::BTreeSet;

use argosy_e2e::{
    agent::{TestAgent, registration_body},
    http::Answer,
    server::TestServer,
};
use argosy_wire::{
    bytes::decode,
    problem::Code,
    rpc::gateway::{
        EnrollmentStatus, KeyDelivery, KeyUse, RegisterRequest, RegisterResponse, RegisteredKey,
        SignedStatement,
    },
    sign::Signed,
    token::TokenString,
};
use connectrpc::ConnectError;
use serde_json::{Value, json};

use crate::gateway;

/// How a registration travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// `POST /api/v1/agents/register`.
    Rest,
    /// `Register`.
    Rpc,
}

const WAYS: [Way; 2] = [Way::Rest, Way::Rpc];

/// A registration that was taken.
#[derive(Debug, Clone)]
struct Taken {
    agent_id: String,
    status: String,
    fingerprint: Option<String>,
    api_key: Option<String>,
}

/// A registration that was refused.
#[derive(Debug, Clone)]
struct Refusal {
    code: Code,
    /// The field that is not valid, by its name in REST.
    field: Option<String>,
    /// Everything that could tell two refusals apart.
    shown: String,
}

impl Refusal {
    fn of_answer(answer: &Answer) -> Self {
        let code = Code::ALL.iter().find(|code| code.as_str() == answer.code());
        let code = *code.unwrap_or_else(|| panic!("no code in {answer:?}"));
        answer.refused(code.http(), code.as_str());
        let mut body = answer.body.clone();
        body.as_object_mut().unwrap().remove("trace_id");
        let headers = headers(&answer.headers);
        let field = body["errors"][0]["field"].as_str().map(str::to_owned);
        Self { code, field, shown: format!("{} {headers:?} {body}", answer.status) }
    }

    fn of_error(error: &ConnectError) -> Self {
        let code = gateway::code(error);
        let message = error.message.clone().unwrap_or_default();
        let (head, trailer) = (headers(error.response_headers()), headers(error.trailers()));
        let field = message.split(' ').next().unwrap().to_owned();
        let field = match field.as_str() {
            "enrollment_token" => "bootstrap_token".to_owned(),
            "statement.payload" => "statement".to_owned(),
            _ => field,
        };
        let field = (code == Code::Invalid).then_some(field);
        Self { code, field, shown: format!("{:?} {message} {head:?} {trailer:?}", error.code) }
    }
}

/// Headers without those that differ for every request.
fn headers(map: &http::HeaderMap) -> BTreeSet<(String, String)> {
    map.iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .filter(|(name, _)| !["date", "x-trace-id"].contains(&name.as_str()))
        .collect()
}

/// A token without keys.
fn bare(name: &str, token: &str) -> Value {
    json!({ "name": name, "bootstrap_token": token })
}

/// The token itself, with the agent's signed statement.
fn raw_with_statement(agent: &TestAgent, token: &str) -> Value {
    let signed = Signed::new(&agent.key, &agent.statement(&TokenString::parse(token).unwrap()));
    registration_body(&agent.name, token, &signed)
}

/// The same registration as a message.
fn message(body: &Value) -> RegisterRequest {
    let text = |field: &str| body[field].as_str().map(str::to_owned);
    let bytes = |text: &Value| decode(text.as_str().unwrap()).unwrap();
    let statement = body.get("statement").map(|payload| SignedStatement {
        payload: bytes(payload),
        signature: bytes(&body["statement_signature"]),
        ..Default::default()
    });
    let keys = body["keys"].as_array().into_iter().flatten().map(|key| RegisteredKey {
        r#use: match key["use"].as_str() {
            Some("identity") => KeyUse::KEY_USE_IDENTITY,
            Some("encryption") => KeyUse::KEY_USE_ENCRYPTION,
            _ => KeyUse::KEY_USE_DEVICE_SIGNING,
        }
        .into(),
        public_key: bytes(&key["public_key"]),
        proof: key.get("proof").map(bytes).unwrap_or_default(),
        ..Default::default()
    });
    RegisterRequest {
        enrollment_token: text("bootstrap_token").unwrap(),
        name: text("name").unwrap(),
        statement: statement.into(),
        keys: keys.collect(),
        account_id: body["account_id"].as_i64(),
        version: text("version"),
        hostname: text("hostname"),
        platform: text("platform"),
        key_delivery: match body["key_delivery"].as_str() {
            Some("operator") => KeyDelivery::KEY_DELIVERY_OPERATOR,
            _ => KeyDelivery::KEY_DELIVERY_UNSPECIFIED,
        }
        .into(),
        ..Default::default()
    }
}

fn taken(response: RegisterResponse) -> Taken {
    let told = response.enrollment_status.as_known().unwrap();
    let status = if told == EnrollmentStatus::ENROLLMENT_STATUS_CONFIRMED {
        "approved"
    } else {
        assert_eq!(told, EnrollmentStatus::ENROLLMENT_STATUS_AWAITING_CONFIRMATION);
        "pending_approval"
    };
    let fingerprint = response.identity_fingerprint;
    Taken {
        agent_id: response.agent_id,
        status: status.to_owned(),
        fingerprint: (!fingerprint.is_empty()).then_some(fingerprint),
        api_key: response.api_key,
    }
}

/// Tries a registration.
async fn register(server: &TestServer, way: Way, body: &Value) -> Result<Taken, Refusal> {
    match way {
        Way::Rest => {
            let answer = server.client.post_anonymous("/api/v1/agents/register", body).await;
            if answer.status != 201 {
                return Err(Refusal::of_answer(&answer));
            }
            let text = |field: &str| answer.body[field].as_str().map(str::to_owned);
            Ok(Taken {
                agent_id: answer.text("agent_id"),
                status: answer.text("approval_status"),
                fingerprint: text("fingerprint"),
                api_key: text("api_key"),
            })
        }
        Way::Rpc => match gateway::rpc(server).register(message(body)).await {
            Ok(response) => Ok(taken(response.into_owned())),
            Err(error) => Err(Refusal::of_error(&error)),
        },
    }
}

/// Tries a registration that must be refused so; `field` where one is named.
async fn refused(server: &TestServer, way: Way, body: &Value, code: Code, field: Option<&str>) {
    let refusal = register(server, way, body).await.unwrap_err();
    let told = (refusal.code, refusal.field.as_deref());
    assert_eq!(told, (code, field), "{way:?} {body} {refusal:?}");
}

/// What the server keeps about enrolment in one organisation, at a moment.
struct Books<'a> {
    server: &'a TestServer,
    key: String,
    agents: Vec<Value>,
    tokens: Vec<Value>,
    entries: BTreeSet<String>,
}

async fn items(server: &TestServer, key: &str, path: &str) -> Vec<Value> {
    let page = server.client.get(&format!("{path}?limit=500"), key).await.expect(200);
    assert_eq!(page["next_cursor"], Value::Null, "the list fits a page");
    page["items"].as_array().unwrap().clone()
}

impl<'a> Books<'a> {
    /// Reads the books of the default organisation.
    async fn of(server: &'a TestServer) -> Self {
        Self::of_key(server, &server.admin_key).await
    }

    /// Reads the books of the organisation of an administrator's key.
    async fn of_key(server: &'a TestServer, key: &str) -> Self {
        let id = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
        Self {
            server,
            key: key.to_owned(),
            agents: items(server, key, "/api/v1/agents").await,
            tokens: items(server, key, "/api/v1/bootstrap-tokens").await,
            entries: items(server, key, "/api/v1/audit").await.iter().map(id).collect(),
        }
    }

    /// Asserts that no agent and no token changed since, and that the audit log gained exactly
    /// these actions, each with its code where it has one.
    async fn only_recorded(&self, expected: &[(&str, &str)]) {
        let now = Self::of_key(self.server, &self.key).await;
        assert_eq!(now.agents, self.agents);
        assert_eq!(now.tokens, self.tokens);
        self.recorded(expected).await;
    }

    /// Asserts what the audit log gained since.
    async fn recorded(&self, expected: &[(&str, &str)]) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut gained: Vec<_> = items(self.server, &self.key, "/api/v1/audit")
            .await
            .into_iter()
            .filter(|entry| !self.entries.contains(entry["id"].as_str().unwrap()))
            .map(|entry| (text(&entry["action"]), text(&entry["detail"]["code"])))
            .collect();
        gained.sort();
        let mut expected: Vec<_> =
            expected.iter().map(|(action, code)| ((*action).into(), (*code).into())).collect();
        expected.sort();
        assert_eq!(gained, expected);
    }
}

/// The one audit entry of an action about an agent.
async fn entry(server: &TestServer, action: &str, agent_id: &str) -> Value {
    let target = format!("agent:{agent_id}");
    let mut entries = server.audit(action).await;
    entries.retain(|entry| entry["target"] == target.as_str());
    assert_eq!(entries.len(), 1, "{action} of {agent_id}");
    entries.remove(0)
}

/// A refused enrolment, as the audit log has it.
fn refusal(code: Code) -> (&'static str, &'static str) {
    ("enrolment.refused", code.as_str())
}

/// Uses of the token as the list shows them.
async fn uses(server: &TestServer, token: &str) -> i64 {
    let id = TokenString::parse(token).unwrap().id.to_string();
    let tokens = items(server, &server.admin_key, "/api/v1/bootstrap-tokens").await;
    let token = tokens.iter().find(|token| token["id"] == id.as_str()).unwrap();
    token["uses"].as_i64().unwrap()
}

/// An agent with the keys and the name of another, as after lost credentials.
fn reborn(agent: &TestAgent) -> TestAgent {
    let key = agent.key.clone();
    TestAgent { key, ..TestAgent::new(&agent.name) }
}
