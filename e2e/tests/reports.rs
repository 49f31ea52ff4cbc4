//! Uploads of telemetry and events through the socket: what is taken, counted once and refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use argosy_domain::time::Clock as _;
use argosy_e2e::{
    agent::TestAgent,
    database::Place,
    on_both,
    rpc::{code, link, session},
    server::TestServer,
};
use argosy_wire::{
    problem::Code,
    rpc::gateway::{
        AgentEvent, Measurement, UploadEventsRequest, UploadEventsResponse, UploadTelemetryRequest,
        UploadTelemetryResponse,
    },
};
use connectrpc::ConnectError;
use serde_json::{Value, json};

const TELEMETRY: &str = "/agentgateway.v1.AgentGatewayService/UploadTelemetry";
const EVENTS: &str = "/agentgateway.v1.AgentGatewayService/UploadEvents";

fn measured(batch: &str, at: &str, values: &[(&str, &str, f64)]) -> UploadTelemetryRequest {
    let measurement = |(metric, label, value): &(&str, &str, f64)| Measurement {
        metric: (*metric).to_owned(),
        label: (*label).to_owned(),
        value: *value,
        ..Default::default()
    };
    UploadTelemetryRequest {
        batch_id: batch.to_owned(),
        captured_at: at.to_owned(),
        measurements: values.iter().map(measurement).collect(),
        ..Default::default()
    }
}

fn told(batch: &str, events: &[(&str, &str, &str)]) -> UploadEventsRequest {
    let event = |(id, kind, severity): &(&str, &str, &str)| AgentEvent {
        event_id: (*id).to_owned(),
        at: "2020-01-01T00:00:00Z".to_owned(),
        kind: (*kind).to_owned(),
        severity: (*severity).to_owned(),
        message: format!("{kind} happened"),
        ..Default::default()
    };
    UploadEventsRequest {
        batch_id: batch.to_owned(),
        captured_at: "2020-01-01T00:00:00Z".to_owned(),
        events: events.iter().map(event).collect(),
        ..Default::default()
    }
}

async fn send(
    agent: &TestAgent,
    server: &TestServer,
    batches: Vec<UploadTelemetryRequest>,
) -> Result<(u32, u32), ConnectError> {
    let (link, options) = (link(server), session(agent, server, TELEMETRY));
    let batches = futures::stream::iter(batches);
    let answer = link.rpc().upload_telemetry_with_options(batches, options).await?;
    let UploadTelemetryResponse { accepted_count, duplicates, .. } = answer.into_owned();
    Ok((accepted_count, duplicates))
}

async fn tell(
    agent: &TestAgent,
    server: &TestServer,
    batches: Vec<UploadEventsRequest>,
) -> Result<(u32, u32), ConnectError> {
    let (link, options) = (link(server), session(agent, server, EVENTS));
    let batches = futures::stream::iter(batches);
    let answer = link.rpc().upload_events_with_options(batches, options).await?;
    let UploadEventsResponse { accepted_count, duplicates, .. } = answer.into_owned();
    Ok((accepted_count, duplicates))
}

async fn telemetry(server: &TestServer, agent: &TestAgent, query: &str) -> Value {
    let path = format!("/api/v1/agents/{}/telemetry{query}", agent.agent_id);
    server.client.get(&path, &server.admin_key).await.expect(200)
}

async fn events(server: &TestServer, agent: &TestAgent, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/agents/{}/events{query}", agent.agent_id);
    let page = server.client.get(&path, &server.admin_key).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

async fn a_batch_counts_once_however_often_it_is_sent(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "one").await;
    let now = server.clock.now().to_string();
    let batch = measured("b1", &now, &[("load_1m", "", 2.0), ("disk_used_percent", "/", 40.0)]);
    let other = measured("b2", &now, &[("load_1m", "", 4.0)]);
    assert_eq!(send(&agent, &server, vec![batch.clone(), batch.clone()]).await.unwrap(), (1, 1));
    assert_eq!(send(&agent, &server, vec![other, batch]).await.unwrap(), (1, 1));

    let history = telemetry(&server, &agent, "?metric=load_1m").await;
    assert_eq!(history["step_s"], 300);
    let points = &history["series"][0]["points"];
    assert_eq!(points.as_array().unwrap().len(), 1, "{history}");
    let point = &points[0];
    assert_eq!((&point["count"], &point["min"]), (&json!(2), &json!(2.0)));
    assert_eq!((&point["avg"], &point["max"]), (&json!(3.0), &json!(4.0)));
    let newest = telemetry(&server, &agent, "").await;
    let shown: Vec<_> = newest["latest"].as_array().unwrap().iter().map(|s| &s["metric"]).collect();
    assert_eq!(shown, ["disk_used_percent", "load_1m"]);
    let days = telemetry(&server, &agent, "?metric=load_1m&since=7d&step=1d").await;
    assert_eq!(
        (&days["step_s"], &days["series"][0]["points"][0]["count"]),
        (&json!(86400), &json!(2))
    );

    let started = told("e1", &[("1", "agent.started", "info"), ("2", "breaker.opened", "error")]);
    assert_eq!(tell(&agent, &server, vec![started.clone()]).await.unwrap(), (1, 0));
    assert_eq!(tell(&agent, &server, vec![started]).await.unwrap(), (0, 1));
    assert_eq!(events(&server, &agent, "").await.len(), 2);
    let errors = events(&server, &agent, "?severity=error").await;
    assert_eq!(errors[0]["message"], "breaker.opened happened");
    assert_eq!(events(&server, &agent, "?since=24h").await.len(), 0, "they are of 2020");
}

