//! Attack 9: session tokens and proofs that are not the agent's own for this very call.

use std::time::Duration;

use argosy_config::host::OsEntropy;
use argosy_domain::{entropy::random_bytes, limits::SESSION_LIFE};
use argosy_e2e::{agent::TestAgent, database::Place, http::Answer, on_both, server::TestServer};
use argosy_wire::{bytes::decode, sign::Purpose};
use ed25519_dalek::SigningKey;
use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    gateway,
    jws::{hmac_jws, jws, parts, signing_input, with},
};

/// A heartbeat over REST.
pub(crate) const HEARTBEAT: &str = "/api/v1/agents/heartbeat";
/// Discovered resources over REST.
pub(crate) const INGEST: &str = "/api/v1/discovery/ingest";

/// A heartbeat with any headers.
pub(crate) async fn heartbeat_with(server: &TestServer, headers: &[(&str, &str)]) -> Answer {
    server.client.send(Method::POST, HEARTBEAT, headers, Some(&json!({}))).await
}

/// A heartbeat with any token and proof, over REST and over RPC; both must answer the same.
pub(crate) async fn try_both(server: &TestServer, token: &str, proof: [&str; 2]) -> Answer {
    let authorization = format!("DPoP {token}");
    let headers = [("authorization", authorization.as_str()), ("dpop", proof[0])];
    let answer = heartbeat_with(server, &headers).await;
    let options = gateway::proved(token, proof[1]);
    let rpc = gateway::heartbeat(&gateway::rpc(server), options).await;
    let code = rpc.map_err(|error| gateway::code(&error).as_str());
    assert_eq!(code.err().unwrap_or_default(), answer.code());
    answer
}

/// The agent with a key that is not its own.
fn thief(agent: &TestAgent) -> TestAgent {
    TestAgent { key: SigningKey::from_bytes(&random_bytes(&OsEntropy)), ..agent.clone() }
}

/// A fresh proof for a heartbeat over REST, and one over RPC.
pub(crate) fn proofs(agent: &TestAgent, server: &TestServer) -> [String; 2] {
    [HEARTBEAT, gateway::HEARTBEAT].map(|path| agent.proof(server, "POST", path))
}

/// Never seen since the session began, and the genuine session still works.
pub(crate) async fn is_unharmed(server: &TestServer, agent: &mut TestAgent) {
    assert_eq!(server.agent(&agent.agent_id).await["last_seen_at"], Value::Null);
    agent.heartbeat(server).await.expect(200);
}

/// Reasons of refused proofs under genuine sessions of an agent, newest first.
pub(crate) async fn refusals(server: &TestServer, agent: &TestAgent) -> Vec<String> {
    let target = format!("agent:{}", agent.agent_id);
    let entries = server.audit("session.refused").await;
    let own = entries.iter().filter(|entry| entry["target"].as_str() == Some(target.as_str()));
    own.map(|entry| entry["detail"]["reason"].as_str().unwrap().to_owned()).collect()
}

