//! Attacks 6 and 9 on what is open for long: a control stream, an upload of reports.

use std::{collections::BTreeSet, time::Duration};

use argosy_domain::limits::SESSION_LIFE;
use argosy_e2e::{agent::TestAgent, database::Place, on_both, process::until, server::TestServer};
use argosy_wire::{bytes::Fixed, problem::Code, rpc::gateway::Renew, statement::HelloStatement};
use futures::SinkExt as _;
use serde_json::json;

use crate::gateway::{self, Down};

/// Agents whose server leaves.
const LEFT_BEHIND: usize = 6;

/// How often the server has found that an agent stands behind a proof, and kept that the proof was used.
fn proofs_kept(server: &TestServer) -> u64 {
    server.app.store_counters().ops.get("session.stream_proof").map_or(0, |count| count.statements)
}

async fn a_revoked_agents_open_stream_ends_at_once(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let rpc = gateway::rpc(&server);
    let options = gateway::session(&agent, &server, gateway::STREAM);
    let mut stream = gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap();
    assert_eq!(server.agent(&agent.agent_id).await["connected"], true);
    server.decide(&agent.agent_id, "revoke", json!({})).await.expect(200);
    let Some(Down::Goaway(goaway)) = gateway::next(&mut stream).await.unwrap() else {
        panic!("the stream went on");
    };
    assert_eq!(goaway.reason, "revoked");
    assert!(!matches!(gateway::next(&mut stream).await, Ok(Some(_))));
}

/// A server that shuts down tells each agent when to come back, each another time.
async fn a_server_that_leaves_spreads_who_comes_back(place: Place) {
    let server = TestServer::start(&place).await;
    let mut streams = Vec::new();
    for n in 0..LEFT_BEHIND {
        let agent = TestAgent::in_session(&server, &format!("web-{n}")).await;
        let options = gateway::session(&agent, &server, gateway::STREAM);
        let hello = gateway::hello(&agent);
        streams.push(gateway::open(&gateway::rpc(&server), options, hello).await.unwrap());
    }
    server.leave();
    let mut delays = BTreeSet::new();
    for stream in &mut streams {
        let Some(Down::Goaway(goaway)) = gateway::next(stream).await.unwrap() else {
            panic!("the stream went on");
        };
        assert_eq!(goaway.reason, "draining");
        assert!((500..1_500).contains(&goaway.delay_ms), "{goaway:?}");
        delays.insert(goaway.delay_ms);
    }
    assert!(delays.len() > 1, "all at once: {delays:?}");
}

/// A machine that lost its credentials enrols again: what its earlier self still holds is over.
async fn a_machine_that_enrols_again_ends_its_earlier_stream(place: Place) {
    let server = TestServer::start(&place).await;
    let mut earlier = TestAgent::in_session(&server, "web-1").await;
    let rpc = gateway::rpc(&server);
    let options = gateway::session(&earlier, &server, gateway::STREAM);
    let mut stream = gateway::open(&rpc, options, gateway::hello(&earlier)).await.unwrap();
    let token = server.token(json!({})).await;
    earlier.clone().register(&server, &token).await.expect(201);
    let Some(Down::Goaway(goaway)) = gateway::next(&mut stream).await.unwrap() else {
        panic!("the stream went on");
    };
    assert_eq!(goaway.reason, "revoked");
    earlier.heartbeat(&server).await.refused(401, "invalid_session");
}

/// The session was proved before the revocation, and the hello comes after it.
async fn a_hello_after_the_revocation_opens_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let rpc = gateway::rpc(&server);
    let options = gateway::session(&agent, &server, gateway::STREAM);
    let before = proofs_kept(&server);
    let mut stream = gateway::knock(&rpc, options).await;
    let proved = async || (proofs_kept(&server) > before).then_some(());
    until("the proof of the session", proved).await;
    server.decide(&agent.agent_id, "revoke", json!({})).await.expect(200);
    let _ = stream.send(gateway::hello(&agent)).await;
    let error = gateway::next(&mut stream).await.expect_err("the stream was opened");
    assert_eq!(gateway::code(&error), Code::InvalidSession);
    assert_eq!(server.agent(&agent.agent_id).await["connected"], false);
    assert!(!server.app.hub().has(&agent.id()));
}

/// An upload that was begun before takes no report afterwards.
async fn an_upload_ends_with_the_agents_standing(place: Place) {
    let server = TestServer::start(&place).await;
    for decision in ["revoke", "quarantine"] {
        let agent = TestAgent::in_session(&server, decision).await;
        let rpc = gateway::rpc(&server);
        let options = gateway::session(&agent, &server, gateway::INVENTORY);
        let (mut reports, sent) = futures::channel::mpsc::channel(1);
        let upload = tokio::spawn(async move {
            rpc.upload_inventory_with_options(sent, options).await.map(drop)
        });
        reports.send(gateway::report()).await.unwrap();
        let taken = async || {
            let shown = server.agent(&agent.agent_id).await;
            (shown["breakers"]["storage"] == "closed").then_some(())
        };
        until("the first report", taken).await;
        server.decide(&agent.agent_id, decision, json!({})).await.expect(200);
        let mut second = gateway::report();
        second.breaker = "open".to_owned();
        let _ = reports.send(second).await;
        drop(reports);
        let error = upload.await.unwrap().expect_err("the second report was taken");
        let code = if decision == "revoke" { Code::Unauthenticated } else { Code::Quarantined };
        assert_eq!(gateway::code(&error), code);
        assert_eq!(server.agent(&agent.agent_id).await["breakers"]["storage"], "closed");
    }
}

