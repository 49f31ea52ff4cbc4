//! An agent behind something that breaks HTTP/2 and streams: it polls by itself, everything arrives,
//! and it comes back to the stream once one gets through.

use std::time::{Duration, Instant};

use argosy_e2e::{
    database::{Place, on_sqlite},
    on_both,
    process::until,
    proxy::{Http2, Proxy},
};
use serde_json::json;

use crate::fleet::{AgentProcess, Fleet};

/// A command over a call that waits; the best of several, because a test's machine may be busy.
const DONE_WITHIN: Duration = Duration::from_secs(2);

async fn enrolled(fleet: &Fleet, proxy: &Proxy) -> (AgentProcess, String) {
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let agent = AgentProcess::through(fleet, proxy, &token);
    (agent, fleet.connected().await)
}

async fn travels_by(agent: &AgentProcess, channel: &str) {
    until(channel, || async {
        (agent.status().await["process"]["channel"] == channel).then_some(())
    })
    .await;
}

async fn an_agent_behind_a_proxy_without_http_2_polls(place: Place) {
    let (mut fleet, proxy) = Fleet::behind_a_proxy(&place).await;
    proxy.http2(Http2::Refused);
    let (mut agent, id) = enrolled(&fleet, &proxy).await;
    travels_by(&agent, "long_poll").await;

    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let over = fleet.succeeded(&fleet.command(&id, "storage").await).await;
        fastest = fastest.min(began.elapsed());
        assert_eq!(over["unsigned"], false);
    }
    assert!(fastest < DONE_WITHIN, "{fastest:?}");
    // What is uploaded beside it goes the same way.
    until("inventory", || async {
        let all = fleet.get(&format!("/api/v1/agents/{id}/inventory")).await;
        (!all["items"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
    until("telemetry", || async {
        let told = fleet.get(&format!("/api/v1/agents/{id}/telemetry")).await;
        (!told["latest"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;

    // Either side dies in the middle.
    for _ in 0..2 {
        let command = fleet.command(&id, "storage").await;
        fleet.kill_server().await;
        fleet.start_server().await;
        fleet.succeeded(&command).await;
        let command = fleet.command(&id, "storage").await;
        agent.kill().await;
        agent.start_again();
        fleet.succeeded(&command).await;
    }
    fleet.agent("the agent to be connected again", |a| a["connected"] == true).await;
    travels_by(&agent, "long_poll").await;
}

async fn streams_that_are_cut_give_way_to_polls_until_they_last(place: Place) {
    let (fleet, proxy) = Fleet::behind_a_proxy(&place).await;
    let (agent, id) = enrolled(&fleet, &proxy).await;
    travels_by(&agent, "stream").await;

    let cut = Http2::CutAfter(Duration::from_millis(300));
    proxy.http2(cut);
    // Those that are open end; the next ones fare as the rule says.
    proxy.cut();
    travels_by(&agent, "long_poll").await;
    fleet.succeeded(&fleet.command(&id, "storage").await).await;

    proxy.http2(Http2::Passes);
    travels_by(&agent, "stream").await;
    fleet.succeeded(&fleet.command(&id, "storage").await).await;
    fleet.agent("the agent to be connected", |a| a["connected"] == true).await;
}

async fn streams_whose_answers_are_collected_give_way_to_polls(place: Place) {
    let (fleet, proxy) = Fleet::behind_a_proxy(&place).await;
    proxy.http2(Http2::Collected);
    let (agent, id) = enrolled(&fleet, &proxy).await;
    travels_by(&agent, "long_poll").await;
    fleet.succeeded(&fleet.command(&id, "storage").await).await;
}

on_both!(
    an_agent_behind_a_proxy_without_http_2_polls,
    streams_that_are_cut_give_way_to_polls_until_they_last,
);

// The proxy is the same for both databases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collected() {
    on_sqlite(streams_whose_answers_are_collected_give_way_to_polls).await;
}
