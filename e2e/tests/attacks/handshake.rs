//! Attacks 8, 10 and 11: challenges, machine ids and continuations.

use std::time::Duration;

use argosy_config::host::OsEntropy;
use argosy_domain::{entropy::random_bytes, limits::CHALLENGES_MAX};
use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    sign::Purpose,
    statement::HandshakeStatement,
};
use ed25519_dalek::SigningKey;
use futures::future::join_all;
use serde_json::{Value, json};

fn random() -> Bytes32 {
    Fixed(random_bytes(&OsEntropy))
}

/// An honest handshake statement about a fresh challenge.
async fn begun(server: &TestServer, agent: &TestAgent) -> HandshakeStatement {
    agent.handshake_statement(&agent.begin(server).await.expect(200))
}

/// Audit entries of an action that are about an agent.
async fn entries(server: &TestServer, agent: &TestAgent, action: &str) -> Vec<Value> {
    let target = format!("agent:{}", agent.agent_id);
    let entries = server.audit(action).await.into_iter();
    entries.filter(|entry| entry["target"].as_str() == Some(target.as_str())).collect()
}

/// How often a handshake of the agent was refused for a reason.
async fn times(server: &TestServer, agent: &TestAgent, reason: &str) -> usize {
    let entries = entries(server, agent, "handshake.refused").await;
    entries.iter().filter(|entry| entry["detail"]["reason"] == reason).count()
}

/// Sends the second half, asserts that it is refused and recorded with this reason, and that the
/// agent is what it was.
async fn is_refused(server: &TestServer, agent: &TestAgent, body: &Value, reason: &str) {
    let (before, count) = (server.agent(&agent.agent_id).await, times(server, agent, reason).await);
    let answer = agent.clone().complete(server, body).await;
    answer.refused(401, "handshake_refused");
    assert_eq!(answer.body["detail"], answer.body["title"], "the answer says why");
    assert_eq!(times(server, agent, reason).await, count + 1, "{reason}");
    assert_eq!(server.agent(&agent.agent_id).await, before);
}

const NO_CHALLENGE: &str = "no such live challenge of this agent";
const BAD_SIGNATURE: &str = "the signature does not verify";

async fn a_challenge_is_answered_once(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::admitted(&server, "web-1").await;
    let body = agent.completion(&begun(&server, &agent).await, Purpose::Handshake);
    agent.complete(&server, &body).await.expect(200);
    is_refused(&server, &agent, &body, NO_CHALLENGE).await;
    agent.heartbeat(&server).await.expect(200);
    // Also where the answers race.
    let body = agent.completion(&begun(&server, &agent).await, Purpose::Handshake);
    let attempts = (0..8).map(|_| {
        let mut agent = agent.clone();
        let (server, body) = (&server, &body);
        async move { agent.complete(server, body).await.status }
    });
    let statuses = join_all(attempts).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(server.agent(&agent.agent_id).await["status"], "approved");
}

async fn a_challenge_lives_for_thirty_seconds(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::admitted(&server, "web-1").await;
    let statement = begun(&server, &agent).await;
    server.clock.advance(Duration::from_secs(31));
    let body = agent.completion(&statement, Purpose::Handshake);
    is_refused(&server, &agent, &body, NO_CHALLENGE).await;
    let statement = begun(&server, &agent).await;
    server.clock.advance(Duration::from_secs(29));
    let body = agent.completion(&statement, Purpose::Handshake);
    agent.complete(&server, &body).await.expect(200);
}

