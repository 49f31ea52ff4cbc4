//! Attack 7: approvals that are wrong, late, doubled, or somebody else's to give.

use std::time::Duration;

use argosy_e2e::{agent::TestAgent, database::Place, http::Answer, on_both, server::TestServer};
use serde_json::{Value, json};

use super::{Books, WAYS, Way, bare, entry, register};
use crate::gateway;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const SOON: Duration = Duration::from_micros(1);

/// An agent that waits, and its fingerprint.
async fn waiting(server: &TestServer, name: &str) -> (TestAgent, String) {
    let mut agent = TestAgent::new(name);
    let answer = agent.register(server, &server.token(json!({})).await).await;
    (agent, answer.text("fingerprint"))
}

async fn approve(server: &TestServer, agent: &TestAgent, fingerprint: &str) -> Answer {
    server.decide(&agent.agent_id, "approve", json!({ "fingerprint": fingerprint })).await
}

async fn a_machine_enrols_is_approved_and_heartbeats(place: Place) {
    let server = TestServer::start(&place).await;
    for way in WAYS {
        let mut agent = TestAgent::new(&format!("{way:?}"));
        let body = agent.registration(&server.token(json!({})).await);
        let taken = register(&server, way, &body).await.unwrap();
        (agent.agent_id, agent.api_key) = (taken.agent_id, taken.api_key.unwrap());
        let fingerprint = taken.fingerprint.unwrap();
        assert_eq!(server.agent(&agent.agent_id).await["fingerprint"], fingerprint.as_str());
        agent.handshake(&server).await.refused(403, "not_approved");
        let books = Books::of(&server).await;
        approve(&server, &agent, &fingerprint).await.expect(200);
        books.recorded(&[("agent.approved", "")]).await;
        agent.handshake(&server).await.expect(200);
        agent.heartbeat(&server).await.expect(200);
        let shown = server.agent(&agent.agent_id).await;
        assert_eq!((&shown["health"], &shown["status"]), (&json!("healthy"), &json!("approved")));
        let entry = entry(&server, "agent.approved", &agent.agent_id).await;
        assert_eq!(entry["detail"]["fingerprint"], fingerprint.as_str());
        assert_eq!(entry["actor"], shown["approved_by"]);
    }
}

async fn a_wrong_fingerprint_approves_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let (agent, fingerprint) = waiting(&server, "one").await;
    let (_, other) = waiting(&server, "two").await;
    let mut one_digit_off = fingerprint.clone().into_bytes();
    one_digit_off[0] = if one_digit_off[0] == b'0' { b'1' } else { b'0' };
    let one_digit_off = String::from_utf8(one_digit_off).unwrap();
    let books = Books::of(&server).await;
    let differing = [other.as_str(), &one_digit_off, &"0".repeat(32)];
    for wrong in differing {
        approve(&server, &agent, wrong).await.refused(409, "fingerprint_mismatch");
    }
    books.only_recorded(&[("agent.fingerprint_mismatch", ""); 3]).await;
    let books = Books::of(&server).await;
    let doubled = format!("{fingerprint} {fingerprint}");
    for none in
        ["", " ", "0", "true", "zzzz", &fingerprint[..34], &doubled, &format!("{fingerprint}0")]
    {
        let answer = approve(&server, &agent, none).await;
        answer.refused(422, "invalid");
        assert_eq!(answer.body["errors"][0]["field"], "fingerprint", "{none}");
    }
    for none in [json!({ "fingerprint": 1 }), json!({ "fingerprint": [fingerprint] })] {
        server.decide(&agent.agent_id, "approve", none).await.refused(422, "invalid");
    }
    books.only_recorded(&[]).await;
    agent.begin(&server).await.refused(403, "not_approved");
    let as_typed = fingerprint.to_uppercase().replace(' ', "-");
    approve(&server, &agent, &as_typed).await.expect(200);
}

async fn an_agent_without_keys_has_no_fingerprint_to_compare(place: Place) {
    let server = TestServer::start(&place).await;
    let token = server.token(json!({})).await;
    let taken = register(&server, Way::Rest, &bare("bare", &token)).await.unwrap();
    let (_, fingerprint) = waiting(&server, "keys").await;
    let books = Books::of(&server).await;
    for wrong in [fingerprint, "0".repeat(32)] {
        let body = json!({ "fingerprint": wrong });
        let answer = server.decide(&taken.agent_id, "approve", body).await;
        answer.refused(409, "fingerprint_mismatch");
    }
    books.only_recorded(&[("agent.fingerprint_mismatch", ""); 2]).await;
    let heartbeat = || async {
        let key = taken.api_key.as_deref().unwrap();
        server.client.post("/api/v1/agents/heartbeat", key, &json!({})).await
    };
    heartbeat().await.refused(403, "not_approved");
    server.decide(&taken.agent_id, "approve", json!({})).await.expect(200);
    heartbeat().await.expect(200);
}

/// Tries to approve, with and without the right fingerprint, what cannot be approved.
async fn nothing_to_approve(server: &TestServer, agent: &TestAgent, fingerprint: &str) {
    let books = Books::of(server).await;
    for body in [json!({}), json!({ "fingerprint": fingerprint })] {
        server.decide(&agent.agent_id, "approve", body).await.refused(409, "wrong_state");
    }
    books.only_recorded(&[]).await;
}

async fn a_decision_stands(place: Place) {
    let server = TestServer::start(&place).await;
    for (name, decisions) in [
        ("twice", &["approve"][..]),
        ("rejected", &["reject"]),
        ("revoked", &["approve", "revoke"]),
        ("quarantined", &["approve", "quarantine"]),
    ] {
        let (agent, fingerprint) = waiting(&server, name).await;
        for decision in decisions {
            server.decide(&agent.agent_id, decision, json!({})).await.expect(200);
        }
        nothing_to_approve(&server, &agent, &fingerprint).await;
        let books = Books::of(&server).await;
        server.decide(&agent.agent_id, "reject", json!({})).await.refused(409, "wrong_state");
        books.only_recorded(&[]).await;
    }
}

