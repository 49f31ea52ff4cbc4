//! Attack 2: fifty machines at once on a token with ten seats.

use std::collections::BTreeSet;

use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use argosy_wire::problem::Code;
use futures::future::join_all;
use serde_json::{Value, json};

use super::{Books, WAYS, bare, items, refusal, register};

const SEATS: usize = 10;
const MACHINES: usize = 50;

async fn rush(place: Place, body: impl Fn(usize, &str) -> Value) {
    let server = TestServer::start(&place).await;
    let token = server.token(json!({ "max_uses": SEATS })).await;
    let books = Books::of(&server).await;
    let bodies: Vec<Value> = (0..MACHINES).map(|i| body(i, &token)).collect();
    let attempts = bodies.iter().enumerate().map(|(i, body)| register(&server, WAYS[i % 2], body));
    let outcomes = join_all(attempts).await;
    let admitted: BTreeSet<&str> =
        outcomes.iter().filter_map(|o| o.as_ref().ok()).map(|t| t.agent_id.as_str()).collect();
    assert_eq!(admitted.len(), SEATS);
    let codes: Vec<Code> =
        outcomes.iter().filter_map(|o| o.as_ref().err()).map(|refusal| refusal.code).collect();
    assert_eq!(codes, [Code::InvalidToken; MACHINES - SEATS]);
    let agents = server.agents().await;
    let kept: BTreeSet<&str> = agents.iter().map(|a| a["agent_id"].as_str().unwrap()).collect();
    assert_eq!(kept, admitted);
    let token = &items(&server, &server.admin_key, "/api/v1/bootstrap-tokens").await[0];
    assert_eq!((&token["uses"], &token["state"]), (&json!(SEATS), &json!("used_up")));
    let mut expected = vec![("agent.registered", ""); SEATS];
    expected.extend([refusal(Code::InvalidToken); MACHINES - SEATS]);
    books.recorded(&expected).await;
}

async fn ten_seats_admit_ten_of_fifty_raw_tokens(place: Place) {
    rush(place, |i, token| bare(&format!("machine-{i}"), token)).await;
}

async fn ten_seats_admit_ten_of_fifty_proofs(place: Place) {
    rush(place, |i, token| TestAgent::new(&format!("machine-{i}")).registration(token)).await;
}

async fn one_seat_admits_one_of_fifty(place: Place) {
    let server = TestServer::start(&place).await;
    let token = server.token(json!({})).await;
    let bodies: Vec<Value> = (0..MACHINES).map(|i| bare(&format!("m-{i}"), &token)).collect();
    let attempts = bodies.iter().enumerate().map(|(i, body)| register(&server, WAYS[i % 2], body));
    let admitted = join_all(attempts).await.into_iter().filter(Result::is_ok).count();
    assert_eq!((admitted, server.agents().await.len()), (1, 1));
}

async fn a_seat_that_was_refused_afterwards_is_given_back(place: Place) {
    let server = TestServer::start(&place).await;
    let first = server.token(json!({})).await;
    register(&server, WAYS[0], &bare("taken", &first)).await.unwrap();
    let token = server.token(json!({})).await;
    let books = Books::of(&server).await;
    for way in WAYS {
        super::refused(&server, way, &bare("taken", &token), Code::DuplicateName, None).await;
        let body = json!({ "name": "m", "bootstrap_token": token, "account_id": 4_711 });
        super::refused(&server, way, &body, Code::Invalid, Some("account_id")).await;
    }
    books
        .only_recorded(&[
            refusal(Code::DuplicateName),
            refusal(Code::Invalid),
            refusal(Code::DuplicateName),
            refusal(Code::Invalid),
        ])
        .await;
    register(&server, WAYS[1], &bare("free", &token)).await.unwrap();
}

on_both!(
    ten_seats_admit_ten_of_fifty_raw_tokens,
    ten_seats_admit_ten_of_fifty_proofs,
    one_seat_admits_one_of_fifty,
    a_seat_that_was_refused_afterwards_is_given_back,
);
