//! Attack 13: session secrets and the command key change under running agents, and a secret that
//! is over is worth nothing.

use std::time::Duration;

use argosy_agent::engine::ServerIdentity;
use argosy_domain::{digest::Sha256, limits::SESSION_LIFE, time::Clock as _};
use argosy_e2e::{
    agent::TestAgent,
    clock::ManualClock,
    database::Place,
    on_both,
    server::{TestServer, settings},
};
use argosy_server::{
    app::{
        keyring::{CERTIFICATE_LIFE, RENEW_BEFORE, SESSION_ACTIVATION, SESSION_OVERLAP},
        seal::Sealer,
    },
    config::Settings,
};
use argosy_wire::{
    bytes::Fixed,
    rpc::gateway::Command,
    sign::Signed,
    statement::{CommandStatement, KeyCertificate},
    token::Secret32,
};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::{
    gateway::{self, Down},
    jws,
};

const ROTATE: &str = "/api/v1/keys/rotate";
const SIGNING: &str = "/api/v1/security/signing";
const SECOND: Duration = Duration::from_secs(1);

async fn rotate(server: &TestServer, uses: &[&str]) -> Value {
    let body = json!({ "uses": uses });
    server.client.post(ROTATE, &server.admin_key, &body).await.expect(200)
}

/// How the keys of a use stand, by serial: `("session-1", "active")`.
async fn standing(server: &TestServer, key_use: &str) -> Vec<(String, String)> {
    let listed = server.client.get(SIGNING, &server.admin_key).await.expect(200);
    let keys = listed["keys"].as_array().unwrap().iter().filter(|key| key["use"] == key_use);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    keys.map(|key| (text(&key["id"]), text(&key["status"]))).collect()
}

fn stands(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, status)| ((*id).to_owned(), (*status).to_owned())).collect()
}

fn kid(agent: &TestAgent) -> String {
    jws::parts(&agent.session)[0]["kid"].as_str().unwrap().to_owned()
}

/// A heartbeat with a nonce of the present.
async fn beats(server: &TestServer, agent: &mut TestAgent) -> u16 {
    let first = agent.heartbeat(server).await;
    if first.code() == "use_dpop_nonce" {
        agent.heartbeat(server).await.status
    } else {
        first.status
    }
}

/// The secret behind a kid, as somebody has it who read store and master key.
async fn stolen_secret(server: &TestServer, place: &Place, serial: i64) -> Secret32 {
    let entropy = argosy_config::host::OsEntropy;
    let sealer = Sealer::open(&place.data_dir.join("master.key"), &entropy).unwrap();
    let store = server.store().await;
    let rows = store.read("test").await.unwrap().server_keys().list().await.unwrap();
    store.close().await;
    let row = rows.iter().find(|row| row.key_use == "session" && row.serial == serial).unwrap();
    sealer.open_sealed("session", &serial.to_string(), &row.sealed_private).unwrap()
}

async fn old_tokens_hold_until_they_expire(place: Place) {
    let server = TestServer::start(&place).await;
    let mut early = TestAgent::in_session(&server, "early").await;
    assert_eq!(kid(&early), "session-1");
    rotate(&server, &["session"]).await;
    let expected = [("session-1", "active"), ("session-2", "next")];
    assert_eq!(standing(&server, "session").await, stands(&expected));
    // Until every replica has the new secret the old one signs.
    server.clock.advance(SESSION_ACTIVATION - SECOND);
    let mut late = TestAgent::in_session(&server, "late").await;
    assert_eq!(kid(&late), "session-1");
    server.clock.advance(SECOND);
    // Nobody is asked again: the nonces that were given out before are good.
    early.heartbeat(&server).await.expect(200);
    late.heartbeat(&server).await.expect(200);
    let expected = [("session-1", "retiring"), ("session-2", "active")];
    assert_eq!(standing(&server, "session").await, stands(&expected));
    let mut new = TestAgent::in_session(&server, "new").await;
    assert_eq!(kid(&new), "session-2");
    new.heartbeat(&server).await.expect(200);

    server.clock.advance(SESSION_LIFE - SECOND * 2);
    assert_eq!(beats(&server, &mut late).await, 200, "to its last second");
    assert_eq!(beats(&server, &mut early).await, 401);
    server.clock.advance(SECOND);
    late.heartbeat(&server).await.refused(401, "invalid_session");
    assert_eq!(beats(&server, &mut new).await, 200);
    late.handshake(&server).await.expect(200);
    assert_eq!((kid(&late), beats(&server, &mut late).await), ("session-2".to_owned(), 200));
}