async fn a_challenge_is_its_own_agents(place: Place) {
    let server = TestServer::start(&place).await;
    let mut one = TestAgent::admitted(&server, "web-1").await;
    let mut two = TestAgent::admitted(&server, "web-2").await;
    let of_one = begun(&server, &one).await;
    // Two answers with what was given to one, in its own name …
    let stolen = HandshakeStatement { agent: two.id(), ..of_one.clone() };
    is_refused(&server, &two, &two.completion(&stolen, Purpose::Handshake), NO_CHALLENGE).await;
    // … which does one no harm.
    one.complete(&server, &one.completion(&of_one, Purpose::Handshake)).await.expect(200);
    // In the name of one, by the key of two.
    let of_one = begun(&server, &one).await;
    let mut forged = two.completion(&of_one, Purpose::Handshake);
    forged["agent_id"] = json!(one.agent_id);
    is_refused(&server, &one, &forged, BAD_SIGNATURE).await;
    two.handshake(&server).await.expect(200);
    // With one's API key and two's identity key not even a challenge is given.
    let mixed = TestAgent { api_key: one.api_key.clone(), ..two.clone() };
    mixed.begin(&server).await.refused(401, "unauthenticated");
    // An agent that does not exist is answered in the same words.
    let mut nobody = one.completion(&begun(&server, &one).await, Purpose::Handshake);
    nobody["agent_id"] = json!("0195d0a0-0000-7000-8000-000000000000");
    one.complete(&server, &nobody).await.refused(401, "handshake_refused");
}

async fn a_statement_is_for_this_server_purpose_and_key(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::admitted(&server, "web-1").await;
    let statement = begun(&server, &agent).await;
    let elsewhere = HandshakeStatement { server: random(), ..statement };
    let body = agent.completion(&elsewhere, Purpose::Handshake);
    is_refused(&server, &agent, &body, BAD_SIGNATURE).await;
    for purpose in Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::Handshake) {
        let body = agent.completion(&begun(&server, &agent).await, purpose);
        is_refused(&server, &agent, &body, BAD_SIGNATURE).await;
    }
    let thief = SigningKey::from_bytes(&random().0);
    let thief = TestAgent { key: thief, ..agent.clone() };
    let body = thief.completion(&begun(&server, &agent).await, Purpose::Handshake);
    is_refused(&server, &agent, &body, BAD_SIGNATURE).await;
    agent.handshake(&server).await.expect(200);
}

/// What travels beside the signature is under the signature.
async fn nothing_beside_the_signature_can_be_changed(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let other = random().to_string();
    let changes = [
        ("version", json!("9.9.9")),
        ("continuation", json!(other)),
        ("continuation", Value::Null),
        ("machine_id", json!(other)),
        ("update_nonce", json!("x")),
    ];
    for (field, value) in changes {
        let statement = begun(&server, &agent).await;
        let mut body = agent.completion(&statement, Purpose::Handshake);
        body[field] = value;
        is_refused(&server, &agent, &body, BAD_SIGNATURE).await;
    }
    assert!(server.audit("agent.clone_detected").await.is_empty());
    agent.handshake(&server).await.expect(200);
}

async fn a_failed_attempt_consumes_the_challenge(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::admitted(&server, "web-1").await;
    let statement = begun(&server, &agent).await;
    let wrong = agent.completion(&statement, Purpose::Hello);
    is_refused(&server, &agent, &wrong, BAD_SIGNATURE).await;
    let right = agent.completion(&statement, Purpose::Handshake);
    is_refused(&server, &agent, &right, NO_CHALLENGE).await;
    agent.handshake(&server).await.expect(200);
}

async fn an_agent_has_four_live_challenges_at_most(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::admitted(&server, "web-1").await;
    let other = TestAgent::admitted(&server, "web-2").await;
    let answers = join_all((0..16).map(|_| agent.begin(&server))).await;
    let given = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(given, usize::try_from(CHALLENGES_MAX).unwrap());
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(429, "rate_limited");
        assert_eq!(answer.headers["retry-after"], "30");
    }
    agent.begin(&server).await.refused(429, "rate_limited");
    other.begin(&server).await.expect(200);
    // The first that is answered ends the others, which makes room; and so does time.
    let first = answers.into_iter().find(|answer| answer.status == 200).unwrap();
    let statement = agent.handshake_statement(&first.body);
    let body = agent.completion(&statement, Purpose::Handshake);
    agent.complete(&server, &body).await.expect(200);
    for _ in 0..CHALLENGES_MAX {
        agent.begin(&server).await.expect(200);
    }
    agent.begin(&server).await.refused(429, "rate_limited");
    server.clock.advance(Duration::from_secs(31));
    agent.begin(&server).await.expect(200);
}

