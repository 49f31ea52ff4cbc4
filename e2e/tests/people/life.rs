//! A user's life: made, logs in, is changed, shut out, deleted.

use argosy_e2e::{database::Place, http::Answer, on_both, server::TestServer, user::TestUser};
use reqwest::Method;
use serde_json::{Value, json};

async fn patch(server: &TestServer, id: &str, body: Value) -> Answer {
    let bearer = format!("Bearer {}", server.admin_key);
    let path = format!("/api/v1/users/{id}");
    server.client.send(Method::PATCH, &path, &[("authorization", &bearer)], Some(&body)).await
}

async fn users(server: &TestServer) -> Vec<Value> {
    let page = server.client.get("/api/v1/users", &server.admin_key).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

async fn a_new_user_must_choose_a_password_first(place: Place) {
    let server = TestServer::start(&place).await;
    let mut user = TestUser::make_owing(&server, "Ada", "operator").await;
    assert_eq!(user.name, "ada");
    let me = user.get(&server, "/api/v1/auth/me").await.expect(200);
    assert_eq!(me["actor"], "user:ada");
    assert_eq!(me["user"]["must_change_password"], true);
    assert_eq!(me["scopes"], json!([]));
    user.get(&server, "/api/v1/agents").await.refused(403, "password_change_required");
    let bad = json!({ "current_password": user.password, "new_password": "too short" });
    user.post(&server, "/api/v1/auth/password", &bad).await.refused(422, "invalid");
    let same = json!({ "current_password": user.password, "new_password": user.password });
    user.post(&server, "/api/v1/auth/password", &same).await.refused(422, "invalid");
    let wrong = json!({ "current_password": "x", "new_password": "correct horse battery" });
    let answer = user.post(&server, "/api/v1/auth/password", &wrong).await;
    answer.refused(422, "invalid");
    assert_eq!(answer.body["errors"][0]["field"], "current_password");
    let before = user.clone();
    user.change_password(&server, "correct horse battery").await.expect(200);
    assert_ne!(user.session_id(), before.session_id());
    before.get(&server, "/api/v1/auth/me").await.refused(401, "unauthenticated");
    let agents = user.get(&server, "/api/v1/agents").await;
    agents.expect(200);
    let me = user.get(&server, "/api/v1/auth/me").await.expect(200);
    assert_eq!(me["user"]["role"], "operator");
    let answer = TestUser::try_log_in(&server, "ada", &before.password).await;
    answer.refused(401, "unauthenticated");
    for action in ["user.created", "user.password_changed", "login.succeeded"] {
        assert_eq!(server.audit(action).await.len(), 1, "{action}");
    }
    assert!(users(&server).await[0]["last_login_at"].is_string());
}

async fn whatever_takes_power_ends_every_session(place: Place) {
    let server = TestServer::start(&place).await;
    for (name, change, can_log_in) in [
        ("demoted", json!({ "role": "viewer" }), true),
        ("disabled", json!({ "disabled": true }), false),
        ("reset", json!({ "reset_password": true }), false),
    ] {
        let (user, elsewhere) = {
            let user = TestUser::make(&server, name, "admin").await;
            let mut elsewhere = user.clone();
            elsewhere.log_in(&server).await;
            (user, elsewhere)
        };
        user.get(&server, "/api/v1/agents").await.expect(200);
        let changed = patch(&server, &user.id, change).await.expect(200);
        assert_eq!(changed["password"].is_string(), name == "reset", "{changed}");
        for session in [&user, &elsewhere] {
            session.get(&server, "/api/v1/auth/me").await.refused(401, "unauthenticated");
        }
        let answer = TestUser::try_log_in(&server, name, &user.password).await;
        assert_eq!(answer.status, if can_log_in { 200 } else { 401 }, "{name}");
        if let Some(password) = changed["password"].as_str() {
            let answer = TestUser::try_log_in(&server, name, password).await.expect(200);
            assert_eq!(answer["user"]["must_change_password"], true);
        }
    }
    let user = TestUser::make(&server, "deleted", "admin").await;
    let path = format!("/api/v1/users/{}", user.id);
    server.client.delete(&path, &server.admin_key).await.expect(204);
    user.get(&server, "/api/v1/auth/me").await.refused(401, "unauthenticated");
    TestUser::try_log_in(&server, "deleted", &user.password).await.refused(401, "unauthenticated");
    server.client.delete(&path, &server.admin_key).await.refused(404, "not_found");
    assert_eq!(server.audit("user.updated").await.len(), 2);
    assert_eq!(server.audit("user.password_reset").await.len(), 1);
    assert_eq!(server.audit("user.deleted").await.len(), 1);
    // The name is free again, for somebody else.
    let again = TestUser::make(&server, "deleted", "viewer").await;
    assert_ne!(again.id, user.id);
}

async fn nobody_gives_more_than_they_have_and_nobody_locks_themselves_out(place: Place) {
    let server = TestServer::start(&place).await;
    let admin = TestUser::make(&server, "ada", "admin").await;
    let body = json!({ "name": "keeper", "scopes": ["users:write"] });
    let keeper = admin.post(&server, "/api/v1/auth/keys", &body).await.text("key");
    let make = json!({ "name": "mallory", "role": "admin" });
    server.client.post("/api/v1/users", &keeper, &make).await.refused(403, "forbidden");
    let bearer = format!("Bearer {keeper}");
    let headers = [("authorization", bearer.as_str())];
    let path = format!("/api/v1/users/{}", admin.id);
    for take_over in [json!({ "reset_password": true }), json!({ "name": "x" }), json!({})] {
        let answer = server.client.send(Method::PATCH, &path, &headers, Some(&take_over)).await;
        answer.refused(403, "forbidden");
    }
    for own in [json!({ "disabled": true }), json!({ "role": "viewer" })] {
        let answer = admin.call(&server, Method::PATCH, &path, Some(&own)).await;
        answer.refused(409, "wrong_state");
    }
    admin.call(&server, Method::DELETE, &path, None).await.refused(409, "wrong_state");
    for bad in [
        json!({ "name": "a b", "role": "viewer" }),
        json!({ "name": "ok", "role": "king" }),
        json!({ "name": "ok", "role": "viewer", "password": "mine" }),
    ] {
        admin.post(&server, "/api/v1/users", &bad).await.refused(422, "invalid");
    }
    let taken = json!({ "name": "ADA", "role": "viewer" });
    admin.post(&server, "/api/v1/users", &taken).await.refused(409, "wrong_state");
    assert_eq!(users(&server).await.len(), 1);
    admin.get(&server, "/api/v1/auth/me").await.expect(200);
}

async fn a_code_of_the_host_makes_one_administrator(place: Place) {
    let server = TestServer::start(&place).await;
    let send = async |code: &str, name: &str| {
        let body = json!({ "code": code, "name": name, "password": "correct horse battery" });
        let headers = [("content-type", "application/json")];
        server.client.send(Method::POST, "/api/v1/auth/setup", &headers, Some(&body)).await
    };
    send("", "ada").await.refused(401, "unauthenticated");
    let old = server.app.make_setup_code().await.unwrap();
    let code = server.app.make_setup_code().await.unwrap();
    send(&old, "ada").await.refused(401, "unauthenticated");
    send(&code, "not a name").await.refused(422, "invalid");
    let answer = send(&code, "ada").await;
    let mut user = TestUser {
        id: answer.body["user"]["id"].as_str().unwrap().to_owned(),
        name: "ada".to_owned(),
        password: "correct horse battery".to_owned(),
        cookie: String::new(),
        csrf: String::new(),
    };
    user.take(&answer);
    let body = json!({ "name": "grace", "role": "admin" });
    user.post(&server, "/api/v1/users", &body).await.expect(201);
    send(&code, "eve").await.refused(401, "unauthenticated");
    let late = server.app.make_setup_code().await.unwrap();
    server.clock.advance(std::time::Duration::from_secs(3_600));
    send(&late, "eve").await.refused(401, "unauthenticated");
    assert_eq!(users(&server).await.len(), 2);
    assert_eq!(server.audit("user.setup_code_made").await.len(), 3);
}

on_both!(
    a_new_user_must_choose_a_password_first,
    whatever_takes_power_ends_every_session,
    nobody_gives_more_than_they_have_and_nobody_locks_themselves_out,
    a_code_of_the_host_makes_one_administrator,
);