async fn a_hello_is_for_its_own_session_agent_and_key(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let other = TestAgent::in_session(&server, "web-2").await;
    let earlier = gateway::hello(&agent);
    agent.handshake(&server).await.expect(200);
    let honest = gateway::hello_statement(&agent);
    let another_agent = HelloStatement { agent: other.id(), ..honest.clone() };
    let another_session = HelloStatement { session_sha256: Fixed([1; 32]), ..honest.clone() };
    let hellos = [
        ("by another key", gateway::signed_hello(&other.key, &honest)),
        ("of another agent", gateway::signed_hello(&agent.key, &another_agent)),
        ("of another session", gateway::signed_hello(&agent.key, &another_session)),
        ("of an earlier session", earlier),
    ];
    let rpc = gateway::rpc(&server);
    for (what, hello) in hellos {
        let options = gateway::session(&agent, &server, gateway::STREAM);
        let stream = gateway::open(&rpc, options, hello).await;
        assert_eq!(stream.map(drop), Err(Code::Unauthenticated), "{what}");
    }
    let options = gateway::session(&agent, &server, gateway::STREAM);
    let stream = gateway::open(&rpc, options, gateway::heartbeat_frame()).await;
    assert_eq!(stream.map(drop), Err(Code::Invalid), "a stream without hello");
    assert_eq!(server.agent(&agent.agent_id).await["connected"], false);
}

/// Proofs that open streams are remembered where a restart finds them.
async fn a_stream_proof_opens_one_stream_even_after_a_restart(place: Place) {
    let mut server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let proof = agent.proof(&server, "POST", gateway::STREAM);
    let options = || gateway::proved(&agent.session, &proof);
    let rpc = gateway::rpc(&server);
    let stream = gateway::open(&rpc, options(), gateway::hello(&agent)).await.unwrap();
    let again = gateway::open(&rpc, options(), gateway::hello(&agent)).await;
    assert_eq!(again.map(drop), Err(Code::InvalidProof));
    drop(stream);
    server = server.restart().await;
    let rpc = gateway::rpc(&server);
    let again = gateway::open(&rpc, options(), gateway::hello(&agent)).await;
    assert_eq!(again.map(drop), Err(Code::InvalidProof));
    // It was the proof, not the session.
    let options = gateway::session(&agent, &server, gateway::STREAM);
    gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap();
}

async fn a_stream_is_renewed_by_a_fresh_session_of_its_own_agent_only(place: Place) {
    let server = TestServer::start(&place).await;
    let rpc = gateway::rpc(&server);
    let other = TestAgent::in_session(&server, "other").await;
    for case in ["garbage", "another agent's session", "another agent's proof", "expired"] {
        let mut agent = TestAgent::in_session(&server, case).await;
        let first = agent.session.clone();
        if case == "expired" {
            server.clock.advance(SESSION_LIFE);
            agent.handshake(&server).await.expect(200);
        }
        let options = gateway::session(&agent, &server, gateway::STREAM);
        let mut stream = gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap();
        let (session_token, proof) = match case {
            "garbage" => ("a.b.c".to_owned(), agent.proof(&server, "POST", gateway::STREAM)),
            "another agent's session" => {
                (other.session.clone(), other.proof(&server, "POST", gateway::STREAM))
            }
            "another agent's proof" => {
                let thief = TestAgent { key: other.key.clone(), ..agent.clone() };
                (agent.session.clone(), thief.proof(&server, "POST", gateway::STREAM))
            }
            _ => {
                let expired = TestAgent { session: first.clone(), ..agent.clone() };
                (first, expired.proof(&server, "POST", gateway::STREAM))
            }
        };
        let renew = Renew { session_token, proof, ..Default::default() };
        stream.send(gateway::frame(renew.into())).await.unwrap();
        let expected =
            if case == "another agent's proof" { Code::InvalidProof } else { Code::InvalidSession };
        let error = gateway::next(&mut stream).await.expect_err(case);
        assert_eq!(gateway::code(&error), expected, "{case}");
        let closed =
            async || (server.agent(&agent.agent_id).await["connected"] == false).then_some(());
        until("the stream's end in the books", closed).await;
    }
}

async fn a_stream_is_renewed_by_a_new_handshake(place: Place) {
    let server = TestServer::start(&place).await;
    let rpc = gateway::rpc(&server);
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let options = gateway::session(&agent, &server, gateway::STREAM);
    let mut stream = gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap();
    server.clock.advance(Duration::from_secs(40 * 60));
    agent.handshake(&server).await.expect(200);
    let proof = agent.proof(&server, "POST", gateway::STREAM);
    let renew = Renew { session_token: agent.session.clone(), proof, ..Default::default() };
    stream.send(gateway::frame(renew.into())).await.unwrap();
    let next = gateway::next(&mut stream).await.unwrap();
    assert!(matches!(next, Some(Down::Renewed(_))), "{next:?}");
    server.clock.advance(Duration::from_secs(40 * 60));
    stream.send(gateway::heartbeat_frame()).await.unwrap();
    let next = gateway::next(&mut stream).await.unwrap();
    assert!(matches!(next, Some(Down::HeartbeatAck(_))), "{next:?}");
}

on_both!(
    a_revoked_agents_open_stream_ends_at_once,
    a_server_that_leaves_spreads_who_comes_back,
    a_machine_that_enrols_again_ends_its_earlier_stream,
    a_hello_after_the_revocation_opens_nothing,
    an_upload_ends_with_the_agents_standing,
    a_hello_is_for_its_own_session_agent_and_key,
    a_stream_proof_opens_one_stream_even_after_a_restart,
    a_stream_is_renewed_by_a_fresh_session_of_its_own_agent_only,
    a_stream_is_renewed_by_a_new_handshake,
);
