//! The server is away: what agents tell meanwhile waits on their disks and arrives once.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use argosy_agent::{
    journal::Journal,
    spool::{Measured, Spool},
    state_dir::StateDir,
};
use argosy_config::host::{OsEntropy, SystemClock};
use argosy_domain::{
    id::IdSource, limits::SPOOL_BYTES_MAX, telemetry::Severity, time::Clock as _, time::Timestamp,
};
use argosy_e2e::{
    database::{Place, on_sqlite},
    on_both,
    process::until,
};
use serde_json::Value;

use crate::fleet::Fleet;

async fn started(fleet: &Fleet, agent: &str) -> Vec<Value> {
    let path = format!("/api/v1/agents/{agent}/events?kind=agent.started&limit=500");
    fleet.get(&path).await["items"].as_array().unwrap().clone()
}

async fn what_is_told_during_an_outage_arrives_once(place: Place) {
    let (mut fleet, mut agent, id) = Fleet::with_agent(&place).await;
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

/// A restart is announced: the agent is back as soon as it was told to come, and what it was doing goes on.
async fn a_restart_costs_no_more_than_the_way_back(place: Place) {
    let (mut fleet, _agent, id) = Fleet::with_agent(&place).await;
    let command = fleet.command(&id, "updates").await;
    fleet.command_in(&command, &["received", "running", "succeeded"]).await;
    fleet.stop_server().await;
    fleet.start_server().await;
    let ready = Instant::now();
    fleet.agent("the agent to be back", |a| a["connected"] == true).await;
    assert!(ready.elapsed() < BACK_WITHIN, "{:?}", ready.elapsed());
    fleet.succeeded(&command).await;
    let log = std::fs::read_to_string(fleet.folder.join("agent.log")).unwrap();
    assert!(log.contains("draining"), "{log}");
}

/// A day, as an agent sees it: a measurement every five minutes, an event every quarter of an hour.
const DAY_S: i64 = 24 * 3600;
const MEASURED_EVERY_S: i64 = 300;
const TOLD_EVERY_S: i64 = 900;
/// A server that was ready at once is found again in this time: two seconds, on a machine that is not busy.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// What an agent may need more when a day waits on its disk.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

/// Leaves in an agent's state directory what it would have collected on the day before.
fn a_day_passes(state_dir: &Path) {
    let ids = || IdSource::new(Arc::new(SystemClock), Arc::new(OsEntropy));
    let journal = Journal::open(&StateDir::open(state_dir).unwrap(), &ids()).unwrap();
    let spool = Spool::beside(&journal, ids()).unwrap();
    let begin = SystemClock.now().as_seconds() - DAY_S;
    for second in (0..DAY_S).step_by(MEASURED_EVERY_S.try_into().unwrap()) {
        let at = Timestamp::from_seconds(begin + second);
        let value = Measured { metric: "of_the_day".into(), label: String::new(), value: 1.0 };
        spool.measured(at, vec![value]).unwrap();
        if second % TOLD_EVERY_S == 0 {
            spool.told(at, "day.passes", Severity::Info, second.to_string()).unwrap();
        }
    }
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn on_disk(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    files.filter(std::fs::Metadata::is_file).map(|file| file.len()).sum()
}

async fn a_day_without_a_server_arrives_once(place: Place) {
    let (mut fleet, mut agent, id) = Fleet::with_agent(&place).await;
    until("nothing to wait", || async {
        (agent.status().await["process"]["spool"]["entries"] == 0).then_some(())
    })
    .await;
    let before = resident_kib(agent.process_id());

    fleet.kill_server().await;
    agent.kill().await;
    a_day_passes(agent.state_dir());
    agent.start_again();
    let (measured, told) = (DAY_S / MEASURED_EVERY_S, DAY_S / TOLD_EVERY_S);
    until("the day to wait", || async {
        let waits = agent.status().await["process"]["spool"]["entries"].as_i64();
        (waits >= Some(measured + told)).then_some(())
    })
    .await;
    let (after, disk) = (resident_kib(agent.process_id()), on_disk(agent.state_dir()));
    assert!(after < before + GROWTH_KIB_MAX, "{before} KiB before, {after} KiB with a day");
    assert!(disk < 2 * SPOOL_BYTES_MAX, "{disk} bytes on disk");

    fleet.start_server().await;
    until("the day to be told", || async {
        (agent.status().await["process"]["spool"]["entries"] == 0).then_some(())
    })
    .await;
    let events = fleet.get(&format!("/api/v1/agents/{id}/events?kind=day.passes&limit=500")).await;
    let messages = events["items"].as_array().unwrap().iter().map(|event| &event["message"]);
    let messages: Vec<&str> = messages.map(|message| message.as_str().unwrap()).collect();
    let distinct: BTreeSet<&str> = messages.iter().copied().collect();
    assert_eq!((messages.len(), distinct.len()), (told as usize, told as usize));
    let path = format!("/api/v1/agents/{id}/telemetry?metric=of_the_day&since=2d&step=1h");
    let history = fleet.get(&path).await;
    let points = history["series"][0]["points"].as_array().unwrap().iter();
    assert_eq!(points.map(|point| point["count"].as_i64().unwrap()).sum::<i64>(), measured);
}

// What the agent keeps is the same for both databases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days() {
    on_sqlite(a_day_without_a_server_arrives_once).await;
}

on_both!(what_is_told_during_an_outage_arrives_once, a_restart_costs_no_more_than_the_way_back);
