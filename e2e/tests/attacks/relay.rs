//! Attack 8a: whoever holds an API key alone, or reads a whole registration.

use argosy_e2e::{
    agent::{TestAgent, registration_body},
    database::Place,
    http::Answer,
    on_both,
    server::TestServer,
};
use argosy_wire::{
    bytes::{Bytes32, decode, encode},
    problem::Code,
    rpc::admin::ListAgentsRequest,
    sign::{Purpose, Signed, Statement as _, read},
    statement::EnrolmentStatement,
};
use ed25519_dalek::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway;

/// Routes that ask nobody who they are.
const OPEN: [&str; 10] = [
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/setup",
    "GET /.well-known/argosy/keys",
    "GET /api/v1/health",
    "GET /health",
    "GET /metrics",
    "GET /ready",
    "POST /api/v1/agents/handshake/begin",
    "POST /api/v1/agents/handshake/complete",
    "POST /api/v1/agents/register",
];

/// Every route of the OpenAPI document, and of its mirror, with an id in place of each parameter.
async fn routes(server: &TestServer, id: &str) -> Vec<(Method, String, bool)> {
    let document = server.client.get("/api/v1/openapi.json", "").await.expect(200);
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete", "head", "options", "trace"] {
            if item.get(method).is_none() {
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            let open = OPEN.contains(&format!("{method} {path}").as_str());
            let filled = path.split('/').map(|part| if part.starts_with('{') { id } else { part });
            let filled = filled.collect::<Vec<_>>().join("/");
            for shared in ["agents", "bootstrap-tokens"] {
                if let Some(rest) = filled.strip_prefix(&format!("/api/v1/{shared}")) {
                    let mirrored = format!("/api/v1/discovery/{shared}{rest}");
                    routes.push((method.clone(), mirrored, open));
                }
            }
            routes.push((method, filled, open));
        }
    }
    assert_eq!(routes.iter().filter(|(.., open)| *open).count(), OPEN.len() + 3);
    assert!(routes.len() > 40, "{}", routes.len());
    routes
}

