//! Attack 3, first half: the same statement again is the same agent.

use std::collections::BTreeSet;

use argosy_e2e::{agent::TestAgent, database::Place, http::Answer, on_both, server::TestServer};
use argosy_wire::problem::Code;
use futures::future::join_all;
use serde_json::{Value, json};

use super::{Books, Taken, WAYS, Way, raw_with_statement, refusal, register, uses};

/// The first half of a handshake with an API key.
async fn begin(server: &TestServer, agent: &TestAgent, api_key: &str) -> Answer {
    TestAgent { api_key: api_key.to_owned(), ..agent.clone() }.begin(server).await
}

async fn the_same_statement_twice_is_one_agent(place: Place) {
    let server = TestServer::start(&place).await;
    for (way, other) in [(Way::Rest, Way::Rpc), (Way::Rpc, Way::Rest)] {
        let agent = TestAgent::new(&format!("{way:?}"));
        let token = server.token(json!({ "max_uses": 2 })).await;
        let body = agent.registration(&token);
        let first = register(&server, way, &body).await.unwrap();
        let books = Books::of(&server).await;
        let second = register(&server, other, &body).await.unwrap();
        books.only_recorded(&[("agent.registered", "")]).await;
        assert_eq!(uses(&server, &token).await, 1);
        assert_eq!(second.agent_id, first.agent_id);
        assert_eq!(second.fingerprint, first.fingerprint);
        assert_eq!(second.status, "pending_approval");
        let (old, new) = (first.api_key.unwrap(), second.api_key.unwrap());
        begin(&server, &agent, &old).await.refused(401, "unauthenticated");
        begin(&server, &agent, &new).await.refused(403, "not_approved");

        server.decide(&first.agent_id, "approve", json!({})).await.expect(200);
        begin(&server, &agent, &old).await.refused(401, "unauthenticated");
        let books = Books::of(&server).await;
        for way in WAYS {
            let third = register(&server, way, &body).await.unwrap();
            assert_eq!((&third.agent_id, third.status.as_str()), (&first.agent_id, "approved"));
            assert_eq!(third.api_key, None, "no key is handed out after approval");
        }
        books.only_recorded(&[("agent.registered", ""); 2]).await;
        begin(&server, &agent, &new).await.expect(200);
    }
}

async fn a_used_up_token_still_answers_the_statement_that_used_it(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::new("once");
    let token = server.token(json!({})).await;
    let body = raw_with_statement(&agent, &token);
    let first = register(&server, Way::Rest, &body).await.unwrap();
    let proof = agent.registration(&token);
    let second = register(&server, Way::Rpc, &body).await.unwrap();
    assert_eq!(second.agent_id, first.agent_id);
    let books = Books::of(&server).await;
    super::refused(&server, Way::Rest, &proof, Code::InvalidToken, None).await;
    books.only_recorded(&[refusal(Code::InvalidToken)]).await;
}

async fn crowd(server: &TestServer, body: &Value) -> Vec<Taken> {
    let copies = (0..12).map(|i| register(server, WAYS[i % 2], body));
    join_all(copies).await.into_iter().map(Result::unwrap).collect()
}

async fn copies_of_a_statement_at_once_are_one_agent_with_one_key(place: Place) {
    let server = TestServer::start(&place).await;
    for seats in [1, 12] {
        let agent = TestAgent::new(&format!("copied-{seats}"));
        let token = server.token(json!({ "max_uses": seats })).await;
        let already = server.agents().await.len();
        let taken = crowd(&server, &agent.registration(&token)).await;
        let ids: BTreeSet<&str> = taken.iter().map(|taken| taken.agent_id.as_str()).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(server.agents().await.len(), already + 1);
        assert_eq!(uses(&server, &token).await, 1);
        let mut alive = 0;
        for key in taken.iter().filter_map(|taken| taken.api_key.as_deref()) {
            let answer = begin(&server, &agent, key).await;
            alive += usize::from(answer.status == 403);
            assert!([401, 403].contains(&answer.status), "{answer:?}");
        }
        assert_eq!(alive, 1, "each repeat voids the key before");
    }
}

async fn a_name_and_a_key_belong_to_one_live_agent(place: Place) {
    let server = TestServer::start(&place).await;
    let owner = TestAgent::admitted(&server, "owner").await;
    let mut waiting = TestAgent::new("waiting");
    waiting.register(&server, &server.token(json!({})).await).await.expect(201);
    let quarantined = TestAgent::admitted(&server, "quarantined").await;
    server.decide(&quarantined.agent_id, "quarantine", json!({})).await.expect(200);
    let token = server.token(json!({})).await;
    let books = Books::of(&server).await;
    let mut expected = Vec::new();
    for way in WAYS {
        for victim in [&owner, &waiting, &quarantined] {
            let same_key = TestAgent { key: victim.key.clone(), ..TestAgent::new("other-name") };
            let same_name = TestAgent::new(&victim.name);
            let cases = [
                (same_key.registration(&token), Code::DuplicateKey),
                (raw_with_statement(&same_key, &token), Code::DuplicateKey),
                (same_name.registration(&token), Code::DuplicateName),
                (raw_with_statement(&same_name, &token), Code::DuplicateName),
                (super::bare(&victim.name, &token), Code::DuplicateName),
            ];
            for (body, code) in cases {
                super::refused(&server, way, &body, code, None).await;
                expected.push(refusal(code));
            }
        }
    }
    books.only_recorded(&expected).await;
    register(&server, Way::Rest, &TestAgent::new("new").registration(&token)).await.unwrap();
}

on_both!(
    the_same_statement_twice_is_one_agent,
    a_used_up_token_still_answers_the_statement_that_used_it,
    copies_of_a_statement_at_once_are_one_agent_with_one_key,
    a_name_and_a_key_belong_to_one_live_agent,
);
