//! Commands that are no longer wanted, at every point of their lives.

use argosy_wire::statement::CancelStatement;

use super::*;

impl Rig {
    fn cancel_of(&self, sequence: i64, subsystem: &str) -> CancelStatement {
        let command = self.command(sequence, &params(subsystem));
        CancelStatement {
            server: command.server,
            org: command.org,
            agent: command.agent,
            command_id: command.command_id,
            kind: command.kind,
            params_sha256: command.params_sha256,
            sequence: command.sequence,
            server_time: command.server_time,
        }
    }

    async fn withdraw_statement(&self, engine: &Engine, cancel: &CancelStatement) -> Offered {
        let envelope = Signed::new(&self.command_key, cancel);
        engine.withdraw(envelope, self.certified()).await
    }

    async fn withdraw(&self, engine: &Engine, sequence: i64, subsystem: &str) -> Offered {
        self.withdraw_statement(engine, &self.cancel_of(sequence, subsystem)).await
    }
}

fn finished(offered: Offered) -> FinishedCommand {
    let Offered::Finished(finished) = offered else { panic!("not over: {offered:?}") };
    finished
}

#[tokio::test]
async fn one_that_waits_never_starts() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    rig.offer(&engine, 1, "system").await;
    let over = finished(rig.withdraw(&engine, 1, "system").await);
    assert_eq!((over.outcome, code(&over.payload)), (Outcome::Cancelled, "withdrawn".into()));
    assert_eq!(rig.receipt(&over).started_at, None);
    assert_eq!(rig.withdraw(&engine, 1, "system").await, Offered::Finished(over.clone()));
    drop(engine);
    let mut running = rig.start();
    rig.offer(&running.engine, 2, "system").await;
    running.finished("c2").await;
    assert_eq!(running.engine.result("c1".parse().unwrap()).await.unwrap(), Some(over));
    assert_eq!(rig.runs(), 1, "only the other one ran");
}

#[tokio::test]
async fn one_that_was_never_heard_of_takes_its_place_and_never_starts() {
    let rig = Rig::new();
    let mut running = rig.start();
    let over = finished(rig.withdraw(&running.engine, 1, "system").await);
    assert_eq!(over.outcome, Outcome::Cancelled);
    assert_eq!(rig.receipt(&over).params_sha256, digest(Sha256::of(&params("system"))));
    let late = rig.offer(&running.engine, 1, "system").await;
    assert_eq!(late, Offered::Finished(over), "the command itself comes later");
    rig.offer(&running.engine, 2, "system").await;
    running.finished("c2").await;
    let replayed =
        CancelStatement { command_id: "c9".parse().unwrap(), ..rig.cancel_of(2, "system") };
    let answer = rig.withdraw_statement(&running.engine, &replayed).await;
    assert_eq!(answer, Offered::Replayed("c9".parse().unwrap()));
    assert_eq!(rig.runs(), 1);
}

#[tokio::test]
async fn one_that_runs_is_stopped() {
    let rig = Rig::new();
    let mut running = rig.start();
    rig.offer(&running.engine, 1, "updates").await;
    running.event(EngineEvent::Started("c1".parse().unwrap())).await;
    let answer = rig.withdraw(&running.engine, 1, "updates").await;
    assert_eq!(answer, Offered::Received("c1".parse().unwrap()));
    let over = running.finished("c1").await;
    assert_eq!((over.outcome, code(&over.payload)), (Outcome::Cancelled, "stopped".into()));
    assert!(rig.receipt(&over).started_at.is_some());
    assert_eq!(running.engine.running(), []);
}

#[tokio::test]
async fn one_that_a_crash_interrupted_does_not_begin_again() {
    let rig = Rig::new();
    let mut running = rig.start();
    rig.offer(&running.engine, 1, "updates").await;
    running.event(EngineEvent::Started("c1".parse().unwrap())).await;
    running.crash().await;
    let (engine, _events) = rig.idle();
    let over = finished(rig.withdraw(&engine, 1, "updates").await);
    assert_eq!((over.outcome, code(&over.payload)), (Outcome::Cancelled, "stopped".into()));
    assert!(rig.receipt(&over).started_at.is_some(), "it had begun");
}

#[tokio::test]
async fn one_that_is_over_stays_as_it_ended() {
    let rig = Rig::new();
    let mut running = rig.start();
    rig.offer(&running.engine, 1, "system").await;
    let over = running.finished("c1").await;
    assert_eq!(rig.withdraw(&running.engine, 1, "system").await, Offered::Finished(over.clone()));
    rig.acknowledge(&running.engine, &rig.ack_of(&over)).await.unwrap();
    let answer = rig.withdraw(&running.engine, 1, "system").await;
    assert!(matches!(answer, Offered::Acknowledged { outcome: Outcome::Succeeded, .. }));
}

#[tokio::test]
async fn only_the_server_withdraws_and_only_from_this_agent() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    rig.offer(&engine, 1, "system").await;
    let good = rig.cancel_of(1, "system");
    let wrong = [
        (CancelStatement { server: Fixed([9; 32]), ..good.clone() }, Untrusted::Server),
        (CancelStatement { agent: "a2".parse().unwrap(), ..good.clone() }, Untrusted::Agent),
        (CancelStatement { org: "other".parse().unwrap(), ..good.clone() }, Untrusted::Org),
        (
            CancelStatement { server_time: at(SERVER_NOW - 9_000), ..good.clone() },
            Untrusted::Window,
        ),
    ];
    for (cancel, why) in wrong {
        let id = Some(cancel.command_id.clone());
        let answer = rig.withdraw_statement(&engine, &cancel).await;
        assert_eq!(answer, Offered::Invalid { id, why });
    }
    let forged = Signed::new(&SigningKey::from_bytes(&[7; 32]), &good);
    let answer = engine.withdraw(forged, rig.certified()).await;
    assert!(matches!(answer, Offered::Invalid { id: None, .. }), "{answer:?}");
    let as_command = Signed::new(&rig.command_key, &rig.command(1, &params("system")));
    let answer = engine.withdraw(as_command, rig.certified()).await;
    assert!(matches!(answer, Offered::Invalid { id: None, .. }), "{answer:?}");
    drop(engine);
    let mut running = rig.start();
    assert_eq!(running.finished("c1").await.outcome, Outcome::Succeeded);
}
