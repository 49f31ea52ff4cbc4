//! What a crash, a reboot and a lost journal leave behind.

use super::*;
use crate::journal::Started;

fn id(text: &str) -> CommandId {
    text.parse().unwrap()
}

/// Puts a command into the journal as if it had been started before a crash.
fn started(rig: &Rig, kind: &str, runs: u32) {
    let journal = rig.journal();
    let state = Started { params: params("system"), at: at(900), runs, order: None };
    let record = CommandRecord {
        id: id("c1"),
        org: OrgId::default_org(),
        sequence: CommandSeq(1),
        kind: kind.into(),
        params_sha256: digest(Sha256::of(&params("system"))),
        state: RecordState::Started(state),
    };
    journal.take(&record).unwrap();
}

#[tokio::test]
async fn a_command_that_a_crash_interrupted_is_repeated_and_ends_once() {
    let rig = Rig::new();
    let mut running = rig.start();
    rig.offer(&running.engine, 1, "updates").await;
    running.event(EngineEvent::Started(id("c1"))).await;
    running.crash().await;

    let mut running = rig.start();
    running.event(EngineEvent::Started(id("c1"))).await;
    assert_eq!(running.engine.running(), [id("c1")]);
    let offered = rig.offer(&running.engine, 1, "updates").await;
    assert_eq!(offered, Offered::Received(id("c1")));
    running.crash().await;
    assert_eq!(rig.runs(), 2);

    let journal = rig.journal();
    let records = journal.open_records().unwrap();
    let [CommandRecord { state: RecordState::Started(started), .. }] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!((started.runs, started.at), (2, at(1_000)));
}

#[tokio::test]
async fn a_repeated_command_ends_like_any_other() {
    let rig = Rig::new();
    started(&rig, "subsystem.run", 1);
    let mut running = rig.start();
    let finished = running.finished("c1").await;
    assert_eq!(finished.outcome, Outcome::Succeeded);
    assert_eq!(rig.receipt(&finished).started_at, Some(at(900)));
}

#[tokio::test]
async fn what_must_not_start_twice_ends_interrupted() {
    for (kind, runs) in [("subsystem.run", 1_000), ("of.another.version", 1)] {
        let rig = Rig::new();
        started(&rig, kind, runs);
        let (engine, _events) = rig.idle();
        let finished = engine.result(id("c1")).await.unwrap().unwrap();
        assert_eq!(finished.outcome, Outcome::Failed);
        assert_eq!(code(&finished.payload), "interrupted");
        assert_eq!(rig.receipt(&finished).started_at, Some(at(900)));
        assert_eq!(rig.runs(), 0);
    }
}

#[tokio::test]
async fn a_result_is_the_same_after_a_restart() {
    let rig = Rig::new();
    let mut running = rig.start();
    rig.offer(&running.engine, 1, "system").await;
    let finished = running.finished("c1").await;
    running.crash().await;
    let (engine, _events) = rig.idle();
    assert_eq!(engine.unacknowledged(), [id("c1")]);
    assert_eq!(engine.result(id("c1")).await.unwrap(), Some(finished.clone()));
    rig.acknowledge(&engine, &rig.ack_of(&finished)).await.unwrap();
    drop(engine);
    let (engine, _events) = rig.idle();
    assert_eq!(engine.unacknowledged(), []);
    assert_eq!(rig.runs(), 1);
}

#[tokio::test]
async fn after_a_reboot_a_waiting_command_needs_the_servers_time() {
    let mut rig = Rig::new();
    for sequence in [1, 2] {
        let (engine, _events) = rig.idle();
        rig.offer(&engine, sequence, "system").await;
    }
    rig.boot = "boot-2";
    let mut running = rig.start();
    rig.offer(&running.engine, 3, "system").await;
    running.finished("c3").await;
    assert_eq!(rig.runs(), 1, "nobody can say whether the others are still wanted");
    running.engine.observe_server_time(at(SERVER_NOW + 3_599));
    running.finished("c2").await;
    assert_eq!(rig.runs(), 3);
    assert_eq!(
        rig.receipt(&running.engine.result(id("c2")).await.unwrap().unwrap()).boot_id,
        "boot-2"
    );
}

#[tokio::test]
async fn a_journal_that_fails_stops_the_engine_and_promises_nothing() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    let error = JournalError::CorruptRecord { what: "c1".into() };
    engine.inner.fail(error);
    let ended = engine.run(CancellationToken::new()).await.unwrap_err();
    assert_eq!(ended.to_string(), "the journal's record of c1 is damaged");
}

#[tokio::test]
async fn a_kind_that_leaves_a_mark_ends_as_its_mark_says() {
    let report = b"{\"restarted\":true}".to_vec();
    let done = RunOutcome::Succeeded { report };
    for (mark, outcome) in [
        (Probed::Ended(done), Some(Outcome::Succeeded)),
        (Probed::Unknown, Some(Outcome::Failed)),
        (Probed::Again, None),
    ] {
        let rig = Rig::new();
        started(&rig, "agent.restart", 1);
        *rig.runner.mark.lock().unwrap() = Some(mark);
        let (engine, _events) = rig.idle();
        let ended = engine.result(id("c1")).await.unwrap().map(|finished| finished.outcome);
        assert_eq!(ended, outcome);
        assert_eq!(rig.runs(), 0);
    }
}
