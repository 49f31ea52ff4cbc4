//! The server is away: what agents tell meanwhile waits on their disks and arrives once.

use argosy_e2e::{database::Place, on_both, process::until};
use serde_json::{Value, json};

use crate::fleet::{AgentProcess, Fleet};

async fn started(fleet: &Fleet, agent: &str) -> Vec<Value> {
    let path = format!("/api/v1/agents/{agent}/events?kind=agent.started&limit=500");
    fleet.get(&path).await["items"].as_array().unwrap().clone()
}

async fn what_is_told_during_an_outage_arrives_once(place: Place) {
    let mut fleet = Fleet::start(&place, "server").await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let mut agent = AgentProcess::start(&fleet, &token);
    let shown = fleet.agent("the agent to be connected", |a| a["connected"] == true).await;
    let id = shown["agent_id"].as_str().unwrap().to_owned();
    until("the first event", || async { (started(&fleet, &id).await.len() == 1).then_some(()) })
        .await;
    let path = format!("/api/v1/agents/{id}/telemetry");
    let newest = until("telemetry", || async {
        let told = fleet.get(&path).await;
        let some = told["latest"].as_array().unwrap().iter().any(|s| s["metric"] == "load_1m");
        some.then_some(told)
    })
    .await;
    assert!(newest["latest"].as_array().unwrap().iter().all(|s| s["value"].is_number()));

    // Each start of the agent is an event, and nobody is there to take it.
    fleet.kill_server().await;
    for _ in 0..3 {
        let before = agent.status().await["process"]["pid"].clone();
        agent.kill().await;
        agent.start_again();
        until("the start to wait on disk", || async {
            let process = agent.status().await["process"].clone();
            let waits = process["spool"]["entries"].as_u64() > Some(0);
            (process["pid"] != before && waits).then_some(())
        })
        .await;
    }
    fleet.start_server().await;
    let all = until("every start", || async {
        let all = started(&fleet, &id).await;
        (all.len() == 4).then_some(all)
    })
    .await;
    until("the spool to be empty", || async {
        (agent.status().await["process"]["spool"]["entries"] == 0).then_some(())
    })
    .await;
    assert_eq!(started(&fleet, &id).await, all, "and nothing twice");
}

on_both!(what_is_told_during_an_outage_arrives_once);
