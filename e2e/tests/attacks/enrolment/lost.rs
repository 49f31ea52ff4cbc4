//! Attack 3, second half: a machine comes back after it was deleted, revoked or never let in, or
//! after it lost its credentials; and whoever held these has nothing any more.

use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use argosy_wire::{problem::Code, rpc::gateway::control_stream_response::Frame as Down};
use serde_json::{Value, json};

use super::{Books, WAYS, Way, reborn, refusal, register};
use crate::gateway;

async fn enrolled(server: &TestServer, name: &str) -> (TestAgent, Value) {
    let mut agent = TestAgent::new(name);
    let token = server.token(json!({})).await;
    let body = agent.registration(&token);
    let taken = register(server, Way::Rest, &body).await.unwrap();
    (agent.agent_id, agent.api_key) = (taken.agent_id, taken.api_key.unwrap());
    (agent, body)
}

/// Takes a seat of a fresh token as `agent`, and is approved.
async fn comes_back(server: &TestServer, way: Way, agent: &mut TestAgent) {
    let body = agent.registration(&server.token(json!({})).await);
    let taken = register(server, way, &body).await.unwrap();
    assert_eq!(taken.status, "pending_approval");
    assert_ne!(taken.agent_id, agent.agent_id, "another registration is another agent");
    (agent.agent_id, agent.api_key) = (taken.agent_id, taken.api_key.unwrap());
    server.decide(&agent.agent_id, "approve", json!({})).await.expect(200);
    agent.handshake(server).await.expect(200);
}

async fn a_deleted_agent_enrols_again_with_a_fresh_token_only(place: Place) {
    let server = TestServer::start(&place).await;
    for way in WAYS {
        let (mut agent, old_body) = enrolled(&server, &format!("{way:?}")).await;
        server.decide(&agent.agent_id, "approve", json!({})).await.expect(200);
        agent.handshake(&server).await.expect(200);
        let path = format!("/api/v1/agents/{}", agent.agent_id);
        let answer = server.client.delete(&path, &server.admin_key).await;
        assert_eq!(answer.status, 204);
        let books = Books::of(&server).await;
        super::refused(&server, way, &old_body, Code::InvalidToken, None).await;
        books.only_recorded(&[refusal(Code::InvalidToken)]).await;
        agent.begin(&server).await.refused(401, "unauthenticated");
        agent.heartbeat(&server).await.refused(401, "invalid_session");
        let mut again = TestAgent { agent_id: agent.agent_id.clone(), ..reborn(&agent) };
        comes_back(&server, way, &mut again).await;
    }
}

async fn the_name_and_key_of_whoever_left_are_free_again(place: Place) {
    let server = TestServer::start(&place).await;
    for (way, decisions) in [
        (Way::Rest, &["approve", "revoke"][..]),
        (Way::Rpc, &["approve", "quarantine", "revoke"]),
        (Way::Rest, &["reject"]),
    ] {
        let name = decisions.join("-");
        let (mut agent, old_body) = enrolled(&server, &name).await;
        for decision in decisions {
            server.decide(&agent.agent_id, decision, json!({})).await.expect(200);
        }
        agent.handshake(&server).await.refused(401, "unauthenticated");
        // The old statement still names the old agent, and brings nothing back to life.
        let state = server.agent(&agent.agent_id).await["status"].clone();
        let answer = server.client.post_anonymous("/api/v1/agents/register", &old_body).await;
        assert_eq!(
            (answer.text("agent_id"), &answer.body["api_key"]),
            (agent.agent_id.clone(), &Value::Null)
        );
        assert_eq!(server.agent(&agent.agent_id).await["status"], state);
        // The name goes to another machine; the key to itself under another name.
        let mut stranger = TestAgent::new(&name);
        comes_back(&server, way, &mut stranger).await;
        let key = agent.key.clone();
        let mut itself = TestAgent { key, ..TestAgent::new(&format!("{name}-again")) };
        comes_back(&server, way, &mut itself).await;
        assert_eq!(server.agent(&agent.agent_id).await["status"], state);
    }
}

async fn after_lost_credentials_a_fresh_token_ends_the_earlier_self(place: Place) {
    let server = TestServer::start(&place).await;
    for way in WAYS {
        let mut before = TestAgent::in_session(&server, &format!("{way:?}")).await;
        before.heartbeat(&server).await.expect(200);
        let rpc = gateway::rpc(&server);
        let options = gateway::session(&before, &server, gateway::STREAM);
        let mut stream = gateway::open(&rpc, options, gateway::hello(&before)).await.unwrap();

        let books = Books::of(&server).await;
        let mut after = reborn(&before);
        let body = after.registration(&server.token(json!({})).await);
        let taken = register(&server, way, &body).await.unwrap();
        assert_eq!(taken.status, "pending_approval", "the key alone is no approval");
        let entries = [("token.created", ""), ("agent.registered", ""), ("agent.revoked", "")];
        books.recorded(&entries).await;

        let Ok(Some(Down::Goaway(goaway))) = gateway::next(&mut stream).await else {
            panic!("the stream of the earlier self goes on")
        };
        assert_eq!(goaway.reason, "revoked");
        before.heartbeat(&server).await.refused(401, "invalid_session");
        before.begin(&server).await.refused(401, "unauthenticated");
        assert_eq!(server.agent(&before.agent_id).await["status"], "revoked");
        server.decide(&before.agent_id, "restore", json!({})).await.refused(409, "wrong_state");

        (after.agent_id, after.api_key) = (taken.agent_id, taken.api_key.unwrap());
        after.handshake(&server).await.refused(403, "not_approved");
        server.decide(&after.agent_id, "approve", json!({})).await.expect(200);
        after.handshake(&server).await.expect(200);
        after.heartbeat(&server).await.expect(200);
    }
}

async fn the_key_of_another_takes_nothing_over_with_a_fresh_token(place: Place) {
    let server = TestServer::start(&place).await;
    let mut victim = TestAgent::in_session(&server, "victim").await;
    let token = server.token(json!({})).await;
    let books = Books::of(&server).await;
    // A thief of the token knows name and public key of the victim, and signs with its own key.
    let thief = TestAgent::new("victim");
    let mut statement = thief.statement(&argosy_wire::token::TokenString::parse(&token).unwrap());
    statement.identity_key = victim.public_key();
    let signed = argosy_wire::sign::Signed::new(&thief.key, &statement);
    let body = argosy_e2e::agent::registration_body("victim", &token, &signed);
    for way in WAYS {
        super::refused(&server, way, &body, Code::Unauthenticated, None).await;
        super::refused(&server, way, &thief.registration(&token), Code::DuplicateName, None).await;
    }
    books
        .only_recorded(&[
            refusal(Code::Unauthenticated),
            refusal(Code::DuplicateName),
            refusal(Code::Unauthenticated),
            refusal(Code::DuplicateName),
        ])
        .await;
    victim.heartbeat(&server).await.expect(200);
}

on_both!(
    a_deleted_agent_enrols_again_with_a_fresh_token_only,
    the_name_and_key_of_whoever_left_are_free_again,
    after_lost_credentials_a_fresh_token_ends_the_earlier_self,
    the_key_of_another_takes_nothing_over_with_a_fresh_token,
);
