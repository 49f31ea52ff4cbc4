//! Attack 18: guessing passwords.

use std::num::NonZeroU32;

use argosy_e2e::{
    clock::ManualClock,
    database::Place,
    on_both,
    server::{TestServer, settings},
    user::TestUser,
};
use argosy_server::config::Settings;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

const WRONG: &str = "not the password at all";

async fn every_refusal_is_the_same_and_costs_the_same(place: Place) {
    let server = TestServer::start(&place).await;
    TestUser::make(&server, "ada", "admin").await;
    let out = TestUser::make(&server, "out", "admin").await;
    let bearer = format!("Bearer {}", server.admin_key);
    let path = format!("/api/v1/users/{}", out.id);
    let body = json!({ "disabled": true });
    let headers = [("authorization", bearer.as_str())];
    server.client.send(Method::PATCH, &path, &headers, Some(&body)).await.expect(200);
    let mut seen = Vec::new();
    for (name, password) in [
        ("nobody", WRONG),
        ("ada", WRONG),
        ("out", WRONG),
        ("out", out.password.as_str()),
        ("no name at all", WRONG),
    ] {
        let hashes = server.app.hasher().count();
        let mut answer = TestUser::try_log_in(&server, name, password).await;
        answer.refused(401, "unauthenticated");
        assert!(!answer.headers.contains_key("set-cookie"));
        answer.body.as_object_mut().unwrap().remove("trace_id");
        seen.push((answer.body.clone(), server.app.hasher().count() - hashes));
    }
    assert!(seen.iter().all(|one| *one == seen[0] && one.1 == 1), "{seen:?}");
    let told = server.audit("login.refused").await;
    assert_eq!(told.len(), 5);
    // What was typed is nowhere: people type passwords where names belong.
    assert!(!json!(told).to_string().contains("no name at all"));
}

async fn a_name_is_guessed_at_slowly_wherever_from(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "admin").await;
    let grace = TestUser::make(&server, "grace", "viewer").await;
    // At once, so that none waits for the failure of another.
    let guesses = (0..40).map(|_| TestUser::try_log_in(&server, "ada", WRONG));
    let statuses: Vec<u16> =
        join_all(guesses).await.into_iter().map(|answer| answer.status).collect();
    let tried = statuses.iter().filter(|status| **status == 401).count();
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!((tried, refused), (10, 30));
    // The right password does not tell itself apart now.
    let answer = TestUser::try_log_in(&server, "ada", &user.password).await;
    answer.refused(429, "rate_limited");
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    // Sessions that are open go on, and so do others.
    user.get(&server, "/api/v1/auth/me").await.expect(200);
    TestUser::try_log_in(&server, "grace", &grace.password).await.expect(200);
    assert_eq!(server.audit("login.blocked").await.len(), 1);
    assert_eq!(server.audit("login.refused").await.len(), 10);
    server.clock.advance(std::time::Duration::from_secs(wait));
    TestUser::try_log_in(&server, "ada", &user.password).await.expect(200);
    // Good logins use no place up.
    for _ in 0..15 {
        TestUser::try_log_in(&server, "grace", &grace.password).await.expect(200);
    }
}

async fn a_source_that_fails_too_often_is_refused_before_any_work(place: Place) {
    let few = Settings { failures_per_minute: NonZeroU32::new(3).unwrap(), ..settings(&place) };
    let server = TestServer::start_with(few, ManualClock::default()).await;
    for n in 0..4 {
        let answer = TestUser::try_log_in(&server, &format!("user-{n}"), WRONG).await;
        answer.refused(401, "unauthenticated");
    }
    let hashes = server.app.hasher().count();
    let answer = TestUser::try_log_in(&server, "another", WRONG).await;
    answer.refused(429, "rate_limited");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(server.app.hasher().count(), hashes);
    // A good key is let in all the same.
    server.client.get("/api/v1/auth/me", &server.admin_key).await.expect(200);
}

on_both!(
    every_refusal_is_the_same_and_costs_the_same,
    a_name_is_guessed_at_slowly_wherever_from,
    a_source_that_fails_too_often_is_refused_before_any_work,
);