async fn an_api_key_alone_opens_no_route_for_an_agent_with_keys(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::admitted(&server, "web-1").await;
    let (before, mut refusals) = (server.agent(&agent.agent_id).await, 0);
    let bearer = format!("Bearer {}", agent.api_key);
    for (method, path, open) in routes(&server, &agent.agent_id).await {
        let body = json!({});
        let send = async |headers: &[(&str, &str)]| {
            server.client.send(method.clone(), &path, headers, Some(&body)).await
        };
        let answer = send(&[("authorization", &bearer)]).await;
        let anonymous = send(&[]).await;
        if open {
            let both = (answer.status, answer.code());
            assert_eq!(both, (anonymous.status, anonymous.code()), "{method} {path}");
            assert_ne!(answer.status, 401, "{method} {path}");
            continue;
        }
        assert_eq!((answer.status, answer.code()), (401, "proof_required"), "{method} {path}");
        assert_eq!(answer.headers["www-authenticate"], r#"DPoP error="invalid_token""#);
        let code = (anonymous.status, anonymous.code());
        assert_eq!(code, (401, "unauthenticated"), "{method} {path}");
        refusals += 1;
        let in_other_places = [("x-api-key", agent.api_key.as_str()), ("cookie", "session=x")];
        send(&in_other_places).await.refused(401, "unauthenticated");
    }
    assert_eq!(server.audit("session.proof_required").await.len(), refusals);
    assert_eq!(server.agent(&agent.agent_id).await, before);
}

async fn an_api_key_alone_opens_no_rpc_for_an_agent_with_keys(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::admitted(&server, "web-1").await;
    let before = server.agent(&agent.agent_id).await;
    let (rpc, key) = (gateway::rpc(&server), || gateway::bearer(&agent.api_key));
    let error = gateway::heartbeat(&rpc, key()).await.unwrap_err();
    assert_eq!(gateway::code(&error), Code::ProofRequired);
    let error = gateway::upload(&rpc, key()).await.unwrap_err();
    assert_eq!(gateway::code(&error), Code::ProofRequired);
    let stream = gateway::open(&rpc, key(), gateway::hello(&agent)).await;
    assert_eq!(stream.map(drop), Err(Code::ProofRequired));
    let admin = gateway::admin(&server);
    let listed = admin.list_agents_with_options(ListAgentsRequest::default(), key()).await;
    assert_eq!(gateway::code(&listed.map(drop).unwrap_err()), Code::ProofRequired);
    assert_eq!(server.audit("session.proof_required").await.len(), 4);
    assert_eq!(server.agent(&agent.agent_id).await, before);
    assert!(!server.app.hub().has(&agent.id()));
}

/// The relay sees every byte of a registration and of its answer, and has keys of its own.
struct Relay {
    own: TestAgent,
    seen: Value,
    signed: Signed,
    statement: EnrolmentStatement,
}

impl Relay {
    fn new(seen: &Value) -> Self {
        let text = |field: &str| seen[field].as_str().unwrap();
        let payload = decode(text("statement")).unwrap();
        let statement = read(&payload).unwrap();
        let signature = text("statement_signature").parse().unwrap();
        let signed = Signed { payload, signature };
        Self { own: TestAgent::new("web-1"), seen: seen.clone(), signed, statement }
    }

    fn proof(&self) -> &str {
        self.seen["bootstrap_token"].as_str().unwrap()
    }

    /// A statement under the seen proof.
    fn with(&self, key: &SigningKey, statement: &EnrolmentStatement) -> Value {
        let signed = Signed::new(key, statement);
        registration_body(&statement.name, self.proof(), &signed)
    }

    /// The seen statement with keys of the relay's, however they may be brought in.
    fn mixes(&self) -> Vec<(&'static str, Value, u16, &'static str)> {
        let (own, victim) = (&self.own, &self.statement);
        let own_keys = EnrolmentStatement {
            identity_key: own.public_key(),
            encryption_key: own.encryption_key,
            ..victim.clone()
        };
        let only_sealed_to =
            EnrolmentStatement { encryption_key: own.encryption_key, ..victim.clone() };
        let only_device =
            EnrolmentStatement { device_signing_key: Some(own.public_key()), ..victim.clone() };
        let only_name = EnrolmentStatement { name: "db-1".to_owned(), ..victim.clone() };
        let seen_signature = |statement: &EnrolmentStatement| {
            let signature = self.signed.signature;
            let signed = Signed { payload: statement.to_payload(), signature };
            registration_body(&statement.name, self.proof(), &signed)
        };
        let listed = |usage: &str, key: Bytes32| {
            let mut body = self.seen.clone();
            body["keys"] = json!([{ "use": usage, "public_key": key.to_string() }]);
            body
        };
        let token = |text: String| {
            let mut body = self.with(&own.key, &own_keys);
            body["bootstrap_token"] = json!(text);
            body
        };
        let resigned =
            Signed { payload: self.signed.payload.clone(), ..Signed::new(&own.key, victim) };
        let (head, mac) = self.proof().split_at(self.proof().len() - 43);
        let as_token = format!("{}{mac}", head.replace("bootproof_", "boot_"));
        let mut no_statement = json!({ "name": "web-1", "bootstrap_token": self.proof() });
        let keyless = no_statement.clone();
        no_statement["keys"] = listed("identity", own.public_key())["keys"].clone();
        vec![
            ("own statement, seen proof", self.with(&own.key, &own_keys), 401, "invalid_token"),
            ("own keys, seen signature", seen_signature(&own_keys), 401, "unauthenticated"),
            ("own encryption key", seen_signature(&only_sealed_to), 401, "unauthenticated"),
            ("own device key", seen_signature(&only_device), 401, "unauthenticated"),
            ("another name", seen_signature(&only_name), 401, "unauthenticated"),
            (
                "victim's key named, own signature",
                self.with(&own.key, &only_sealed_to),
                401,
                "unauthenticated",
            ),
            (
                "seen statement, own signature",
                registration_body("web-1", self.proof(), &resigned),
                401,
                "unauthenticated",
            ),
            ("own identity listed", listed("identity", own.public_key()), 422, "invalid"),
            ("own encryption listed", listed("encryption", own.encryption_key), 422, "invalid"),
            ("own device key listed", listed("device-signing", own.public_key()), 422, "invalid"),
            ("keys without a statement", no_statement, 422, "invalid"),
            ("proof without a statement", keyless, 401, "invalid_token"),
            ("proof as a token", token(as_token), 401, "invalid_token"),
            ("proof without its mac", token(head.to_owned()), 401, "invalid_token"),
            (
                "proof with another mac",
                token(format!("{head}{}", encode(&[7; 32]))),
                401,
                "invalid_token",
            ),
        ]
    }
}

/// Seats that a token has given away.
async fn uses(server: &TestServer) -> Value {
    let page = server.client.get("/api/v1/bootstrap-tokens", &server.admin_key).await.expect(200);
    page["items"].as_array().unwrap().iter().map(|token| token["uses"].clone()).collect()
}

async fn a_relay_enrols_nothing_with_what_it_saw(place: Place) {
    let server = TestServer::start(&place).await;
    let register = async |body: &Value| -> Answer {
        server.client.post_anonymous("/api/v1/agents/register", body).await
    };
    // The token has seats left: it is not for want of a seat that the relay gets none.
    let token = server.token(json!({ "max_uses": 5 })).await;
    let mut victim = TestAgent::new("web-1");
    let seen = victim.registration(&token);
    assert!(!seen.to_string().contains(&token[token.len() - 43..]), "the token travels");
    let relay = Relay::new(&seen);
    // The relay holds the registration back and tries first.
    for (what, body, status, code) in relay.mixes() {
        let answer = register(&body).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{what}: {answer:?}");
    }
    assert_eq!(server.agents().await, [Value::Null; 0]);
    assert_eq!(uses(&server).await, json!([0]));
    let refused = server.audit("enrolment.refused").await;
    for code in ["invalid_token", "unauthenticated"] {
        let recorded = refused.iter().filter(|entry| entry["detail"]["code"] == code).count();
        let tried = relay.mixes().iter().filter(|mix| mix.3 == code).count();
        assert_eq!(recorded, tried, "{code}");
    }
    // It lets it pass, and tries with what the answer said besides.
    let answer = register(&seen).await.expect(201);
    victim.agent_id = answer["agent_id"].as_str().unwrap().to_owned();
    victim.api_key = answer["api_key"].as_str().unwrap().to_owned();
    let before = server.agent(&victim.agent_id).await;
    for (what, body, status, code) in relay.mixes() {
        let answer = register(&body).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{what}: {answer:?}");
    }
    let stolen = TestAgent { key: relay.own.key.clone(), ..victim.clone() };
    server.decide(&victim.agent_id, "approve", json!({})).await.expect(200);
    stolen.begin(&server).await.refused(401, "unauthenticated");
    // The victim's public key and API key get a challenge, which the relay cannot answer.
    let begun = victim.begin(&server).await.expect(200);
    let body = stolen.completion(&stolen.handshake_statement(&begun), Purpose::Handshake);
    stolen.clone().complete(&server, &body).await.refused(401, "handshake_refused");
    // The registration once more, word for word: the same agent, and no key.
    let again = register(&seen).await.expect(201);
    assert_eq!(again["agent_id"].as_str(), Some(victim.agent_id.as_str()));
    assert_eq!(again.get("api_key"), None);
    assert_eq!(server.agents().await.len(), 1);
    assert_eq!(uses(&server).await, json!([1]));
    let after = server.agent(&victim.agent_id).await;
    assert_eq!(after["fingerprint"], before["fingerprint"]);
    assert_eq!(after["name"], before["name"]);
    victim.handshake(&server).await.expect(200);
}

on_both!(
    an_api_key_alone_opens_no_route_for_an_agent_with_keys,
    an_api_key_alone_opens_no_rpc_for_an_agent_with_keys,
    a_relay_enrols_nothing_with_what_it_saw,
);
