//! Calls without a stream: what is served, what is refused, and how a refusal names its cause.

use super::*;

#[tokio::test]
async fn every_method_of_the_contract_is_served_and_listed() {
    let test = test_app().await;
    let methods = methods(&test.app);
    let mounted: BTreeSet<String> = methods.methods().map(|method| format!("/{method}")).collect();
    assert_eq!(procedures().into_iter().collect::<BTreeSet<_>>(), mounted);
    assert!(mounted.len() == OWN.len() + PUBLIC.len());
}

#[tokio::test]
async fn a_bad_token_of_any_kind_and_length_gets_one_answer() {
    let server = server().await;
    let unknown = TokenString {
        id: "nobody".parse().unwrap(),
        secret: argosy_wire::token::Secret32::new([3; 32]),
        pin: None,
    };
    let too_long = format!("boot_{}", "x".repeat(600));
    let mut answers = Vec::new();
    for token in ["", "boot_x", &too_long, &unknown.reveal()] {
        let request = RegisterRequest {
            enrollment_token: token.into(),
            name: "n".into(),
            ..Default::default()
        };
        let error = server.gateway.register(request).await.unwrap_err();
        assert_eq!(code(&error), (ErrorCode::Unauthenticated, "invalid_token"), "{token}");
        answers.push(error.message);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn a_field_of_the_wrong_length_is_named() {
    let server = server().await;
    let agent = TestAgent::register(&server).await;
    let begin = agent.begin();
    let cases = [
        ("api_key", BeginAuthHandshakeRequest { api_key: "short".into(), ..begin.clone() }),
        (
            "identity_pubkey",
            BeginAuthHandshakeRequest { identity_pubkey: vec![1], ..begin.clone() },
        ),
        ("agent_nonce", BeginAuthHandshakeRequest { agent_nonce: vec![], ..begin.clone() }),
    ];
    for (field, request) in cases {
        let error = server.gateway.begin_auth_handshake(request).await.unwrap_err();
        assert_eq!(code(&error), (ErrorCode::InvalidArgument, "invalid"));
        assert!(error.message.as_deref().unwrap().starts_with(field), "{:?}", error.message);
    }
    let error = server.gateway.begin_auth_handshake(begin).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::FailedPrecondition, "not_approved"));
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let server = server().await;
    let request = RegisterRequest { name: "n".repeat(70 * 1024), ..Default::default() };
    let error = server.gateway.register(request).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ResourceExhausted);
}

#[tokio::test]
async fn health_answers_in_plain_json_and_unknown_methods_are_unimplemented() {
    let test = test_app().await;
    let ask = |path: &str, media_type: &str| {
        let request = Request::post(path.to_owned()).header("content-type", media_type);
        router(&test.app).oneshot(request.body(Body::from("{}")).unwrap())
    };
    let healthy = ask("/grpc.health.v1.Health/Check", "application/json").await.unwrap();
    assert_eq!(healthy.status(), StatusCode::OK);
    let body = axum::body::to_bytes(healthy.into_body(), 1_000).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("SERVING"), "{body:?}");
    let unknown = ask("/agentgateway.v1.AgentGatewayService/Nothing", "application/grpc").await;
    assert_eq!(unknown.unwrap().headers()["grpc-status"], "12");
    let elsewhere = ask("/some.other.Service/Do", "application/grpc").await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND, "left to REST");
}

#[tokio::test]
async fn without_a_session_nothing_is_taken_and_the_nonce_is_told() {
    let server = server().await;
    let mut stream = server.gateway.control_stream().await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "unauthenticated"));
    assert!(metadata(&error, "dpop-nonce").is_some());

    let error = server.gateway.upload_heartbeat(UploadHeartbeatRequest::default()).await;
    let error = error.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "unauthenticated"));
    assert!(metadata(&error, "dpop-nonce").is_some());

    let error = server.admin.list_agents(ListAgentsRequest::default()).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "unauthenticated"));
}

#[tokio::test]
async fn a_bare_secret_of_an_agent_with_keys_opens_nothing_but_a_handshake() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let bearer = format!("Bearer {}", agent.registered.api_key.as_ref().unwrap());
    let options = CallOptions::default().with_header("authorization", bearer);
    let call = server.gateway.upload_heartbeat_with_options(Default::default(), options.clone());
    assert_eq!(code(&call.await.unwrap_err()), (ErrorCode::Unauthenticated, "proof_required"));
    let mut stream = server.gateway.control_stream_with_options(options).await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "proof_required"));
}

#[tokio::test]
async fn session_calls_need_a_proof_for_their_own_path_with_the_servers_nonce() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let beat = |options| {
        let request =
            UploadHeartbeatRequest { sent_at: "2026-01-01T00:00:00Z".into(), ..Default::default() };
        server.gateway.upload_heartbeat_with_options(request, options)
    };
    let error = beat(agent.proof(UPLOAD_HEARTBEAT, None)).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "use_dpop_nonce"));
    let nonce = metadata(&error, "dpop-nonce").unwrap().to_owned();
    let error = beat(agent.proof(UPLOAD_INVENTORY, Some(&nonce))).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "invalid_dpop_proof"));
    let options = agent.proof(UPLOAD_HEARTBEAT, Some(&nonce));
    let taken = beat(options.clone()).await.unwrap();
    assert!(taken.headers().contains_key("dpop-nonce"));
    assert!(!taken.view().received_at.is_empty());
    let error = beat(options).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::Unauthenticated, "invalid_dpop_proof"), "a replay");
}

#[tokio::test]
async fn reports_are_counted_and_a_bad_one_is_named() {
    let server = server().await;
    let agent = TestAgent::ready(&server).await;
    let report = |error: &str| UploadInventoryRequest {
        subsystem: "system".into(),
        captured_at: "2026-01-01T00:00:00Z".into(),
        error: error.into(),
        breaker: "closed".into(),
        ..Default::default()
    };
    let upload = |reports: Vec<UploadInventoryRequest>| {
        let options = agent.call(UPLOAD_INVENTORY);
        server.gateway.upload_inventory_with_options(connectrpc::stream_iter(reports), options)
    };
    let taken = upload(vec![report("timed out"), report("timed out")]).await.unwrap();
    assert_eq!(taken.view().accepted_count, 2);
    let error = upload(vec![report("")]).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::InvalidArgument, "invalid"));
    assert!(error.message.as_deref().unwrap().starts_with("report"));
    let large = UploadInventoryRequest { report: vec![b' '; 1_200_000], ..report("") };
    let error = upload(vec![large]).await.unwrap_err();
    assert_eq!(code(&error), (ErrorCode::ResourceExhausted, "too_large"));
}
