//! Control streams: who holds one, and what ends it.

use super::*;

#[tokio::test]
async fn a_stream_takes_heartbeats_hands_out_commands_and_survives_a_frame_about_nothing() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let mut stream = agent.stream(&server).await;
    assert!(server.test.app.hub().has(&agent.id()));
    assert!(stream.headers().unwrap().contains_key("dpop-nonce"));

    let about_nothing = Ack {
        command_id: "no-such-command".into(),
        code: AckCode::ACK_CODE_RECEIVED.into(),
        ..Default::default()
    };
    stream.send(up(about_nothing)).await.unwrap();
    stream.send(up(Heartbeat::default())).await.unwrap();
    assert!(matches!(down(&mut stream).await, Some(Frame::HeartbeatAck(_))));

    let origin = crate::app::Origin::default();
    let admin = server.test.app.authenticate_key(&origin, &server.test.admin_key).await.unwrap();
    let order = CreateCommand {
        kind: "subsystem.run".into(),
        params: serde_json::json!({ "subsystem": "system" }),
        expires_in: None,
        idempotency_key: None,
    };
    let app = &server.test.app;
    let command = app.create_command(&admin, &origin, &agent.id(), &order).await.unwrap().id;
    let Some(Frame::Command(sent)) = down(&mut stream).await else { panic!("no command") };
    let envelope = sent.envelope.as_option().unwrap();
    assert!(String::from_utf8_lossy(&envelope.payload).contains(command.as_str()));
    assert!(sent.certificate.is_set());

    drop(stream);
    until(|| !server.test.app.hub().has(&agent.id())).await;
}

#[tokio::test]
async fn the_newest_stream_wins_and_a_revoked_agent_loses_it() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let mut older = agent.stream(&server).await;
    let mut newer = agent.stream(&server).await;
    let Some(Frame::Goaway(goaway)) = down(&mut older).await else { panic!("no goaway") };
    assert_eq!(goaway.reason, "replaced");
    assert!(down(&mut older).await.is_none(), "the stream ends");
    assert!(server.test.app.hub().has(&agent.id()));

    let agent_id = agent.registered.agent_id.clone();
    let request = RevokeAgentRequest { agent_id, ..Default::default() };
    server.admin.revoke_agent_with_options(request, server.by_admin()).await.unwrap();
    let Some(Frame::Goaway(goaway)) = down(&mut newer).await else { panic!("no goaway") };
    assert_eq!(goaway.reason, "revoked");
    assert!(down(&mut newer).await.is_none());
    assert!(!server.test.app.hub().has(&agent.id()));
}

#[tokio::test]
async fn a_server_that_was_taken_for_dead_has_its_streams_back_with_its_next_beat() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let mut stream = agent.stream(&server).await;
    stream.send(up(Heartbeat::default())).await.unwrap();
    assert!(matches!(down(&mut stream).await, Some(Frame::HeartbeatAck(_))));
    let app = &server.test.app;
    let connected = async || {
        let mut reader = app.store().read("count").await.unwrap();
        reader.presence().count_connected().await.unwrap()
    };
    app.beat().await.unwrap();
    assert_eq!(connected().await, 1);
    let mut other = app.store().write("bury").await.unwrap();
    assert_eq!(other.replicas().bury(std::time::Duration::ZERO).await.unwrap(), 1);
    other.commit().await.unwrap();
    assert_eq!(connected().await, 0);
    app.beat().await.unwrap();
    assert_eq!(connected().await, 1);
    assert!(app.hub().has(&agent.id()), "the stream itself lived on");
}

#[tokio::test]
async fn an_empty_frame_ends_the_stream_and_so_does_a_hello_that_does_not_verify() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let mut stream = agent.stream(&server).await;
    stream.send(ControlStreamRequest::default()).await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::InvalidArgument, "invalid"));
    assert_eq!(error.message.as_deref(), Some("frame is empty"));
    assert!(metadata(&error, "dpop-nonce").is_some());
    until(|| !server.test.app.hub().has(&agent.id())).await;

    let options = agent.call(CONTROL_STREAM);
    let mut stream = server.gateway.control_stream_with_options(options).await.unwrap();
    stream.send(up(Heartbeat::default())).await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::InvalidArgument, "invalid"), "hello comes first");

    let mut forged = agent.hello();
    if let Some(argosy_wire::rpc::gateway::control_stream_request::Frame::Hello(hello)) =
        &mut forged.frame
    {
        hello.statement.as_option_mut().unwrap().signature[0] ^= 1;
    }
    let options = agent.call(CONTROL_STREAM);
    let mut stream = server.gateway.control_stream_with_options(options).await.unwrap();
    stream.send(forged).await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "unauthenticated"));
    assert!(server.test.app.hub().is_empty());
}