async fn the_machine_is_the_one_that_enrolled(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::new("web-1");
    agent.machine_id = Some(random());
    let token = server.token(json!({ "auto_approve": true })).await;
    agent.register(&server, &token).await.expect(201);
    assert_eq!(server.agent(&agent.agent_id).await["machine_bound"], true);
    agent.handshake(&server).await.expect(200);
    let id = agent.agent_id.clone();
    let shown_but_review = async || {
        let mut shown = server.agent(&id).await;
        shown.as_object_mut().unwrap().remove("review");
        shown
    };
    for (i, shown) in [Some(random()), None].into_iter().enumerate() {
        let before = shown_but_review().await;
        let mut copy = TestAgent { machine_id: shown, ..agent.clone() };
        copy.handshake(&server).await.refused(403, "machine_mismatch");
        let entries = entries(&server, &agent, "agent.machine_mismatch").await;
        assert_eq!(entries.len(), i + 1);
        let same = entries.iter().filter(|entry| entry["detail"]["shown"] == shown.is_some());
        assert_eq!(same.count(), 1);
        assert_eq!(shown_but_review().await, before);
        // The original goes on working, on its session and on a new one.
        agent.heartbeat(&server).await.expect(200);
        agent.handshake(&server).await.expect(200);
    }
    // Without the key nobody can say anything about the machine.
    let thief = SigningKey::from_bytes(&random().0);
    let thief = TestAgent { key: thief, machine_id: None, ..agent.clone() };
    let body = thief.completion(&begun(&server, &agent).await, Purpose::Handshake);
    is_refused(&server, &agent, &body, BAD_SIGNATURE).await;
    assert_eq!(server.audit("agent.machine_mismatch").await.len(), 2);
}

async fn an_agent_that_enrolled_no_machine_may_show_one(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::admitted(&server, "web-1").await;
    agent.machine_id = Some(random());
    agent.handshake(&server).await.expect(200);
    assert_eq!(server.agent(&agent.agent_id).await["machine_bound"], false);
}

async fn the_current_and_the_previous_continuation_are_good(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::admitted(&server, "web-1").await;
    // The answer to the very first handshake is lost, twice.
    for _ in 0..2 {
        agent.clone().handshake(&server).await.expect(200);
    }
    agent.handshake(&server).await.expect(200);
    for _ in 0..3 {
        let before = agent.continuation.clone();
        agent.handshake(&server).await.expect(200);
        assert_ne!(agent.continuation, before, "it changes with each handshake");
        // The next answers are lost: the agent repeats with what it has.
        agent.clone().handshake(&server).await.expect(200);
        agent.clone().handshake(&server).await.expect(200);
        agent.handshake(&server).await.expect(200);
    }
    agent.heartbeat(&server).await.expect(200);
    assert_eq!(server.agent(&agent.agent_id).await["status"], "approved");
    assert!(server.audit("agent.clone_detected").await.is_empty());
}

