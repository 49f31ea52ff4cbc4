//! Attack 1: whatever is wrong with a token, one answer for the same work.

use std::{collections::BTreeMap, time::Duration};

use argosy_config::host::OsEntropy;
use argosy_domain::entropy::random_bytes;
use argosy_e2e::{
    agent::{TestAgent, registration_body},
    database::{Place, raw},
    on_both,
    server::TestServer,
};
use argosy_store::OpCount;
use argosy_wire::{
    bytes::Fixed,
    machine::salted_machine_id,
    problem::Code,
    sign::Signed,
    token::{Secret32, TokenProof, TokenString},
};
use serde_json::{Value, json};

use super::{Books, WAYS, Way, bare, refusal, register};

/// Tokens of the right form that admit nobody, with what is wrong with each.
async fn bad_tokens(server: &TestServer) -> Vec<(&'static str, TokenString)> {
    let parse = |text: String| TokenString::parse(&text).unwrap();
    let unknown = TokenString {
        id: "0193-nobody".parse().unwrap(),
        secret: Secret32::new(random_bytes(&OsEntropy)),
        pin: None,
    };
    let live = parse(server.token(json!({ "max_uses": 9 })).await);
    let guessed = TokenString { secret: Secret32::new(random_bytes(&OsEntropy)), ..live };
    let used_up = server.token(json!({})).await;
    register(server, Way::Rest, &bare("first", &used_up)).await.unwrap();
    let revoked = parse(server.token(json!({})).await);
    let path = format!("/api/v1/bootstrap-tokens/{}", revoked.id);
    assert_eq!(
        server.client.delete(&path, &server.admin_key).await.expect(200)["state"],
        "revoked"
    );
    let expired = parse(server.token(json!({ "expires_in": "1h" })).await);
    server.clock.advance(Duration::from_secs(3_600));
    vec![
        ("unknown", unknown),
        ("guessed", guessed),
        ("used up", parse(used_up)),
        ("revoked", revoked),
        ("expired", expired),
    ]
}

/// Texts that claim to be tokens, or proofs, and have not their form.
fn malformed(prefix: &str) -> Vec<String> {
    let secret = "A".repeat(43);
    vec![
        prefix.to_owned(),
        format!("{prefix}{secret}"),
        format!("{prefix}_{secret}"),
        format!("{prefix}id_{}", "A".repeat(42)),
        format!("{prefix}id_{}!", "A".repeat(42)),
        format!("{prefix}i d_{secret}"),
        format!("{prefix}id/../x_{secret}"),
        format!("{prefix}ïd_{secret}"),
        format!("{prefix}{}_{secret}", "i".repeat(500)),
        format!("{prefix}{}_{secret}", "i".repeat(20_000)),
        format!("{prefix}id\u{0}_{secret}"),
        format!("{prefix}id_{secret}.pin"),
    ]
}

fn other_forms() -> Vec<String> {
    let secret = "A".repeat(43);
    let bad =
        [String::new(), " ".into(), format!("Boot_id_{secret}"), format!("argosy_id_{secret}")];
    bad.into()
}

