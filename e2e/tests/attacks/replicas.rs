//! Two servers on one PostgreSQL: what is revoked on one is dead on the other, wherever an agent's
//! stream is; a server that cannot see lets nobody in.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use argosy_e2e::{
    agent::TestAgent,
    database::Place,
    on_shared,
    postgres::OwnPostgres,
    process::until,
    proxy::Proxy,
    server::{TestServer, settings},
};
use argosy_wire::problem::Code;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::gateway::{self, Down, Stream};

/// A second is promised; the machine of a test may be busy.
const SOON: Duration = Duration::from_secs(4);

async fn open(server: &TestServer, agent: &TestAgent) -> Stream {
    let options = gateway::session(agent, server, gateway::STREAM);
    gateway::open(&gateway::rpc(server), options, gateway::hello(agent)).await.unwrap()
}

/// How a stream ends by a goaway.
async fn goaway(stream: &mut Stream) -> String {
    match gateway::next(stream).await {
        Ok(Some(Down::Goaway(goaway))) => goaway.reason,
        other => panic!("no goaway: {other:?}"),
    }
}

async fn give_command(server: &TestServer, agent: &TestAgent) -> Value {
    let path = format!("/api/v1/agents/{}/commands", agent.agent_id);
    let body = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
    server.client.post(&path, &server.admin_key, &body).await.expect(202)
}

async fn what_is_revoked_here_is_dead_there(place: Place) {
    let one = TestServer::start(&place).await;
    let two = one.second().await;
    let mut agent = TestAgent::in_session(&one, "web-1").await;
    let mut stream = open(&two, &agent).await;
    agent.heartbeat(&two).await.expect(200);
    assert_eq!(one.agent(&agent.agent_id).await["connected"], true);
    let began = Instant::now();
    one.decide(&agent.agent_id, "revoke", json!({})).await.expect(200);
    assert_eq!(goaway(&mut stream).await, "revoked");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    agent.heartbeat(&two).await.refused(401, "invalid_session");
    agent.heartbeat(&one).await.refused(401, "invalid_session");
    let unconnected =
        async || (one.agent(&agent.agent_id).await["connected"] == false).then_some(());
    until("the stream to be gone from the books", unconnected).await;
}

async fn a_key_that_is_revoked_here_is_dead_there(place: Place) {
    let one = TestServer::start(&place).await;
    let two = one.second().await;
    let body = json!({ "name": "ci", "scopes": ["agents:read"] });
    let made = one.client.post("/api/v1/auth/keys", &one.admin_key, &body).await.expect(201);
    let key = made["key"].as_str().unwrap();
    two.client.get("/api/v1/agents", key).await.expect(200);
    let path = format!("/api/v1/auth/keys/{}", made["id"].as_str().unwrap());
    one.client.delete(&path, &one.admin_key).await.expect(204);
    two.client.get("/api/v1/agents", key).await.refused(401, "unauthenticated");
}

async fn an_organisation_that_is_shut_out_here_is_shut_out_there(place: Place) {
    let one = TestServer::start(&place).await;
    let two = one.second().await;
    let other = one.other_organisation().await;
    let mut agent = TestAgent::in_session_of(&one, &other, "web-1").await;
    let mut stream = open(&two, &agent).await;
    agent.heartbeat(&two).await.expect(200);
    two.client.get("/api/v1/agents", &other.admin_key).await.expect(200);
    let began = Instant::now();
    one.shut_out(true).await.expect(200);
    assert_eq!(goaway(&mut stream).await, "revoked");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    agent.heartbeat(&two).await.refused(401, "invalid_session");
    two.client.get("/api/v1/agents", &other.admin_key).await.refused(401, "unauthenticated");
    one.shut_out(false).await.expect(200);
    let again = async || (agent.clone().heartbeat(&two).await.status == 200).then_some(());
    until("the other server to let them in", again).await;
}