async fn a_secret_that_is_over_makes_no_tokens(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    rotate(&server, &["session"]).await;
    let secret = stolen_secret(&server, &place, 1).await;
    let [header, claims] = jws::parts(&agent.session);
    let forge = |server: &TestServer| {
        let until = server.clock.now().plus(SESSION_LIFE);
        let claims = jws::with(&claims, "exp", json!(until.as_seconds()));
        jws::hmac_jws(secret.expose(), &header, &claims, Algorithm::HS256)
    };
    agent.session = forge(&server);
    assert_eq!(beats(&server, &mut agent).await, 200, "the forgery is a good one");
    server.clock.advance(SESSION_ACTIVATION + SESSION_OVERLAP);
    agent.session = forge(&server);
    agent.heartbeat(&server).await.refused(401, "invalid_session");
    // What is over is forgotten, and its number is not used again.
    server.app.retire_keys().await.unwrap();
    assert_eq!(standing(&server, "session").await, stands(&[("session-2", "active")]));
    agent.session = forge(&server);
    agent.heartbeat(&server).await.refused(401, "invalid_session");
    rotate(&server, &["session"]).await;
    let expected = [("session-2", "active"), ("session-3", "next")];
    assert_eq!(standing(&server, "session").await, stands(&expected));
}

async fn only_administrators_of_the_installation_rotate(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let other = server.other_organisation().await;
    let key = async |scopes: &[&str]| {
        let body = json!({ "name": "k", "scopes": scopes });
        server.client.post("/api/v1/auth/keys", &server.admin_key, &body).await.expect(201)["key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let viewer = key(&["agents:read", "server:read"]).await;
    let session = json!({ "uses": ["session"] });
    server.client.post_anonymous(ROTATE, &session).await.refused(401, "unauthenticated");
    server.client.post(ROTATE, &viewer, &session).await.refused(403, "forbidden");
    server.client.post(ROTATE, &other.admin_key, &session).await.refused(404, "not_found");
    server.client.get(SIGNING, &other.admin_key).await.refused(404, "not_found");
    server.client.get(SIGNING, &viewer).await.expect(200);
    server.client.get(SIGNING, &key(&["agents:read"]).await).await.refused(403, "forbidden");
    let by_agent = agent.call(&server, reqwest::Method::POST, ROTATE, Some(&session)).await;
    by_agent.refused(403, "forbidden");
    for uses in [json!([]), json!(["release"]), json!(["session", "everything"])] {
        let body = json!({ "uses": uses });
        server.client.post(ROTATE, &server.admin_key, &body).await.refused(422, "invalid");
    }
    assert_eq!(standing(&server, "session").await, stands(&[("session-1", "active")]));
    assert!(server.audit("server.keys_rotated").await.is_empty());

    rotate(&server, &["command", "session"]).await;
    let audited = server.audit("server.keys_rotated").await;
    assert_eq!((audited.len(), &audited[0]["actor"]), (1, &json!("user:admin")));
    assert_eq!(audited[0]["detail"], json!({ "keys": ["command-2", "session-2"] }));
    for _ in 0..6 {
        rotate(&server, &["session"]).await;
    }
    server.client.post(ROTATE, &server.admin_key, &session).await.refused(409, "wrong_state");
}

/// A command with what its key's certificate says, verified as an agent does.
fn verified(server: &ServerIdentity, command: Command) -> (String, KeyCertificate) {
    let signed = |statement: Option<&argosy_wire::rpc::gateway::SignedStatement>| {
        let statement = statement.unwrap();
        let signature = Fixed::from_slice(&statement.signature).unwrap();
        Signed { payload: statement.payload.clone(), signature }
    };
    let envelope = signed(command.envelope.as_option());
    let certificate = signed(command.certificate.as_option());
    let unverified: CommandStatement = argosy_wire::sign::read(&envelope.payload).unwrap();
    let now = Some(unverified.server_time);
    let statement: CommandStatement = server.verify(&envelope, &certificate, now).unwrap();
    (statement.command_id.to_string(), certificate.verify(server.key()).unwrap())
}

async fn order(server: &TestServer, agent: &TestAgent) -> String {
    let path = format!("/api/v1/agents/{}/commands", agent.agent_id);
    let body = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
    let answer = server.client.post(&path, &server.admin_key, &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.text("id")
}

async fn commands_flow_across_a_rotation_of_their_key(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let identity = ServerIdentity::new(server.app.keyring().identity_public());
    let waiting = order(&server, &agent).await;
    rotate(&server, &["command"]).await;
    let rpc = gateway::rpc(&server);
    let options = gateway::session(&agent, &server, gateway::STREAM);
    let mut stream = gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap();
    let mut next = async || match gateway::next(&mut stream).await.unwrap() {
        Some(Down::Command(command)) => verified(&identity, *command),
        other => panic!("no command: {other:?}"),
    };
    // What waited is signed when it is sent; what comes later is signed by the key of that time.
    let (id, certificate) = next().await;
    assert_eq!((id, certificate.serial), (waiting, 2));
    for serial in 3..5 {
        rotate(&server, &["command"]).await;
        let given = order(&server, &agent).await;
        let (id, certificate) = next().await;
        assert_eq!((id, certificate.serial), (given, serial));
    }
    // A handshake is proved by the new key too.
    let mut newcomer = TestAgent::in_session(&server, "web-2").await;
    newcomer.heartbeat(&server).await.expect(200);
}

fn serials(keys: &Value) -> Vec<i64> {
    let certificates = keys["certificates"].as_array().unwrap().iter();
    let mut serials: Vec<i64> = certificates
        .map(|signed| {
            let payload = argosy_wire::bytes::decode(signed["payload"].as_str().unwrap()).unwrap();
            argosy_wire::sign::read::<KeyCertificate>(&payload).unwrap()
        })
        .filter(|certificate| certificate.usage == "command")
        .map(|certificate| certificate.serial)
        .collect();
    serials.sort_unstable();
    serials
}

async fn the_command_key_is_renewed_before_its_certificate_ends(place: Place) {
    let server = TestServer::start(&place).await;
    let published = async || {
        let answer =
            server.client.send(reqwest::Method::GET, "/.well-known/argosy/keys", &[], None);
        serials(&answer.await.expect(200))
    };
    assert_eq!(published().await, [1]);
    server.clock.advance(CERTIFICATE_LIFE - RENEW_BEFORE - SECOND);
    server.app.renew_keys().await.unwrap();
    assert_eq!(published().await, [1]);
    server.clock.advance(SECOND * 2);
    server.app.renew_keys().await.unwrap();
    assert_eq!(published().await, [1, 2], "what the old key signed still holds");
    let entry = &server.audit("server.keys_rotated").await[0];
    assert_eq!(entry["actor"], "server");
    server.clock.advance(RENEW_BEFORE);
    assert_eq!(published().await, [2]);
    let expected = [("command-1", "expired"), ("command-2", "active")];
    assert_eq!(standing(&server, "command").await, stands(&expected));
    TestAgent::in_session(&server, "web-1").await;
}

async fn a_configured_secret_is_taken_up_once(place: Place) {
    let (one, two) = ("1".repeat(40), "2".repeat(40));
    let first = Settings { session_secret: Some(one.clone()), ..settings(&place) };
    let server = TestServer::start_with(first, ManualClock::default()).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let secret = Sha256::of(one.as_bytes());
    let [header, claims] = jws::parts(&agent.session);
    let own = jws::hmac_jws(&secret.0, &header, &claims, Algorithm::HS256);
    agent.session = own;
    agent.heartbeat(&server).await.expect(200);
    rotate(&server, &["session"]).await;
    // The same again says nothing new, though another secret signs since and the first is gone.
    server.clock.advance(SESSION_ACTIVATION + SESSION_OVERLAP);
    server.app.retire_keys().await.unwrap();
    let server = server.restart().await;
    assert_eq!(standing(&server, "session").await, stands(&[("session-2", "active")]));
    agent.handshake(&server).await.expect(200);
    // Another one becomes the next, and what was valid stays valid.
    let server = server.restart_with(|settings| settings.session_secret = Some(two)).await;
    let expected = [("session-2", "active"), ("session-3", "next")];
    assert_eq!(standing(&server, "session").await, stands(&expected));
    agent.heartbeat(&server).await.expect(200);
    server.clock.advance(SESSION_ACTIVATION);
    let mut newcomer = TestAgent::in_session(&server, "web-2").await;
    assert_eq!(kid(&newcomer), "session-3");
    newcomer.heartbeat(&server).await.expect(200);
    agent.heartbeat(&server).await.expect(200);
}

on_both!(
    old_tokens_hold_until_they_expire,
    a_secret_that_is_over_makes_no_tokens,
    only_administrators_of_the_installation_rotate,
    commands_flow_across_a_rotation_of_their_key,
    the_command_key_is_renewed_before_its_certificate_ends,
    a_configured_secret_is_taken_up_once,
);