async fn two_decisions_at_once_are_one(place: Place) {
    let server = TestServer::start(&place).await;
    let (agent, _) = waiting(&server, "contested").await;
    let books = Books::of(&server).await;
    let decide = |decision| server.decide(&agent.agent_id, decision, json!({}));
    let answers = futures::future::join_all(
        ["approve", "reject", "approve", "reject", "approve", "reject"].map(decide),
    );
    let answers = answers.await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.code() == "wrong_state").count(), 5);
    let status = server.agent(&agent.agent_id).await["status"].clone();
    let action = format!("agent.{}", status.as_str().unwrap());
    books.recorded(&[(action.as_str(), "")]).await;
    let key_works = if status == "approved" { 200 } else { 401 };
    assert_eq!(agent.begin(&server).await.status, key_works);
}

/// Nobody answers for a day; `sweep` is whether the background task has looked since.
async fn lapses(place: Place, sweep: bool) {
    let server = TestServer::start(&place).await;
    let (mut agent, fingerprint) = waiting(&server, "late").await;
    let (mut in_time, in_time_fingerprint) = waiting(&server, "in-time").await;
    server.clock.advance(DAY - SOON);
    approve(&server, &in_time, &in_time_fingerprint).await.expect(200);
    server.clock.advance(SOON);
    let books = Books::of(&server).await;
    if sweep {
        server.clock.advance(SOON);
        server.app.expire_registrations().await.unwrap();
        assert_eq!(server.agent(&agent.agent_id).await["status"], "expired");
    }
    for body in [json!({ "fingerprint": fingerprint }), json!({})] {
        server.decide(&agent.agent_id, "approve", body).await.refused(409, "wrong_state");
    }
    books.recorded(&[("agent.expired", "")]).await;
    let shown = server.agent(&agent.agent_id).await;
    assert_eq!(
        (&shown["status"], &shown["approval_status"]),
        (&json!("expired"), &json!("expired"))
    );
    agent.handshake(&server).await.refused(401, "unauthenticated");
    in_time.handshake(&server).await.expect(200);
    nothing_to_approve(&server, &agent, &fingerprint).await;
    // The machine may come back under the same name with the same key.
    let again = super::reborn(&agent);
    let body = again.registration(&server.token(json!({})).await);
    register(&server, Way::Rpc, &body).await.unwrap();
}

async fn a_registration_that_the_sweep_ended_is_not_approved(place: Place) {
    lapses(place, true).await;
}

async fn a_registration_that_is_overdue_is_not_approved_before_the_sweep(place: Place) {
    lapses(place, false).await;
}

async fn only_who_may_approve_approves(place: Place) {
    let server = TestServer::start(&place).await;
    let (agent, fingerprint) = waiting(&server, "wanted").await;
    let mint = |scopes: Value| {
        let body = json!({ "name": "k", "scopes": scopes });
        let server = &server;
        async move {
            let made = server.client.post("/api/v1/auth/keys", &server.admin_key, &body).await;
            made.expect(201)["key"].as_str().unwrap().to_owned()
        }
    };
    let viewer = mint(json!(["agents:read", "audit:read", "commands:read"])).await;
    let token_admin = mint(json!(["tokens:write", "agents:read"])).await;
    let other = server.other_organisation().await;
    let token = server.token(json!({ "auto_approve": true })).await;
    let bare_agent = register(&server, Way::Rest, &bare("bare", &token)).await.unwrap();
    let bare_agent = bare_agent.api_key.unwrap();
    let books = Books::of(&server).await;
    let path = |decision: &str| format!("/api/v1/agents/{}/{decision}", agent.agent_id);
    let body = json!({ "fingerprint": fingerprint });
    for decision in ["approve", "reject"] {
        for key in [&viewer, &token_admin, &bare_agent] {
            let answer = server.client.post(&path(decision), key, &body).await;
            answer.refused(403, "forbidden");
        }
        let theirs = server.client.post(&path(decision), &other.admin_key, &body).await;
        theirs.refused(404, "not_found");
        let own = server.client.post(&path(decision), &agent.api_key, &body).await;
        own.refused(403, "not_approved");
        let nobody = server.client.post_anonymous(&path(decision), &body).await;
        nobody.refused(401, "unauthenticated");
    }
    books.only_recorded(&[]).await;
    let operator = mint(json!(["agents:approve"])).await;
    server.client.post(&path("approve"), &operator, &body).await.expect(200);
}

async fn an_agent_that_waits_has_no_session_to_approve_itself_with(place: Place) {
    let server = TestServer::start(&place).await;
    let (agent, _) = waiting(&server, "wanted").await;
    let rpc = gateway::rpc(&server);
    let books = Books::of(&server).await;
    let error = gateway::heartbeat(&rpc, gateway::bearer(&agent.api_key)).await.unwrap_err();
    assert_eq!(gateway::code(&error), argosy_wire::problem::Code::NotApproved);
    books.only_recorded(&[]).await;
}

on_both!(
    a_machine_enrols_is_approved_and_heartbeats,
    a_wrong_fingerprint_approves_nothing,
    an_agent_without_keys_has_no_fingerprint_to_compare,
    a_decision_stands,
    two_decisions_at_once_are_one,
    a_registration_that_the_sweep_ended_is_not_approved,
    a_registration_that_is_overdue_is_not_approved_before_the_sweep,
    only_who_may_approve_approves,
    an_agent_that_waits_has_no_session_to_approve_itself_with,
);
