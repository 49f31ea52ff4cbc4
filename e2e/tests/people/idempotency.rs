//! `Idempotency-Key`: a write that comes again is answered again, and done once.

use std::time::Duration;

use argosy_domain::{
    digest::Sha256, id::OrgId, limits::IDEMPOTENT_ANSWER_BYTES_MAX, time::Clock as _,
};
use argosy_e2e::{
    agent::TestAgent, database::Place, http::Answer, on_both, process::until, server::TestServer,
};
use argosy_store::{AskedWrite, Claim, Claimed, Keeping, within};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

const USERS: &str = "/api/v1/users";
const KEY: &str = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"";

async fn send(
    server: &TestServer,
    (method, path): (Method, &str),
    api_key: &str,
    key: &str,
    body: Option<&Value>,
) -> Answer {
    let bearer = format!("Bearer {api_key}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    server.client.send(method, path, &headers, body).await
}

async fn make(server: &TestServer, key: &str, body: &Value) -> Answer {
    send(server, (Method::POST, USERS), &server.admin_key, key, Some(body)).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

async fn users(server: &TestServer) -> usize {
    let users = server.client.get(USERS, &server.admin_key).await.expect(200);
    users["items"].as_array().unwrap().len()
}

fn ada() -> Value {
    json!({ "name": "ada", "role": "viewer" })
}

/// The write of [`make`], as the store knows it.
async fn asked(server: &TestServer, body: &Value) -> AskedWrite {
    let keys = server.client.get("/api/v1/auth/keys", &server.admin_key).await.expect(200);
    let own = keys["items"].as_array().unwrap().iter().find(|key| key["parent_id"].is_null());
    AskedWrite {
        org: OrgId::default_org(),
        caller: format!("key:{}", own.unwrap()["id"].as_str().unwrap()),
        key: KEY.trim_matches('"').to_owned(),
        request_sha256: Sha256::of(format!("POST {USERS}\0{body}").as_bytes()),
    }
}

/// What the store says of the write of [`make`].
async fn claim(server: &TestServer, body: &Value) -> Claimed {
    claim_since(server, body, Duration::from_secs(60)).await
}

async fn claim_since(server: &TestServer, body: &Value, kept: Duration) -> Claimed {
    let asked = asked(server, body).await;
    let store = server.store().await;
    let now = server.clock.now();
    let kept_since = now.minus(kept);
    let keeping = Keeping { now, kept_since, given_up_before: now, writes_max: 10 };
    let mut tx = store.write("test").await.unwrap();
    let claimed = tx.idempotent_writes().claim(&asked, keeping).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    claimed
}

async fn taken(server: &TestServer, body: &Value) -> Claim {
    let claimed = claim(server, body).await;
    let Claimed::Taken(claim) = claimed else { panic!("{claimed:?}") };
    claim
}

async fn a_write_that_comes_again_is_done_once(place: Place) {
    let server = TestServer::start(&place).await;
    let first = make(&server, KEY, &ada()).await;
    assert!(!is_replayed(&first));
    let password = first.text("password");
    // With and without the quotes of a structured header.
    for key in [KEY, KEY.trim_matches('"')] {
        let again = make(&server, key, &ada()).await;
        assert!(is_replayed(&again), "{again:?}");
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.headers["content-type"], first.headers["content-type"]);
    }
    assert_eq!((users(&server).await, server.audit("user.created").await.len()), (1, 1));
    let Claimed::Done(Some(kept)) = claim(&server, &ada()).await else { panic!("no answer") };
    let clear = kept.windows(password.len()).any(|bytes| bytes == password.as_bytes());
    assert!(!clear, "what is shown once is sealed");

    let path = format!("{USERS}/{}", first.text("id"));
    for _ in 0..2 {
        let delete = (Method::DELETE, path.as_str());
        send(&server, delete, &server.admin_key, "delete-it", None).await.expect(204);
    }
    server.client.delete(&path, &server.admin_key).await.refused(404, "not_found");
    // An agent, whose proofs are good once: each repetition has one of its own.
    let agent = TestAgent::in_session(&server, "web-1").await;
    let heartbeat = "/api/v1/agents/heartbeat";
    let session = format!("DPoP {}", agent.session);
    for replayed in [false, true] {
        let proof = agent.proof(&server, "POST", heartbeat);
        let headers =
            [("authorization", session.as_str()), ("dpop", &proof), ("idempotency-key", "beat")];
        let answer = server.client.send(Method::POST, heartbeat, &headers, Some(&json!({}))).await;
        assert_eq!((answer.status, is_replayed(&answer)), (200, replayed), "{answer:?}");
    }
}

async fn a_key_is_one_requests_and_one_callers(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await;
    make(&server, KEY, &ada()).await.expect(201);
    let bob = json!({ "name": "bob", "role": "viewer" });
    make(&server, KEY, &bob).await.refused(422, "idempotency_key_reused");
    let accounts = (Method::POST, "/api/v1/auth/keys");
    let mint = json!({ "name": "k", "scopes": ["users:*", "agents:read", "audit:read", "accounts:read",
        "commands:read", "discovery:read", "events:read", "inventory:read", "organisations:read",
        "security:read", "server:read", "settings:read", "updates:read"] });
    send(&server, accounts.clone(), &server.admin_key, KEY, Some(&mint))
        .await
        .refused(422, "idempotency_key_reused");
    let minted = send(&server, accounts, &server.admin_key, "mint", Some(&mint)).await;
    let key = minted.text("key");
    // Another caller's key of the same text is another key, of this organisation or of another.
    let made = send(&server, (Method::POST, USERS), &key, KEY, Some(&bob)).await;
    assert!(made.status == 201 && !is_replayed(&made), "{made:?}");
    let foreign = send(&server, (Method::POST, USERS), &other.admin_key, KEY, Some(&ada())).await;
    assert!(foreign.status == 201 && !is_replayed(&foreign), "{foreign:?}");
    // What was refused is not kept, and a key that is none is named.
    let bad = json!({ "name": "eve", "role": "queen" });
    make(&server, "eve", &bad).await.refused(422, "invalid");
    make(&server, "eve", &json!({ "name": "eve", "role": "viewer" })).await.expect(201);
    for key in ["", "two words", &"x".repeat(256)] {
        make(&server, key, &ada()).await.refused(422, "invalid");
    }
    // Who is let in no more is not answered again either.
    let path = format!("/api/v1/auth/keys/{}", minted.text("id"));
    server.client.delete(&path, &server.admin_key).await.expect(204);
    let made = send(&server, (Method::POST, USERS), &key, KEY, Some(&bob)).await;
    made.refused(401, "unauthenticated");
}

async fn what_runs_is_waited_for_and_what_died_is_begun_again(place: Place) {
    let server = TestServer::start(&place).await;
    // As by a server that died before it did anything.
    let late = taken(&server, &ada()).await;
    let refused = make(&server, KEY, &ada()).await;
    refused.refused(409, "idempotency_in_progress");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(users(&server).await, 0);
    server.clock.advance(Duration::from_secs(121));
    make(&server, KEY, &ada()).await.expect(201);
    // The other one wakes up, and changes nothing any more.
    let store = server.store().await;
    let committed = within(late, async {
        let mut tx = store.write("test").await.unwrap();
        tx.orgs().create(&"late".parse().unwrap(), "Late", server.clock.now()).await.unwrap();
        tx.commit().await
    });
    committed.await.unwrap_err();
    assert!(
        !store.read("test").await.unwrap().orgs().exists(&"late".parse().unwrap()).await.unwrap()
    );
    store.close().await;
    assert!(is_replayed(&make(&server, KEY, &ada()).await));
}

async fn what_was_done_and_not_answered_is_not_done_again(place: Place) {
    let server = TestServer::start(&place).await;
    let claim = taken(&server, &ada()).await;
    let store = server.store().await;
    // As by a server that died between the effect and the answer.
    let committed = within(claim, async {
        let mut tx = store.write("test").await.unwrap();
        tx.orgs().create(&"made".parse().unwrap(), "Made", server.clock.now()).await.unwrap();
        tx.commit().await
    });
    committed.await.unwrap();
    store.close().await;
    for _ in 0..2 {
        make(&server, KEY, &ada()).await.refused(409, "idempotency_answer_lost");
        server.clock.advance(Duration::from_secs(3_600));
    }
    assert_eq!(users(&server).await, 0);
}

/// An answer that is too large to be kept is given once.
async fn a_large_answer_is_given_once(place: Place) {
    let server = TestServer::start(&place).await;
    let labels: serde_json::Map<String, Value> =
        (0..64).map(|n| (format!("label-{n}"), "x".repeat(255).into())).collect();
    const { assert!(64 * (255 + 8) > IDEMPOTENT_ANSWER_BYTES_MAX) };
    let body = json!({ "name": "t".repeat(255), "labels": labels });
    let tokens = "/api/v1/bootstrap-tokens";
    let mint =
        async || send(&server, (Method::POST, tokens), &server.admin_key, KEY, Some(&body)).await;
    mint().await.expect(201);
    mint().await.refused(409, "idempotency_answer_lost");
    let made = server.client.get(tokens, &server.admin_key).await.expect(200);
    assert_eq!(made["items"].as_array().unwrap().len(), 1);
}

async fn whoever_hangs_up_finds_the_answer_later(place: Place) {
    let server = TestServer::start(&place).await;
    let address = server.url.trim_start_matches("http://");
    let body = ada().to_string();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {USERS} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
         idempotency-key: {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        server.admin_key,
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    drop(socket);
    let answer = until("the write to have an answer", async || {
        let answer = make(&server, KEY, &ada()).await;
        (answer.code() != "idempotency_in_progress").then_some(answer)
    });
    answer.await.expect(201);
    assert_eq!((users(&server).await, server.audit("user.created").await.len()), (1, 1));
}

async fn after_a_day_a_key_is_forgotten(place: Place) {
    let server = TestServer::start(&place).await;
    make(&server, KEY, &ada()).await.expect(201);
    server.clock.advance(Duration::from_secs(24 * 3_600 - 1));
    assert!(is_replayed(&make(&server, KEY, &ada()).await));
    assert_eq!(server.app.purge_idempotent_writes().await.unwrap(), 0);
    server.clock.advance(Duration::from_secs(2));
    // Carried out again: there is such a user by now.
    make(&server, KEY, &ada()).await.refused(409, "wrong_state");
    let bob = json!({ "name": "bob", "role": "viewer" });
    make(&server, KEY, &bob).await.expect(201);
    let kept = claim_since(&server, &bob, Duration::from_secs(60)).await;
    assert!(matches!(kept, Claimed::Done(Some(_))), "{kept:?}");
    server.clock.advance(Duration::from_secs(24 * 3_600 + 1));
    server.app.purge_idempotent_writes().await.unwrap();
    let gone = claim_since(&server, &bob, Duration::from_secs(48 * 3_600)).await;
    assert!(matches!(gone, Claimed::Taken(_)), "{gone:?}");
}

on_both!(
    a_write_that_comes_again_is_done_once,
    a_key_is_one_requests_and_one_callers,
    what_runs_is_waited_for_and_what_died_is_begun_again,
    what_was_done_and_not_answered_is_not_done_again,
    a_large_answer_is_given_once,
    whoever_hangs_up_finds_the_answer_later,
    after_a_day_a_key_is_forgotten,
);