async fn what_breaks_a_limit_is_refused_by_name(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "one").await;
    let now = server.clock.now().to_string();
    let long = "x".repeat(256);
    for (batch, wanted) in [
        (measured("", &now, &[]), Code::Invalid),
        (measured("b", "yesterday", &[]), Code::Invalid),
        (measured("b", &now, &[("Load", "", 1.0)]), Code::Invalid),
        (measured("b", &now, &[("load", &long, 1.0)]), Code::Invalid),
        (measured("b", &now, &[("load", "", f64::NAN)]), Code::Invalid),
        (measured("b", &now, &[("load", "", f64::INFINITY)]), Code::Invalid),
        (measured("b", &now, &[("load", "", 1e300)]), Code::Invalid),
        (measured("b", &now, &[]), Code::Invalid),
        (measured("b", &now, &[("load", "", 1.0); 2_001]), Code::TooLarge),
    ] {
        let refused = send(&agent, &server, vec![batch]).await.unwrap_err();
        assert_eq!(code(&refused), wanted, "{refused:?}");
    }
    assert_eq!(telemetry(&server, &agent, "").await["latest"], json!([]), "nothing was kept");
    let many = (0..257).map(|n| measured(&format!("m{n}"), &now, &[("load", "", 1.0)])).collect();
    assert_eq!(code(&send(&agent, &server, many).await.unwrap_err()), Code::TooLarge);
    for (kind, severity) in [("", "info"), ("Kind", "info"), ("kind", "loud")] {
        let refused = tell(&agent, &server, vec![told("e", &[("1", kind, severity)])]).await;
        assert_eq!(code(&refused.unwrap_err()), Code::Invalid);
    }
    assert_eq!(events(&server, &agent, "").await.len(), 0);
    // A refused batch was not remembered: corrected, it counts.
    let good = measured("b", &now, &[("load", "", 1.0)]);
    assert_eq!(send(&agent, &server, vec![good]).await.unwrap(), (1, 0));
}

async fn an_agent_writes_its_own_history_only(place: Place) {
    let server = TestServer::start(&place).await;
    let one = TestAgent::in_session(&server, "one").await;
    let other = TestAgent::in_session(&server, "two").await;
    let ahead = "2090-01-01T00:00:00Z";
    let batch = || vec![measured("b", ahead, &[("load_1m", "", 1.0)])];
    send(&one, &server, batch()).await.unwrap();
    assert_eq!(send(&other, &server, batch()).await.unwrap(), (1, 0), "its own batch b");
    let newest = telemetry(&server, &one, "").await;
    let now = server.clock.now().to_string();
    assert_eq!(newest["latest"][0]["at"], json!(now), "never later than the server's time");

    server.decide(&one.agent_id, "quarantine", json!({})).await.expect(200);
    let more = || vec![measured("c", ahead, &[("load_1m", "", 9.0)])];
    assert_eq!(code(&send(&one, &server, more()).await.unwrap_err()), Code::Quarantined);
    server.decide(&other.agent_id, "revoke", json!({})).await.expect(200);
    let refused = send(&other, &server, more()).await.unwrap_err();
    assert_eq!(code(&refused), Code::InvalidSession);
    for agent in [&one, &other] {
        assert_eq!(telemetry(&server, agent, "").await["latest"][0]["value"], json!(1.0));
    }
    let tenant = server.other_organisation().await;
    for what in ["telemetry", "events"] {
        let path = format!("/api/v1/agents/{}/{what}", one.agent_id);
        server.client.get(&path, &tenant.admin_key).await.expect(404);
    }
}

async fn questions_that_make_no_sense_are_answered_by_field(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "one").await;
    let base = format!("/api/v1/agents/{}", agent.agent_id);
    for (query, field) in [
        ("telemetry?metric=Load", "metric"),
        ("telemetry?metric=load&since=soon", "since"),
        ("telemetry?metric=load&step=7m", "step"),
        ("events?severity=loud", "severity"),
        ("events?since=soon", "since"),
        ("events?limit=0", "limit"),
    ] {
        let answer = server.client.get(&format!("{base}/{query}"), &server.admin_key).await;
        assert_eq!(
            (answer.status, &answer.body["errors"][0]["field"]),
            (422, &json!(field)),
            "{answer:?}"
        );
    }
}

on_both!(
    a_batch_counts_once_however_often_it_is_sent,
    what_breaks_a_limit_is_refused_by_name,
    an_agent_writes_its_own_history_only,
    questions_that_make_no_sense_are_answered_by_field,
);