async fn a_command_reaches_an_agent_on_the_other_server(place: Place) {
    let one = TestServer::start(&place).await;
    let two = one.second().await;
    let agent = TestAgent::in_session(&one, "web-1").await;
    let mut stream = open(&two, &agent).await;
    for _ in 0..3 {
        let began = Instant::now();
        give_command(&one, &agent).await;
        let frame = gateway::next(&mut stream).await.unwrap();
        assert!(matches!(frame, Some(Down::Command(_))), "{frame:?}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
    // Quarantined here, it gets nothing there; restored, it gets what has waited.
    one.decide(&agent.agent_id, "quarantine", json!({})).await.expect(200);
    agent.clone().heartbeat(&two).await.expect(200);
    one.decide(&agent.agent_id, "restore", json!({})).await.expect(200);
    give_command(&one, &agent).await;
    assert!(matches!(gateway::next(&mut stream).await, Ok(Some(Down::Command(_)))));
}

async fn the_newest_stream_wins_on_whichever_server(place: Place) {
    let one = TestServer::start(&place).await;
    let two = one.second().await;
    let agent = TestAgent::in_session(&one, "web-1").await;
    let mut older = open(&one, &agent).await;
    let began = Instant::now();
    let newer = open(&two, &agent).await;
    assert_eq!(goaway(&mut older).await, "replaced");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    until("the older one to be gone", async || one.app.hub().is_empty().then_some(())).await;
    assert_eq!(one.agent(&agent.agent_id).await["connected"], true, "the newer one counts");
    drop(newer);
    let unconnected =
        async || (one.agent(&agent.agent_id).await["connected"] == false).then_some(());
    until("no stream to be open", unconnected).await;
}

/// Attack 9: a proof that opened a stream on one server opens none on another.
async fn a_proof_that_opened_a_stream_opens_no_other_anywhere(place: Place) {
    let known = |settings: &mut argosy_server::config::Settings| {
        settings.public_url = vec!["http://argosy.test".to_owned()];
    };
    let mut first = settings(&place);
    known(&mut first);
    let one = TestServer::start_with(first, Default::default()).await;
    let two = one.second().await;
    let agent = TestAgent::in_session(&one, "web-1").await;
    let url = format!("http://argosy.test{}", gateway::STREAM);
    let now = argosy_domain::time::Clock::now(&one.clock);
    let proof = agent.proof_for(&url, "POST", &agent.session, Some(&agent.nonce), now);
    let options = || gateway::proved(&agent.session, &proof);
    let stream = gateway::open(&gateway::rpc(&one), options(), gateway::hello(&agent)).await;
    let again = gateway::open(&gateway::rpc(&two), options(), gateway::hello(&agent)).await;
    assert_eq!(again.map(drop), Err(Code::InvalidProof));
    assert!(stream.is_ok());
    let seen = "/api/v1/security/events?kind=proof_replayed";
    let seen = two.client.get(seen, &two.admin_key).await.expect(200);
    assert_eq!(seen["items"][0]["agent_id"], agent.agent_id.as_str(), "{seen}");
}

async fn a_blind_server_lets_nobody_in_and_hands_out_nothing(place: Place) {
    let one = TestServer::start(&place).await;
    let (proxy, url) = Proxy::before(place.database_url.as_deref().unwrap()).await;
    let two = one.second_with(|settings| settings.database_url = Some(url)).await;
    let (mut revoked, agent) =
        (TestAgent::in_session(&one, "web-1").await, TestAgent::in_session(&one, "web-2").await);
    let (mut doomed, mut stream) = (open(&two, &revoked).await, open(&two, &agent).await);
    revoked.heartbeat(&two).await.expect(200);
    proxy.stop();
    let began = Instant::now();
    until("the server to be blind", async || (!two.app.sight().is_clear()).then_some(())).await;
    let answer = two.client.get("/api/v1/agents", &two.admin_key).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    answer.refused(503, "unavailable");
    assert_eq!(answer.headers["retry-after"], "1");
    revoked.clone().heartbeat(&two).await.refused(503, "unavailable");
    let ready = two.client.send(Method::GET, "/ready", &[], None).await;
    assert_eq!((ready.status, ready.text("status").as_str()), (503, "not_ready"));
    one.decide(&revoked.agent_id, "revoke", json!({})).await.expect(200);
    let command = give_command(&one, &agent).await;
    revoked.clone().heartbeat(&two).await.refused(503, "unavailable");
    let path = format!("/api/v1/commands/{}", command["id"].as_str().unwrap());
    let still = one.client.get(&path, &one.admin_key).await.expect(200);
    assert_eq!(still["state"], "queued", "a blind server sent a command");
    proxy.go();
    let sees = async || {
        let answer = two.client.get("/api/v1/agents", &two.admin_key).await;
        (answer.status == 200).then_some(())
    };
    until("the server to see again", sees).await;
    // Where this machine was so busy that the server was blind for long, it let go of both streams.
    let ended = goaway(&mut doomed).await;
    assert!(["revoked", "blind"].contains(&ended.as_str()), "{ended}");
    revoked.heartbeat(&two).await.refused(401, "invalid_session");
    if ended == "blind" {
        stream = open(&two, &agent).await;
    }
    let frame = gateway::next(&mut stream).await.unwrap();
    assert!(matches!(frame, Some(Down::Command(_))), "{frame:?}");
}

/// What befalls a database.
enum Mishap {
    /// Every connection is cut.
    Cut { url: String },
    /// The server crashes and comes back.
    Crash(Box<OwnPostgres>),
}

impl Mishap {
    async fn strike(&self) {
        let url = match self {
            Self::Cut { url } => url,
            Self::Crash(postgres) => return postgres.crash().await,
        };
        let mut admin = PgConnection::connect(url).await.unwrap();
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        sqlx::query(sql).execute(&mut admin).await.unwrap();
    }
}

async fn nothing_that_was_acknowledged_is_lost_with_the_connections(place: Place) {
    let one = TestServer::start(&place).await;
    let url = place.database_url.clone().unwrap();
    nothing_is_lost(&one, Mishap::Cut { url }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_when_postgres_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = OwnPostgres::start(folder.path()).await;
    let database_url = Some(postgres.url.clone());
    let place = Place { data_dir: folder.path().join("data"), database_url };
    let one = TestServer::start(&place).await;
    nothing_is_lost(&one, Mishap::Crash(Box::new(postgres))).await;
}

/// Gives commands by two servers while something befalls their database now and then.
async fn nothing_is_lost(one: &TestServer, mishap: Mishap) {
    let two = one.second().await;
    let agent = TestAgent::admitted(one, "web-1").await;
    let path = format!("/api/v1/agents/{}/commands", agent.agent_id);
    let mut acknowledged = BTreeSet::new();
    for n in 0..60 {
        if n % 20 == 10 {
            mishap.strike().await;
        }
        let body = json!({
            "kind": "subsystem.run",
            "params": { "subsystem": "system" },
            "idempotency_key": format!("order-{n}"),
        });
        let server = if n % 2 == 0 { one } else { &two };
        let given = async || {
            let answer = server.client.post(&path, &server.admin_key, &body).await;
            if answer.status != 202 {
                assert_eq!(answer.status, 503, "{answer:?}");
                return None;
            }
            Some(answer.text("id"))
        };
        acknowledged.insert(until("the server to take the command", given).await);
    }
    assert_eq!(acknowledged.len(), 60);
    let listed = format!("/api/v1/commands?limit=500&agent_id={}", agent.agent_id);
    let page = one.client.get(&listed, &one.admin_key).await.expect(200);
    let kept: BTreeSet<String> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|command| command["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kept, acknowledged);
    match mishap {
        Mishap::Cut { .. } => {}
        Mishap::Crash(postgres) => postgres.end().await,
    }
}

on_shared!(
    what_is_revoked_here_is_dead_there,
    a_key_that_is_revoked_here_is_dead_there,
    an_organisation_that_is_shut_out_here_is_shut_out_there,
    a_command_reaches_an_agent_on_the_other_server,
    the_newest_stream_wins_on_whichever_server,
    a_proof_that_opened_a_stream_opens_no_other_anywhere,
    a_blind_server_lets_nobody_in_and_hands_out_nothing,
    nothing_that_was_acknowledged_is_lost_with_the_connections,
);
