//! What is not taken, what is taken and refused, and in which order that is found out.

use super::*;

fn id(text: &str) -> CommandId {
    text.parse().unwrap()
}

#[tokio::test]
async fn what_does_not_fit_by_signature_name_or_digest_leaves_no_trace() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    let params = params("system");
    let good = rig.command(1, &params);
    let stranger = SigningKey::from_bytes(&[7; 32]);

    let statements = [
        (CommandStatement { server: Fixed([9; 32]), ..good.clone() }, Untrusted::Server),
        (CommandStatement { agent: "a2".parse().unwrap(), ..good.clone() }, Untrusted::Agent),
        (CommandStatement { params_sha256: Fixed([9; 32]), ..good.clone() }, Untrusted::Params),
        (
            CommandStatement { server_time: at(SERVER_NOW - 2_000), ..good.clone() },
            Untrusted::Window,
        ),
    ];
    for (statement, expected) in statements {
        let offered = rig.offer_statement(&engine, &statement, &params).await;
        assert_eq!(offered, Offered::Invalid { id: Some(id("c1")), why: expected });
    }

    let certificate = rig.certificate();
    let certificates = [
        Signed::new(&stranger, &certificate),
        Signed::new(
            &rig.identity_key,
            &KeyCertificate { usage: "audit".into(), ..certificate.clone() },
        ),
        Signed::new(
            &rig.identity_key,
            &KeyCertificate { server: Fixed([9; 32]), ..certificate.clone() },
        ),
        Signed::new(
            &rig.identity_key,
            &KeyCertificate { public_key: public(&stranger), ..certificate.clone() },
        ),
        Signed::new(
            &rig.identity_key,
            &KeyCertificate { not_after: at(SERVER_NOW), ..certificate },
        ),
    ];
    for certificate in certificates {
        let envelope = Signed::new(&rig.command_key, &good);
        let offered = engine.offer(envelope, params.clone(), certificate).await;
        assert!(matches!(offered, Offered::Invalid { .. }), "{offered:?}");
    }
    let forged = Signed::new(&stranger, &good);
    let offered = engine.offer(forged, params.clone(), rig.certified()).await;
    assert!(matches!(offered, Offered::Invalid { id: None, .. }), "{offered:?}");

    assert_eq!(rig.offer(&engine, 1, "system").await, Offered::Received(id("c1")));
    let org = "other".parse().unwrap();
    let foreign = CommandStatement { org, ..rig.command(2, &params) };
    let offered = rig.offer_statement(&engine, &foreign, &params).await;
    assert_eq!(offered, Offered::Invalid { id: Some(id("c2")), why: Untrusted::Org });
}

#[tokio::test]
async fn a_key_whose_certificate_is_over_signs_nothing_more() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    engine.observe_server_time(at(SERVER_NOW + 1_000_000));
    let offered = rig.offer(&engine, 1, "system").await;
    assert_eq!(offered, Offered::Invalid { id: Some(id("c1")), why: Untrusted::Window });
}

#[tokio::test]
async fn a_sequence_that_is_not_above_the_high_water_mark_is_a_replay() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    rig.offer(&engine, 5, "system").await;
    for sequence in [4, 0, -1] {
        let offered = rig.offer(&engine, sequence, "system").await;
        assert_eq!(offered, Offered::Replayed(id(&format!("c{sequence}"))));
    }
    let params = params("system");
    let same = CommandStatement { command_id: id("other"), ..rig.command(5, &params) };
    let offered = rig.offer_statement(&engine, &same, &params).await;
    assert_eq!(offered, Offered::Replayed(id("other")));
}

#[tokio::test]
async fn the_hosts_policy_refuses_with_its_rule_and_a_receipt() {
    let rig = Rig::new();
    let text = "[subsystems]\nallow = [\"storage\"]\n";
    std::fs::write(&rig.policy, text).unwrap();
    let (engine, mut events) = rig.idle();
    let Offered::Finished(refused) = rig.offer(&engine, 1, "system").await else {
        panic!("not refused")
    };
    assert_eq!(refused.outcome, Outcome::Rejected);
    assert_eq!(code(&refused.payload), "refused_by_policy");
    let document = String::from_utf8(refused.payload.clone()).unwrap();
    assert!(document.contains("subsystems.allow does not list system"), "{document}");
    let receipt = rig.receipt(&refused);
    assert_eq!(receipt.policy_sha256, digest(Sha256::of(text.as_bytes())));
    assert_eq!(receipt.started_at, None);
    assert_eq!(events.recv().await, Some(EngineEvent::Finished(id("c1"))));
    drop(engine);
    let (engine, _events) = rig.idle();
    assert_eq!(engine.unacknowledged(), [id("c1")], "a refusal is as durable as a result");
    assert_eq!(rig.offer(&engine, 1, "system").await, Offered::Finished(refused));
}