/// Every bad registration, by what it shows: raw or proof, with a statement or without.
fn attempts(bad: &[(&'static str, TokenString)]) -> Vec<(&'static str, String, Value)> {
    let agent = TestAgent::new("intruder");
    let sign = |token: &TokenString| Signed::new(&agent.key, &agent.statement(token));
    let mut all = Vec::new();
    for (what, token) in bad {
        let (signed, raw) = (sign(token), token.reveal());
        let proof = token.prove(&signed.payload).to_text();
        let what = (*what).to_owned();
        all.push(("raw", what.clone(), bare("intruder", &raw)));
        all.push(("raw and statement", what.clone(), registration_body("intruder", &raw, &signed)));
        all.push((
            "proof and statement",
            what.clone(),
            registration_body("intruder", &proof, &signed),
        ));
        all.push(("proof", what, bare("intruder", &proof)));
    }
    let signed = sign(&bad[0].1);
    for text in malformed("boot_").into_iter().chain(other_forms()) {
        all.push(("raw", text.clone(), bare("intruder", &text)));
        let body = registration_body("intruder", &text, &signed);
        all.push(("raw and statement", text, body));
    }
    for text in malformed("bootproof_") {
        all.push(("proof", text.clone(), bare("intruder", &text)));
        let body = registration_body("intruder", &text, &signed);
        all.push(("proof and statement", text, body));
    }
    all
}

/// Argon2id runs and work of the store for registrations so far.
fn work(server: &TestServer) -> (u64, OpCount) {
    let counters = server.app.store_counters();
    (server.app.hasher().count(), counters.ops.get("register").copied().unwrap_or_default())
}

async fn a_bad_token_of_any_kind_gets_one_answer_for_the_same_work(place: Place) {
    let server = TestServer::start(&place).await;
    let bad = bad_tokens(&server).await;
    let attempts = attempts(&bad);
    let books = Books::of(&server).await;
    let (mut answers, mut costs) = (BTreeMap::new(), BTreeMap::new());
    for way in WAYS {
        for (kind, what, body) in &attempts {
            let before = work(&server);
            let refusal = register(&server, way, body).await.unwrap_err();
            let after = work(&server);
            assert_eq!(refusal.code, Code::InvalidToken, "{way:?} {kind} {what}");
            let answer = answers.entry(way).or_insert_with(|| refusal.shown.clone());
            assert_eq!(*answer, refusal.shown, "{way:?} {kind} {what}");
            let hashes = after.0 - before.0;
            assert_eq!(hashes, u64::from(kind.starts_with("raw")), "{way:?} {kind} {what}");
            let transactions = after.1.transactions - before.1.transactions;
            let statements = after.1.statements - before.1.statements;
            let cost = costs.entry(*kind).or_insert((transactions, statements));
            assert_eq!(*cost, (transactions, statements), "{way:?} {kind} {what}");
        }
    }
    assert_eq!(costs.len(), 4);
    books.only_recorded(&vec![refusal(Code::InvalidToken); attempts.len() * WAYS.len()]).await;
}

async fn a_refused_token_is_recorded_where_it_belongs_and_its_secret_nowhere(place: Place) {
    let server = TestServer::start(&place).await;
    for (what, token) in bad_tokens(&server).await {
        let already = server.audit("enrolment.refused").await.len();
        super::refused(&server, Way::Rest, &bare("x", &token.reveal()), Code::InvalidToken, None)
            .await;
        let entries = server.audit("enrolment.refused").await;
        assert_eq!(entries.len(), already + 1, "{what}");
        let target = format!("token:{}", token.id);
        let entry = entries.iter().find(|entry| entry["target"] == target.as_str()).unwrap();
        assert_eq!(entry["actor"], "anonymous");
        assert_eq!(entry["source"], "127.0.0.1");
        let text = token.reveal();
        // Its last 43 characters; an underscore may be one of them.
        let bare = text.split('.').next().unwrap();
        let secret = &bare[bare.len() - 43..];
        assert!(!entry.to_string().contains(secret), "{what}");
    }
}

async fn a_revoked_token_takes_back_what_still_waits(place: Place) {
    let server = TestServer::start(&place).await;
    let token = server.token(json!({ "max_uses": 3 })).await;
    let mut agents = Vec::new();
    for name in ["waits", "also-waits", "approved"] {
        let mut agent = TestAgent::new(name);
        agent.register(&server, &token).await.expect(201);
        agents.push(agent);
    }
    server.decide(&agents[2].agent_id, "approve", json!({})).await.expect(200);
    let path = format!("/api/v1/bootstrap-tokens/{}", TokenString::parse(&token).unwrap().id);
    server.client.delete(&path, &server.admin_key).await.expect(200);
    for agent in &mut agents[..2] {
        let shown = server.agent(&agent.agent_id).await;
        assert_eq!(
            (&shown["status"], &shown["approval_status"]),
            (&json!("cancelled"), &json!("cancelled"))
        );
        agent.handshake(&server).await.refused(401, "unauthenticated");
        server.decide(&agent.agent_id, "approve", json!({})).await.refused(409, "wrong_state");
    }
    agents[2].handshake(&server).await.expect(200);
    let entries = server.audit("token.revoked").await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["detail"]["cancelled_agents"], 2);
    let again = TestAgent::new("waits");
    let fresh = server.token(json!({})).await;
    register(&server, Way::Rpc, &again.registration(&fresh)).await.unwrap();
}

async fn a_token_that_asks_for_keys_refuses_a_bare_secret(place: Place) {
    let server = TestServer::start(&place).await;
    let token = server.token(json!({ "require_proof": true })).await;
    let books = Books::of(&server).await;
    for way in WAYS {
        let body = bare("bare", &token);
        super::refused(&server, way, &body, Code::Invalid, Some("statement")).await;
    }
    books.only_recorded(&[refusal(Code::Invalid); 2]).await;
    register(&server, Way::Rest, &TestAgent::new("keys").registration(&token)).await.unwrap();
}

/// The key of a token is sealed under the master key. Where it does not open, no other key will do.
async fn a_token_whose_key_is_lost_admits_nobody(place: Place) {
    let server = TestServer::start(&place).await;
    let token = server.token(json!({ "auto_approve": true })).await;
    raw(&place, "UPDATE enrolment_tokens SET sealed_mac_key = SUBSTR(sealed_mac_key, 2)").await;
    let agent = TestAgent::new("web-1");
    let parsed = TokenString::parse(&token).unwrap();
    let signed = Signed::new(&agent.key, &agent.statement(&parsed));
    let payload = std::str::from_utf8(&signed.payload).unwrap();
    // HMAC-SHA256 with a key that everybody can guess.
    let mac = salted_machine_id(&Fixed([0; 32]), payload);
    let guessed = TokenProof { id: parsed.id.clone(), mac }.to_text();
    let own = parsed.prove(&signed.payload).to_text();
    for proof in [guessed, own] {
        let body = registration_body("web-1", &proof, &signed);
        let answer = server.client.post_anonymous("/api/v1/agents/register", &body).await;
        answer.refused(401, "invalid_token");
    }
    assert_eq!(server.agents().await, Vec::<Value>::new());
}

on_both!(
    a_bad_token_of_any_kind_gets_one_answer_for_the_same_work,
    a_refused_token_is_recorded_where_it_belongs_and_its_secret_nowhere,
    a_revoked_token_takes_back_what_still_waits,
    a_token_that_asks_for_keys_refuses_a_bare_secret,
    a_token_whose_key_is_lost_admits_nobody,
);
