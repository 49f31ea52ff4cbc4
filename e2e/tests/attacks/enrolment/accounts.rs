//! Attack 5: a token for one account used for another, and across organisations.

use argosy_domain::id::AccountId;
use argosy_e2e::{
    agent::{TestAgent, registration_body},
    database::Place,
    on_both,
    server::TestServer,
};
use argosy_wire::{problem::Code, sign::Signed, token::TokenString};
use serde_json::{Value, json};

use super::{Books, WAYS, Way, refusal, refused, register};

/// A registration for an account: bare, with a statement, and with a statement and a proof.
fn registrations(name: &str, token: &str, account: i64) -> [Value; 3] {
    let agent = TestAgent::new(name);
    let parsed = TokenString::parse(token).unwrap();
    let mut statement = agent.statement(&parsed);
    statement.account_id = AccountId(account);
    let signed = Signed::new(&agent.key, &statement);
    [
        json!({ "name": name, "bootstrap_token": token, "account_id": account }),
        registration_body(name, token, &signed),
        registration_body(name, &parsed.prove(&signed.payload).to_text(), &signed),
    ]
}

async fn a_token_of_one_account_admits_to_no_other(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await;
    let token = server.token(json!({ "account_id": 1, "max_uses": 9 })).await;
    let (mine, theirs) = (Books::of(&server).await, Books::of_key(&server, &other.admin_key).await);
    let mut expected = Vec::new();
    for way in WAYS {
        // One that is not there at all, one of another tenant, and numbers that are none.
        for account in [4_711, other.account_id, 0, -1, i64::MAX] {
            for body in registrations("stray", &token, account) {
                refused(&server, way, &body, Code::AccountMismatch, None).await;
                expected.push(refusal(Code::AccountMismatch));
            }
        }
    }
    mine.only_recorded(&expected).await;
    theirs.only_recorded(&[]).await;
    for (i, body) in registrations("m", &token, 1).into_iter().enumerate() {
        let name = json!(format!("m-{i}"));
        let body = if i == 0 { json!({ "name": name, "bootstrap_token": token }) } else { body };
        let taken = register(&server, WAYS[i % 2], &body).await;
        if i < 2 {
            assert_eq!(server.agent(&taken.unwrap().agent_id).await["account_id"], 1);
        }
    }
}

async fn a_token_admits_to_no_account_of_another_organisation(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await;
    let ours = server.token(json!({})).await;
    let body = json!({ "name": "theirs" });
    let minted = server.client.post("/api/v1/bootstrap-tokens", &other.admin_key, &body).await;
    let theirs = minted.expect(201)["token"].as_str().unwrap().to_owned();
    let books = (Books::of(&server).await, Books::of_key(&server, &other.admin_key).await);
    let mut expected = (Vec::new(), Vec::new());
    let mut answers = Vec::new();
    for way in WAYS {
        // An account of another tenant looks like one that is not there.
        for account in [other.account_id, 4_711] {
            for body in registrations("stray", &ours, account) {
                let refusal_ = register(&server, way, &body).await.unwrap_err();
                assert_eq!(
                    (refusal_.code, refusal_.field.as_deref()),
                    (Code::Invalid, Some("account_id"))
                );
                answers.push((way, refusal_.shown));
                expected.0.push(refusal(Code::Invalid));
            }
        }
        for account in [1, 4_711] {
            for body in registrations("stray", &theirs, account) {
                refused(&server, way, &body, Code::Invalid, Some("account_id")).await;
                expected.1.push(refusal(Code::Invalid));
            }
        }
    }
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), WAYS.len(), "{answers:?}");
    books.0.only_recorded(&expected.0).await;
    books.1.only_recorded(&expected.1).await;

    let [_, _, body] = registrations("resident", &theirs, other.account_id);
    let taken = register(&server, Way::Rpc, &body).await.unwrap();
    books.0.only_recorded(&expected.0).await;
    let path = format!("/api/v1/agents/{}", taken.agent_id);
    server.client.get(&path, &server.admin_key).await.refused(404, "not_found");
    server.client.get(&path, &other.admin_key).await.expect(200);
}

async fn no_token_is_minted_or_revoked_across_organisations(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await;
    let ours = TokenString::parse(&server.token(json!({})).await).unwrap();
    let books = (Books::of(&server).await, Books::of_key(&server, &other.admin_key).await);
    let tokens = "/api/v1/bootstrap-tokens";
    for account in [other.account_id, 4_711] {
        let answer = server.create_token(json!({ "account_id": account })).await;
        answer.refused(422, "invalid");
        assert_eq!(answer.body["errors"][0]["field"], "account_id");
    }
    let body = json!({ "name": "x", "account_id": 1 });
    server.client.post(tokens, &other.admin_key, &body).await.refused(422, "invalid");
    let path = format!("{tokens}/{}", ours.id);
    server.client.delete(&path, &other.admin_key).await.refused(404, "not_found");
    books.0.only_recorded(&[]).await;
    books.1.only_recorded(&[]).await;
    register(&server, Way::Rest, &TestAgent::new("m").registration(&ours.reveal())).await.unwrap();
}

async fn names_and_keys_are_unique_within_an_organisation_only(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await;
    let mut ours = TestAgent::in_session(&server, "same").await;
    let body = json!({ "name": "theirs" });
    let minted = server.client.post("/api/v1/bootstrap-tokens", &other.admin_key, &body).await;
    let theirs = minted.expect(201)["token"].as_str().unwrap().to_owned();
    let mut statement = ours.statement(&TokenString::parse(&theirs).unwrap());
    statement.account_id = AccountId(other.account_id);
    let signed = Signed::new(&ours.key, &statement);
    let books = Books::of(&server).await;
    register(&server, Way::Rest, &registration_body("same", &theirs, &signed)).await.unwrap();
    books.only_recorded(&[]).await;
    ours.heartbeat(&server).await.expect(200);
}

on_both!(
    a_token_of_one_account_admits_to_no_other,
    a_token_admits_to_no_account_of_another_organisation,
    no_token_is_minted_or_revoked_across_organisations,
    names_and_keys_are_unique_within_an_organisation_only,
);
