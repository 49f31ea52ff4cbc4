//! Attack 39: clocks that are wrong, and clocks that jump. The server's clock alone counts between the
//! two; an agent's decides nothing, and one that the server's operator sets back shuts nobody out.

use std::{sync::Arc, time::Duration};

use argosy_agent::deps::Deps;
use argosy_config::host::OsEntropy;
use argosy_domain::{
    id::OrgId,
    limits::{CHALLENGES_MAX, SESSION_LIFE, TOKEN_LIFE_DEFAULT},
    time::Clock as _,
};
use argosy_e2e::{
    agent::TestAgent, clock::ManualClock, database::Place, on_both, process::until,
    server::TestServer,
};
use reqwest::Method;
use serde_json::json;

use crate::succession::Kept;

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

/// A heartbeat with a proof that the agent dates by a clock of its own.
async fn beats_by(server: &TestServer, agent: &mut TestAgent, clock: &ManualClock) -> u16 {
    let path = "/api/v1/agents/heartbeat";
    let url = format!("{}{path}", server.url);
    for _ in 0..2 {
        let (session, nonce) = (agent.session.clone(), agent.nonce.clone());
        let proof = agent.proof_for(&url, "POST", &session, Some(&nonce), clock.now());
        let answer = agent.call_with(server, Method::POST, path, Some(&json!({})), &proof).await;
        if answer.code() != "use_dpop_nonce" {
            return answer.status;
        }
    }
    401
}

/// A heartbeat with a nonce of the present.
async fn beats(server: &TestServer, agent: &mut TestAgent) -> u16 {
    beats_by(server, agent, &server.clock).await
}

async fn the_agents_clock_decides_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let mut kept = Kept::admitted(&server, "web-2").await;
    let wrong = ManualClock::default();
    for jump in [DAY, 400 * DAY] {
        wrong.advance(jump);
        assert_eq!(beats_by(&server, &mut agent, &wrong).await, 200);
        wrong.set_back(jump * 2);
        assert_eq!(beats_by(&server, &mut agent, &wrong).await, 200);
        // The agent as it is shipped verifies certificates by the time that the server signs.
        let deps = Deps { clock: Arc::new(wrong.clone()), entropy: Arc::new(OsEntropy) };
        kept.shake_with(&server, &deps).await.unwrap();
        wrong.advance(jump);
    }
}

async fn a_server_whose_clock_is_set_back_shuts_nobody_out(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let mut kept = Kept::admitted(&server, "web-2").await;
    kept.shake(&server).await.unwrap();
    for _ in 0..CHALLENGES_MAX {
        kept.begin(&server).await.unwrap();
    }
    let token = server.token(json!({})).await;
    server.clock.set_back(DAY);

    // Sessions and nonces go on; a nonce of tomorrow is asked for anew.
    assert_eq!(beats(&server, &mut agent).await, 200);
    agent.handshake(&server).await.expect(200);
    assert_eq!(beats(&server, &mut agent).await, 200);
    // Certificates of tomorrow are made anew by the server itself, and challenges of tomorrow do not
    // count against the agent.
    assert_eq!(server.app.renew_keys().await.unwrap(), 3);
    assert_eq!(server.app.renew_keys().await.unwrap(), 0);
    kept.shake(&server).await.unwrap();
    // A token lives as long as it was to live, by the clock that there is: a day more.
    let mut late = TestAgent::new("late");
    late.register(&server, &token).await.expect(201);
    // Nothing is expired that was made in the future, and what waits is approved.
    assert_eq!(server.app.expire_registrations().await.unwrap(), 0);
    server.decide(&late.agent_id, "approve", json!({})).await.expect(200);
    late.handshake(&server).await.expect(200);
    // The audit log goes on, and is signed by the clock that there is.
    until("a checkpoint of the present", || async {
        let store = server.store().await;
        let org = OrgId::default_org();
        let chain = store.read("test").await.unwrap().audit().chain(&org).await.unwrap();
        store.close().await;
        chain.and_then(|chain| (chain.checkpoint_at? <= server.clock.now()).then_some(()))
    })
    .await;

    // Forward again: what is over is over.
    server.clock.advance(DAY + SESSION_LIFE + SECOND);
    assert_eq!(beats(&server, &mut agent).await, 401);
    agent.handshake(&server).await.expect(200);
    assert_eq!(beats(&server, &mut agent).await, 200);
    server.clock.advance(TOKEN_LIFE_DEFAULT);
    let mut too_late = TestAgent::new("too-late");
    too_late.register(&server, &token).await.refused(401, "invalid_token");
}

on_both!(the_agents_clock_decides_nothing, a_server_whose_clock_is_set_back_shuts_nobody_out);
