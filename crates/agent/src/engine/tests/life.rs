//! The life of a command that nothing goes wrong with, and of those that end badly by themselves.

use super::*;

#[tokio::test]
async fn a_command_is_carried_out_once_and_kept_until_it_is_acknowledged() {
    let rig = Rig::new();
    let mut running = rig.start();
    assert_eq!(rig.offer(&running.engine, 1, "system").await, Offered::Received(id("c1")));
    running.event(EngineEvent::Started(id("c1"))).await;
    let finished = running.finished("c1").await;
    assert_eq!(finished.outcome, Outcome::Succeeded);
    assert_eq!(finished.payload, b"{\"report\":{\"ok\":true}}");
    let receipt = rig.receipt(&finished);
    assert_eq!(receipt.params_sha256, digest(Sha256::of(&params("system"))));
    assert_eq!(receipt.policy_sha256, digest(Sha256::of(b"")));
    assert_eq!(receipt.boot_id, "boot-1");
    assert!(receipt.started_at.is_some());

    let again = rig.offer(&running.engine, 1, "system").await;
    assert_eq!(again, Offered::Finished(finished.clone()));
    assert_eq!(running.engine.unacknowledged(), [id("c1")]);

    let ack = rig.ack_of(&finished);
    for _ in 0..2 {
        assert_eq!(rig.acknowledge(&running.engine, &ack).await.unwrap(), id("c1"));
    }
    assert_eq!(running.engine.unacknowledged(), []);
    assert_eq!(running.engine.result(id("c1")).await.unwrap(), None);
    let again = rig.offer(&running.engine, 1, "system").await;
    let FinishedCommand { outcome, receipt, .. } = finished;
    assert_eq!(again, Offered::Acknowledged { id: id("c1"), outcome, receipt });
    assert_eq!(rig.runs(), 1);
}

#[tokio::test]
async fn an_acknowledgment_counts_only_from_the_server_and_for_this_result() {
    let rig = Rig::new();
    let mut running = rig.start();
    rig.offer(&running.engine, 1, "system").await;
    let finished = running.finished("c1").await;
    let good = rig.ack_of(&finished);
    let wrong = [
        ResultAckStatement { server: Fixed([9; 32]), ..good.clone() },
        ResultAckStatement { agent: "a2".parse().unwrap(), ..good.clone() },
        ResultAckStatement { command_id: id("c2"), ..good.clone() },
        ResultAckStatement { result_sha256: Fixed([9; 32]), ..good.clone() },
    ];
    for ack in wrong {
        rig.acknowledge(&running.engine, &ack).await.unwrap_err();
    }
    let forged = Signed::new(&SigningKey::from_bytes(&[7; 32]), &good);
    running.engine.acknowledge(forged, rig.certified()).await.unwrap_err();
    assert_eq!(running.engine.unacknowledged(), [id("c1")]);

    rig.offer(&running.engine, 2, "updates").await;
    running.event(EngineEvent::Started(id("c2"))).await;
    let early = ResultAckStatement { command_id: id("c2"), ..good };
    let error = rig.acknowledge(&running.engine, &early).await.unwrap_err();
    assert!(matches!(error, AckError::NotAcknowledged(_)), "{error}");
}

#[tokio::test]
async fn a_runner_that_panics_ends_its_own_command_only() {
    let rig = Rig::new();
    let mut running = rig.start();
    rig.offer(&running.engine, 1, "storage").await;
    rig.offer(&running.engine, 2, "system").await;
    let panicked = running.finished("c1").await;
    assert_eq!((panicked.outcome, code(&panicked.payload)), (Outcome::Failed, "panicked".into()));
    rig.receipt(&panicked);
    let mut finished = running.engine.result(id("c2")).await.unwrap();
    if finished.is_none() {
        finished = Some(running.finished("c2").await);
    }
    assert_eq!(finished.unwrap().outcome, Outcome::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_hangs_is_stopped_and_holds_up_nobody() {
    let rig = Rig::new();
    let mut running = rig.start();
    rig.offer(&running.engine, 1, "updates").await;
    rig.offer(&running.engine, 2, "system").await;
    running.event(EngineEvent::Finished(id("c2"))).await;
    assert_eq!(running.engine.running(), [id("c1")]);
    let stopped = running.finished("c1").await;
    assert_eq!((stopped.outcome, code(&stopped.payload)), (Outcome::TimedOut, "timed_out".into()));
    assert_eq!(running.engine.running(), []);
}

#[tokio::test]
async fn what_waits_too_long_expires_by_the_boot_clock() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    rig.offer(&engine, 1, "system").await;
    rig.clock.pass(3_600);
    drop(engine);
    let mut running = rig.start();
    let expired = running.finished("c1").await;
    assert_eq!((expired.outcome, code(&expired.payload)), (Outcome::Expired, "expired".into()));
    assert_eq!(rig.receipt(&expired).started_at, None);
    assert_eq!(rig.runs(), 0);
}

#[tokio::test]
async fn nothing_starts_before_its_time() {
    let rig = Rig::new();
    let mut running = rig.start();
    let params = params("system");
    let later = CommandStatement { not_before: at(SERVER_NOW + 600), ..rig.command(1, &params) };
    rig.offer_statement(&running.engine, &later, &params).await;
    rig.offer(&running.engine, 2, "system").await;
    running.finished("c2").await;
    assert_eq!(running.engine.result(id("c1")).await.unwrap(), None);
    rig.clock.pass(600);
    rig.offer(&running.engine, 3, "system").await;
    running.finished("c1").await;
}

#[tokio::test]
async fn hello_names_the_journal_and_how_far_it_is() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    rig.offer(&engine, 7, "system").await;
    let hello: HelloStatement =
        engine.hello(Fixed([5; 32])).verify(&rig.keys.identity_public()).unwrap();
    assert_eq!(hello.high_water, CommandSeq(7));
    assert_eq!(hello.session_sha256, Fixed([5; 32]));
    drop(engine);
    assert_eq!(hello.journal_id, *rig.journal().id());
}

#[tokio::test]
async fn ids_are_forgotten_by_the_servers_time_and_not_by_the_hosts() {
    let rig = Rig::new();
    let mut running = rig.start();
    rig.offer(&running.engine, 1, "system").await;
    let finished = running.finished("c1").await;
    running.engine.observe_server_time(at(SERVER_NOW));
    rig.acknowledge(&running.engine, &rig.ack_of(&finished)).await.unwrap();
    let remembered = |engine: &Engine| engine.inner.parts.journal.get(&id("c1")).unwrap().is_some();
    let day = 24 * 3600;
    rig.clock.0.lock().unwrap().0 = at(SERVER_NOW * 2);
    assert!(running.engine.inner.purge());
    assert!(remembered(&running.engine), "a clock that was put forward forgot an id");
    running.crash().await;

    rig.clock.pass(91 * day);
    let (engine, _events) = rig.idle();
    assert!(!engine.inner.purge());
    assert!(remembered(&engine), "an id was forgotten by a clock that nobody has verified");
    engine.observe_server_time(at(SERVER_NOW + 91 * i64::try_from(day).unwrap()));
    assert!(engine.inner.purge());
    assert!(!remembered(&engine));
}

fn id(text: &str) -> CommandId {
    text.parse().unwrap()
}