/// A restored snapshot: the state of three handshakes ago. A clone: both go on from one state.
async fn an_older_continuation_is_a_fork(place: Place) {
    let server = TestServer::start(&place).await;
    for how in ["snapshot", "clone", "lost", "invented"] {
        let mut agent = TestAgent::in_session(&server, how).await;
        let mut copy = agent.clone();
        match how {
            "snapshot" => {
                agent.handshake(&server).await.expect(200);
                agent.handshake(&server).await.expect(200);
            }
            "clone" => {
                agent.handshake(&server).await.expect(200);
                copy.handshake(&server).await.expect(200);
                // Not shown yet: the copy was at the previous one. The original shows it now.
                assert_eq!(server.agent(&agent.agent_id).await["status"], "approved");
                std::mem::swap(&mut agent, &mut copy);
            }
            "lost" => {
                agent.handshake(&server).await.expect(200);
                copy.continuation = None;
            }
            _ => copy.continuation = Some(random().to_string()),
        }
        copy.handshake(&server).await.expect(200);
        assert_eq!(server.agent(&agent.agent_id).await["status"], "quarantined", "{how}");
        let entries = entries(&server, &agent, "agent.clone_detected").await;
        assert_eq!(entries.len(), 1, "{how}");
        assert!(entries[0]["source"].is_string(), "{}", entries[0]);
        // Neither is cut off: both are heard, and both may come back.
        for bearer in [&mut agent, &mut copy] {
            bearer.heartbeat(&server).await.expect(200);
            bearer.handshake(&server).await.expect(200);
            bearer.heartbeat(&server).await.expect(200);
        }
        // The operator confirms one; what it has then is good.
        server.decide(&agent.agent_id, "restore", json!({})).await.expect(200);
        copy.handshake(&server).await.expect(200);
        assert_eq!(server.agent(&agent.agent_id).await["status"], "approved", "{how}");
    }
}

/// A thief who says to be newer than anything does not lock the honest host out: an older version
/// with another continuation than the thief's is a second bearer, and is noticed as one.
async fn a_clone_with_a_higher_version_is_a_fork(place: Place) {
    let server = TestServer::start(&place).await;
    for honest_first in [false, true] {
        let mut agent = TestAgent::in_session(&server, &format!("web-{honest_first}")).await;
        let mut copy = TestAgent { version: "999.0.0".to_owned(), ..agent.clone() };
        if honest_first {
            agent.handshake(&server).await.expect(200);
        }
        copy.handshake(&server).await.expect(200);
        agent.handshake(&server).await.expect(200);
        let shown = server.agent(&agent.agent_id).await;
        assert_eq!((&shown["status"], &shown["version"]), (&json!("quarantined"), &json!("0.1.0")));
        assert_eq!(shown["review"]["reason"], "clone");
        let origins = shown["review"]["origins"].as_array().unwrap().iter();
        let versions: Vec<_> = origins.map(|origin| origin["version"].as_str().unwrap()).collect();
        assert!(versions.contains(&"0.1.0") && versions.contains(&"999.0.0"), "{versions:?}");
        assert_eq!(entries(&server, &agent, "agent.clone_detected").await.len(), 1);
        // Neither is cut off, whoever comes in whatever order; neither moves the version up.
        for _ in 0..2 {
            for bearer in [&mut copy, &mut agent] {
                bearer.handshake(&server).await.expect(200);
                bearer.heartbeat(&server).await.expect(200);
            }
        }
        agent.handshake(&server).await.expect(200);
        assert_eq!(server.agent(&agent.agent_id).await["version"], "0.1.0");
        // The operator decides; the honest host is let in.
        server.decide(&agent.agent_id, "restore", json!({})).await.expect(200);
        agent.handshake(&server).await.expect(200);
        assert_eq!(server.agent(&agent.agent_id).await["status"], "approved");
    }
    assert!(server.audit("agent.downgrade_refused").await.is_empty());
}

on_both!(
    a_clone_with_a_higher_version_is_a_fork,
    a_challenge_is_answered_once,
    a_challenge_lives_for_thirty_seconds,
    a_challenge_is_its_own_agents,
    a_statement_is_for_this_server_purpose_and_key,
    nothing_beside_the_signature_can_be_changed,
    a_failed_attempt_consumes_the_challenge,
    an_agent_has_four_live_challenges_at_most,
    the_machine_is_the_one_that_enrolled,
    an_agent_that_enrolled_no_machine_may_show_one,
    the_current_and_the_previous_continuation_are_good,
    an_older_continuation_is_a_fork,
);