#[tokio::test]
async fn a_policy_that_changed_since_receipt_holds_before_the_start() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    assert_eq!(rig.offer(&engine, 1, "system").await, Offered::Received(id("c1")));
    drop(engine);
    std::fs::write(&rig.policy, "no policy at all").unwrap();
    let mut running = rig.start();
    let refused = running.finished("c1").await;
    assert_eq!(refused.outcome, Outcome::Rejected);
    assert_eq!(code(&refused.payload), "refused_by_policy");
    assert_eq!(rig.receipt(&refused).policy_sha256, digest(Sha256::of(b"no policy at all")));
    assert_eq!(rig.runs(), 0);
}

#[tokio::test]
async fn what_this_version_cannot_carry_out_is_rejected_by_name() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    let cases: [(&str, &[u8], &str); 3] = [
        ("workload.spawn", b"{}", "unknown_kind"),
        ("subsystem.run", b"{\"subsystem\":\"shell\"}", "invalid_params"),
        ("subsystem.run", b"\xff", "invalid_params"),
    ];
    for (sequence, (kind, params, expected)) in (1..).zip(cases) {
        let statement = CommandStatement { kind: kind.into(), ..rig.command(sequence, params) };
        let Offered::Finished(refused) = rig.offer_statement(&engine, &statement, params).await
        else {
            panic!("not refused")
        };
        assert_eq!(refused.outcome, Outcome::Rejected);
        assert_eq!(code(&refused.payload), expected);
    }
}

#[tokio::test]
async fn what_is_over_as_it_arrives_ends_expired() {
    let rig = Rig::new();
    let (engine, _events) = rig.idle();
    engine.observe_server_time(at(SERVER_NOW + 3_600));
    let Offered::Finished(expired) = rig.offer(&engine, 1, "system").await else {
        panic!("a command that was held back for an hour was taken")
    };
    assert_eq!(expired.outcome, Outcome::Expired);
}

#[tokio::test]
async fn at_capacity_nothing_is_taken_and_nothing_higher_before_it_comes_again() {
    let mut rig = Rig::new();
    rig.capacity = 1;
    let (engine, _events) = rig.idle();
    assert_eq!(rig.offer(&engine, 1, "system").await, Offered::Received(id("c1")));
    for sequence in [2, 3] {
        let offered = rig.offer(&engine, sequence, "system").await;
        assert!(matches!(offered, Offered::Busy { .. }), "{offered:?}");
    }
    // The first is carried out; there is room again.
    let worker = engine.clone();
    let work = tokio::spawn(async move { worker.run(CancellationToken::new()).await });
    while engine.unacknowledged().is_empty() {
        tokio::task::yield_now().await;
    }
    let offered = rig.offer(&engine, 3, "system").await;
    assert!(matches!(offered, Offered::Busy { .. }), "the second would be lost: {offered:?}");
    assert_eq!(rig.offer(&engine, 2, "system").await, Offered::Received(id("c2")));
    while engine.unacknowledged().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.offer(&engine, 3, "system").await, Offered::Received(id("c3")));
    work.abort();
}

#[tokio::test]
async fn a_new_stream_starts_over_after_busy() {
    let mut rig = Rig::new();
    rig.capacity = 0;
    let (engine, _events) = rig.idle();
    let offered = rig.offer(&engine, 1, "system").await;
    assert!(matches!(offered, Offered::Busy { .. }), "{offered:?}");
    assert_eq!(engine.inner.books().held_back, Some(CommandSeq(1)));
    engine.hello(Fixed([0; 32]));
    assert_eq!(engine.inner.books().held_back, None);
}