async fn a_session_ends_after_an_hour(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    server.clock.advance(SESSION_LIFE - Duration::from_secs(1));
    agent.heartbeat(&server).await.refused(401, "use_dpop_nonce");
    agent.heartbeat(&server).await.expect(200);
    let seen = server.agent(&agent.agent_id).await["last_seen_at"].clone();
    server.clock.advance(Duration::from_secs(1));
    let [rest, rpc] = proofs(&agent, &server);
    let answer = try_both(&server, &agent.session, [&rest, &rpc]).await;
    answer.refused(401, "invalid_session");
    assert_eq!(answer.headers["www-authenticate"], r#"DPoP error="invalid_token""#);
    assert_eq!(server.agent(&agent.agent_id).await["last_seen_at"], seen);
    agent.handshake(&server).await.expect(200);
    agent.heartbeat(&server).await.expect(200);
}

/// There is no other renewal than a handshake of the agent's own with a fresh challenge.
async fn a_session_is_renewed_by_a_new_handshake_only(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::admitted(&server, "web-1").await;
    let mut other = TestAgent::admitted(&server, "web-2").await;
    let begun = agent.begin(&server).await.expect(200);
    let statement = agent.handshake_statement(&begun);
    let old = agent.completion(&statement, Purpose::Handshake);
    agent.complete(&server, &old).await.expect(200);
    server.clock.advance(SESSION_LIFE * 2 / 3);
    // With the old handshake once more.
    agent.clone().complete(&server, &old).await.refused(401, "handshake_refused");
    // With a challenge that was given to another agent.
    let foreign = other.handshake_statement(&other.begin(&server).await.expect(200));
    let mut own = foreign.clone();
    own.agent = agent.id();
    let body = agent.completion(&own, Purpose::Handshake);
    agent.clone().complete(&server, &body).await.refused(401, "handshake_refused");
    // With the session in place of the handshake.
    for path in ["/api/v1/agents/handshake/begin", "/api/v1/agents/handshake/complete"] {
        let answer = agent.clone().call(&server, Method::POST, path, Some(&json!({}))).await;
        answer.refused(422, "invalid");
    }
    // None of it harmed anybody.
    let body = other.completion(&foreign, Purpose::Handshake);
    other.complete(&server, &body).await.expect(200);
    agent.handshake(&server).await.expect(200);
    agent.heartbeat(&server).await.expect(200);
    assert_eq!(server.agent(&agent.agent_id).await["status"], "approved");
}

async fn a_stolen_token_is_nothing_without_the_key(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let (dpop, bearer) = (format!("DPoP {}", agent.session), format!("Bearer {}", agent.session));
    let [rest, rpc] = proofs(&thief(&agent), &server);
    let by_a_thief = try_both(&server, &agent.session, [&rest, &rpc]).await;
    by_a_thief.refused(401, "invalid_dpop_proof");
    assert_eq!(by_a_thief.headers["www-authenticate"], r#"DPoP error="invalid_dpop_proof""#);
    let why = "the proof is by another key than the session's";
    assert_eq!(refusals(&server, &agent).await, [why]);
    heartbeat_with(&server, &[("authorization", &dpop)]).await.refused(401, "invalid_dpop_proof");
    heartbeat_with(&server, &[("authorization", &bearer)]).await.refused(401, "unauthenticated");
    let proof = agent.proof(&server, "POST", HEARTBEAT);
    let as_bearer = [("authorization", bearer.as_str()), ("dpop", proof.as_str())];
    heartbeat_with(&server, &as_bearer).await.refused(401, "unauthenticated");
    let in_query = format!("{HEARTBEAT}?access_token={}", agent.session);
    let answer = server.client.post_anonymous(&in_query, &json!({})).await;
    answer.refused(401, "unauthenticated");
    // Credentials are never the first, or the last, of several.
    let twice = [("authorization", dpop.as_str()), ("authorization", dpop.as_str())];
    heartbeat_with(&server, &twice).await.refused(401, "unauthenticated");
    let (one, two) = (agent.proof(&server, "POST", HEARTBEAT), "x");
    for proofs in [[one.as_str(), two], [two, one.as_str()]] {
        let headers = [("authorization", dpop.as_str()), ("dpop", proofs[0]), ("dpop", proofs[1])];
        heartbeat_with(&server, &headers).await.refused(401, "invalid_dpop_proof");
    }
    is_unharmed(&server, &mut agent).await;
}

/// The record of misuse cannot be made to grow without end by whoever has a stolen token.
async fn misuse_of_a_session_is_recorded_once_in_a_while(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    for _ in 0..5 {
        let [rest, rpc] = proofs(&thief(&agent), &server);
        try_both(&server, &agent.session, [&rest, &rpc]).await.refused(401, "invalid_dpop_proof");
    }
    assert_eq!(refusals(&server, &agent).await.len(), 1);
    server.clock.advance(Duration::from_secs(60));
    let [rest, rpc] = proofs(&thief(&agent), &server);
    try_both(&server, &agent.session, [&rest, &rpc]).await.refused(401, "invalid_dpop_proof");
    assert_eq!(refusals(&server, &agent).await.len(), 2);
    is_unharmed(&server, &mut agent).await;
}

async fn a_session_token_cannot_be_made_or_changed(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let other = TestAgent::in_session(&server, "web-2").await;
    let [header, claims] = parts(&agent.session);
    let signature = agent.session.rsplit('.').next().unwrap();
    let resigned =
        |header: &Value, claims: &Value| format!("{}.{signature}", signing_input(header, claims));
    let exp = claims["exp"].as_i64().unwrap();
    let keys = server.client.get("/.well-known/argosy/keys", "").await.expect(200);
    let identity = decode(keys["identity_key"].as_str().unwrap()).unwrap();
    let hs = |secret: &[u8]| hmac_jws(secret, &header, &claims, Algorithm::HS256);
    let proof_as_token = agent.proof(&server, "POST", HEARTBEAT);
    let another_kid = with(&header, "kid", json!("../../dev/null"));
    let forged = [
        ("another agent", resigned(&header, &with(&claims, "sub", json!(other.agent_id)))),
        ("another tenant", resigned(&header, &with(&claims, "org", json!("other")))),
        ("a longer life", resigned(&header, &with(&claims, "exp", json!(exp + 86_400)))),
        ("a later epoch", resigned(&header, &with(&claims, "epoch", json!(2)))),
        (
            "another key",
            resigned(&header, &with(&claims, "cnf", parts(&other.session)[1]["cnf"].clone())),
        ),
        (
            "none, unsigned",
            format!("{}.", signing_input(&with(&header, "alg", json!("none")), &claims)),
        ),
        ("none, with the signature", resigned(&with(&header, "alg", json!("none")), &claims)),
        ("an empty secret", hs(b"")),
        ("the server's public key", hs(&identity)),
        ("the server's thumbprint", hs(claims["iss"].as_str().unwrap().as_bytes())),
        ("the kid", hs(header["kid"].as_str().unwrap().as_bytes())),
        ("HS512", hmac_jws(b"", &with(&header, "alg", json!("HS512")), &claims, Algorithm::HS512)),
        ("EdDSA by the agent", jws(&agent.key, &with(&header, "alg", json!("EdDSA")), &claims)),
        ("another kid", resigned(&another_kid, &claims)),
        ("no kid", resigned(&with(&header, "kid", Value::Null), &claims)),
        ("another typ", resigned(&with(&header, "typ", json!("dpop+jwt")), &claims)),
        ("without signature", signing_input(&header, &claims)),
        ("a proof in its place", proof_as_token),
        ("the API key", agent.api_key.clone()),
        ("garbage", "a.b.c".to_owned()),
        ("nothing", String::new()),
    ];
    for (what, token) in &forged {
        let bearer = TestAgent { session: token.clone(), ..agent.clone() };
        let [rest, rpc] = proofs(&bearer, &server);
        let authorization = format!("DPoP {token}");
        let headers = [("authorization", authorization.as_str()), ("dpop", rest.as_str())];
        let answer = heartbeat_with(&server, &headers).await;
        assert_eq!(answer.status, 401, "{what}");
        let code = if *what == "nothing" { answer.code() } else { "invalid_session" };
        assert_eq!(answer.code(), code, "{what}");
        let options = gateway::proved(token, &rpc);
        let error = gateway::heartbeat(&gateway::rpc(&server), options).await.unwrap_err();
        assert_eq!(gateway::code(&error).http(), 401, "{what}");
    }
    // Only genuine sessions are worth a record.
    assert_eq!(server.audit("session.refused").await, [Value::Null; 0]);
    assert_eq!(server.agent(&other.agent_id).await["last_seen_at"], Value::Null);
    is_unharmed(&server, &mut agent).await;
}

/// A session of one server is nothing to another, even with the agent known to both.
async fn a_session_is_one_servers(place: Place) {
    let server = TestServer::start(&place).await;
    let folder = place.data_dir.join("other");
    let other = TestServer::start(&Place { data_dir: folder, database_url: None }).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    agent.nonce = other.app.dpop_nonce();
    let [rest, rpc] = proofs(&agent, &other);
    let answer = try_both(&other, &agent.session, [&rest, &rpc]).await;
    answer.refused(401, "invalid_session");
}

async fn a_session_speaks_for_its_own_agent_only(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let other = TestAgent::in_session(&server, "web-2").await;
    let resource = json!({
        "provider": "aws", "region": "eu-central-1", "resource_type": "vpc",
        "resource_id": "vpc-1", "name": "main",
    });
    let foreign = json!({ "agent_id": other.agent_id, "version": "9.9.9", "hostname": "stolen" });
    let answer = agent.call(&server, Method::POST, HEARTBEAT, Some(&foreign)).await;
    answer.refused(403, "forbidden");
    let bodies = [
        json!({ "account_id": 1, "resources": [resource], "agent_id": other.agent_id }),
        json!({ "account_id": 2, "resources": [resource] }),
    ];
    for body in bodies {
        agent.call(&server, Method::POST, INGEST, Some(&body)).await.refused(403, "forbidden");
    }
    let other_shown = server.agent(&other.agent_id).await;
    assert_eq!(other_shown["last_seen_at"], Value::Null);
    assert_eq!(other_shown["hostname"], "test-host");
    let list = "/api/v1/discovery/resources";
    let resources = server.client.get(list, &server.admin_key).await.expect(200);
    assert_eq!(resources["items"], json!([]));
    is_unharmed(&server, &mut agent).await;
    // Its own id is no other's.
    let own = json!({ "agent_id": agent.agent_id });
    agent.call(&server, Method::POST, HEARTBEAT, Some(&own)).await.expect(200);
}

on_both!(
    a_session_ends_after_an_hour,
    a_session_is_renewed_by_a_new_handshake_only,
    a_stolen_token_is_nothing_without_the_key,
    misuse_of_a_session_is_recorded_once_in_a_while,
    a_session_token_cannot_be_made_or_changed,
    a_session_is_one_servers,
    a_session_speaks_for_its_own_agent_only,
);
