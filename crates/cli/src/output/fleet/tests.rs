//! Agents as tables.

use argosy_wire::rest::agents::Sighting;

use super::*;
use crate::output::tests::plain as view;

pub(crate) fn web(status: &str) -> Agent {
    Agent {
        agent_id: "0195-web-1".into(),
        name: "web-1".into(),
        account_id: 1,
        status: status.into(),
        approval_status: status.into(),
        health: "healthy".into(),
        connected: true,
        assurance: "proof_of_possession".into(),
        version: Some("0.1.0".into()),
        platform: Some("linux-amd64".into()),
        hostname: Some("web-1.example".into()),
        labels: [("env".to_owned(), "prod".to_owned())].into(),
        fingerprint: Some("e3b0 c442 98fc 1c14 9afb f4c8 996f b924".into()),
        machine_bound: true,
        last_seen_at: Some("2026-11-22T11:57:00.000000Z".into()),
        registered_at: "2026-11-20T12:00:00.000000Z".into(),
        registered_from: Some("10.0.0.5".into()),
        approved_by: Some("user:ada".into()),
        approved_at: Some("2026-11-20T13:00:00.000000Z".into()),
        breakers: [("updates".to_owned(), "open".to_owned())].into(),
        reason: None,
        review: None,
        external_id: None,
        replaced_by: None,
        outdated: false,
    }
}

#[test]
fn the_list_has_a_line_for_each_agent() {
    let text = agents(&view(), &[web("approved")], false);
    assert_eq!(
        text,
        "NAME   STATUS    HEALTH   CONNECTED  VERSION  PLATFORM     LAST SEEN  ID\n\
         web-1  approved  healthy  yes        0.1.0    linux-amd64  3m ago     0195-web-1"
    );
}

#[test]
fn agents_that_wait_are_pointed_out() {
    let text = agents(&view(), &[web("pending"), web("approved")], false);
    assert!(text.contains("1 agent waits for approval: `argosy agent approve NAME`"), "{text}");
    assert!(text.contains("pending   -  "), "no health before approval: {text}");
}

#[test]
fn an_empty_list_says_what_to_do() {
    assert!(agents(&view(), &[], false).contains("argosy token create"));
    assert!(agents(&view(), &[], true).contains("No agent matches"));
}

#[test]
fn one_agent_shows_what_matters_and_the_next_step() {
    let text = agent(&view(), &web("pending"));
    for part in [
        "e3b0 c442 98fc 1c14 9afb f4c8 996f b924",
        "env=prod",
        "from 10.0.0.5",
        "breaker updates  open",
        "argosy agent approve 0195-web-1",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn what_is_under_review_shows_both_origins_and_what_can_be_done() {
    let seen = |machine: &str| Sighting {
        source: Some("192.0.2.1".into()),
        machine: Some(machine.into()),
        version: None,
        at: "2026-11-22T11:00:00.000000Z".into(),
    };
    let reviewed = |reason: &str| Agent {
        review: Some(Review {
            reason: reason.into(),
            since: "2026-11-22T11:00:00.000000Z".into(),
            origins: vec![seen("8d969eef6ecad3c2"), seen("2c26b46b68ffc68f")],
        }),
        outdated: true,
        ..web("approved")
    };
    let moved = reviewed("machine_mismatch");
    let text = agent(&view(), &moved);
    for part in ["8d969eef6ecad3c2", "2c26b46b68ffc68f", "known", "new", "agent rebind 0195-web-1"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(rebind_question(&view(), &moved).contains("2c26b46b68ffc68f"));
    for reason in ["clone", "downgrade"] {
        assert!(agent(&view(), &reviewed(reason)).contains("agent restore 0195-web-1"));
    }
    let list = agents(&view(), &[moved], false);
    assert!(list.contains("approved (review)") && list.contains("0.1.0 (outdated)"), "{list}");
    assert!(handed_over("agent_x").contains("argosy-agent refresh"));
}

#[test]
fn the_question_shows_the_fingerprint_large() {
    let text = approval_question(&view(), &web("pending"));
    assert!(text.contains("    e3b0  c442  98fc  1c14\n    9afb  f4c8  996f  b924\n"), "{text}");
    let bare = Agent { fingerprint: None, ..web("pending") };
    assert!(approval_question(&view(), &bare).contains("no keys of its own"));
}

#[test]
fn the_status_fits_a_glance() {
    let status = FleetStatus {
        version: "0.1.0".into(),
        server_thumbprint: "abc".into(),
        database: "sqlite".into(),
        started_at: "2026-11-22T11:00:00.000000Z".into(),
        agents: [("approved".to_owned(), 3), ("pending".to_owned(), 2), ("revoked".to_owned(), 0)]
            .into(),
        health: [("offline".to_owned(), 1), ("healthy".to_owned(), 2)].into(),
        connected: 2,
        commands_open: 4,
    };
    let text = super::status(&view(), "http://localhost:8080", &status);
    assert!(text.contains("agents      2 pending, 3 approved\n"), "{text}");
    assert!(text.contains("health      2 healthy, 1 offline\n"), "{text}");
    assert!(text.contains("4 open"), "{text}");
    assert!(text.contains("2 agents wait for approval"), "{text}");
}
