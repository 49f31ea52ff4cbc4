//! Sessions of users: fixation, ends, and who may see them.

use std::time::Duration;

use argosy_e2e::{
    database::Place,
    on_both,
    server::TestServer,
    user::{TestUser, cookie_of},
};
use reqwest::Method;
use serde_json::json;

const ME: &str = "/api/v1/auth/me";

async fn a_login_begins_a_session_that_nobody_knew(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "admin").await;
    let body = json!({ "name": user.name, "password": user.password });
    let planted = format!("argosy_session=01981f10-0000-7000-8000-000000000000.{}", "A".repeat(43));
    let mut known = vec![planted.clone(), user.cookie.clone()];
    for cookie in [planted.as_str(), user.cookie.as_str()] {
        let headers = [("cookie", cookie), ("content-type", "application/json")];
        let answer = server.client.send(Method::POST, "/api/v1/auth/login", &headers, Some(&body));
        let fresh = cookie_of(&answer.await);
        assert!(!known.contains(&fresh));
        known.push(fresh);
    }
    // What was there before is over, and what was planted never was.
    for cookie in &known[..2] {
        let answer = server.client.send(Method::GET, ME, &[("cookie", cookie)], None).await;
        answer.refused(401, "unauthenticated");
    }
    for cookie in &known[2..] {
        server.client.send(Method::GET, ME, &[("cookie", cookie)], None).await.expect(200);
    }
}

async fn a_session_ends_idle_or_old(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "viewer").await;
    let (hour, instant) = (Duration::from_secs(3_600), Duration::from_micros(1));
    for _ in 0..11 {
        server.clock.advance(hour - instant);
        user.get(&server, ME).await.expect(200);
    }
    server.clock.advance(hour);
    user.get(&server, ME).await.refused(401, "unauthenticated");
    let mut user = user;
    user.log_in(&server).await;
    for _ in 0..23 {
        server.clock.advance(hour / 2);
        user.get(&server, ME).await.expect(200);
    }
    server.clock.advance(hour / 2);
    user.get(&server, ME).await.refused(401, "unauthenticated");
    // A shorter life holds for sessions that are open already.
    user.log_in(&server).await;
    let bearer = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", bearer.as_str())];
    let shorter = json!({ "user_session_max_s": 60 });
    let path = "/api/v1/settings";
    server.client.send(Method::PATCH, path, &headers, Some(&shorter)).await.expect(200);
    server.clock.advance(Duration::from_secs(59));
    user.get(&server, ME).await.expect(200);
    server.clock.advance(Duration::from_secs(1));
    user.get(&server, ME).await.refused(401, "unauthenticated");
}

async fn sessions_are_seen_and_ended_by_their_own_user(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "admin").await;
    let mut elsewhere = user.clone();
    elsewhere.log_in(&server).await;
    let grace = TestUser::make(&server, "grace", "admin").await;
    let listed = user.get(&server, "/api/v1/auth/sessions").await.expect(200);
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    let current: Vec<_> = items.iter().filter(|item| item["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["id"], user.session_id());
    assert_eq!(current[0]["source"], "127.0.0.1");
    let path = |user: &TestUser| format!("/api/v1/auth/sessions/{}", user.session_id());
    let foreign = user.call(&server, Method::DELETE, &path(&grace), None).await;
    foreign.refused(404, "not_found");
    grace.get(&server, ME).await.expect(200);
    user.call(&server, Method::DELETE, &path(&elsewhere), None).await.expect(204);
    elsewhere.get(&server, ME).await.refused(401, "unauthenticated");
    user.get(&server, ME).await.expect(200);
    let answer = user.call(&server, Method::POST, "/api/v1/auth/logout", None).await;
    assert!(answer.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    answer.expect(204);
    user.get(&server, ME).await.refused(401, "unauthenticated");
    assert_eq!(server.audit("login.ended").await.len(), 2);
    // A key is no session.
    let key = &server.admin_key;
    server.client.get("/api/v1/auth/sessions", key).await.refused(403, "forbidden");
    server.client.post("/api/v1/auth/logout", key, &json!({})).await.refused(403, "forbidden");
}

/// The store holds digests only, and a key in `Authorization` counts more than a cookie.
async fn a_stored_session_is_no_cookie(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "viewer").await;
    let secret = user.cookie.rsplit_once('.').unwrap().1;
    let wrong = user.cookie.replace(secret, &"B".repeat(43));
    let answer = server.client.send(Method::GET, ME, &[("cookie", &wrong)], None).await;
    answer.refused(401, "unauthenticated");
    let headers = [("cookie", user.cookie.as_str()), ("authorization", "Bearer argosy_no")];
    server.client.send(Method::GET, ME, &headers, None).await.refused(401, "unauthenticated");
    let bearer = format!("Bearer {}", server.admin_key);
    let headers = [("cookie", user.cookie.as_str()), ("authorization", bearer.as_str())];
    let me = server.client.send(Method::GET, ME, &headers, None).await.expect(200);
    assert_eq!(me["actor"], "user:admin");
}

on_both!(
    a_login_begins_a_session_that_nobody_knew,
    a_session_ends_idle_or_old,
    sessions_are_seen_and_ended_by_their_own_user,
    a_stored_session_is_no_cookie,
);
