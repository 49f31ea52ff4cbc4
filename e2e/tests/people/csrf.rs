//! Attack 18: a page of somebody else sends the user's cookie along.

use argosy_e2e::{
    database::Place,
    http::Answer,
    on_both,
    server::TestServer,
    user::{TestUser, cookie_of},
};
use reqwest::Method;
use serde_json::json;

const USERS: &str = "/api/v1/users";

/// A call that would make an administrator.
async fn make(server: &TestServer, headers: &[(&str, &str)]) -> Answer {
    let body = json!({ "name": "mallory", "role": "admin" });
    server.client.send(Method::POST, USERS, headers, Some(&body)).await
}

async fn a_cookie_alone_changes_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "admin").await;
    let other = TestUser::make(&server, "grace", "admin").await;
    let (cookie, csrf) = (("cookie", user.cookie.as_str()), ("x-csrf-token", user.csrf.as_str()));
    let json_type = ("content-type", "application/json");
    let same = ("sec-fetch-site", "same-origin");
    for headers in [
        vec![same],
        vec![same, ("x-csrf-token", "")],
        vec![same, ("x-csrf-token", other.csrf.as_str())],
        vec![csrf],
        vec![csrf, ("sec-fetch-site", "cross-site")],
        vec![csrf, ("sec-fetch-site", "same-site")],
        vec![csrf, ("sec-fetch-site", "none")],
        vec![csrf, ("origin", "https://evil.example")],
        vec![csrf, ("origin", "null")],
        vec![csrf, same, ("origin", "https://evil.example")],
    ] {
        let all: Vec<(&str, &str)> = [cookie, json_type].into_iter().chain(headers).collect();
        make(&server, &all).await.refused(403, "csrf_refused");
    }
    // A form, or a blob without a type, as pages of others can send them.
    for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"] {
        let answer = make(&server, &[cookie, csrf, same, ("content-type", kind)]).await;
        answer.refused(415, "unsupported_media_type");
    }
    make(&server, &[cookie, csrf, same]).await.refused(415, "unsupported_media_type");
    // Two cookies of the name: somebody has planted one.
    let two = format!("{}; {}", other.cookie, user.cookie);
    let planted = make(&server, &[("cookie", &two), csrf, same, json_type]).await;
    planted.refused(401, "unauthenticated");
    let listed = server.client.get(USERS, &server.admin_key).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let told = server.audit("login.session_refused").await;
    assert_eq!(told.len(), 1, "once a minute");
    assert_eq!(told[0]["target"], format!("user:{}", user.id));
    make(&server, &[cookie, csrf, same, json_type]).await.expect(201);
    let own = ("origin", server.url.as_str());
    let body = json!({ "name": "bob", "role": "viewer" });
    let headers = [cookie, csrf, own, json_type];
    server.client.send(Method::POST, USERS, &headers, Some(&body)).await.expect(201);
}

/// Nobody is logged in as somebody else by a page of somebody else.
async fn a_page_of_somebody_else_logs_nobody_in(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "admin").await;
    let body = json!({ "name": user.name, "password": user.password });
    let json_type = ("content-type", "application/json");
    for (headers, status, code) in [
        (vec![json_type, ("origin", "https://evil.example")], 403, "csrf_refused"),
        (vec![json_type, ("sec-fetch-site", "cross-site")], 403, "csrf_refused"),
        (vec![], 415, "unsupported_media_type"),
        (vec![("content-type", "text/plain")], 415, "unsupported_media_type"),
    ] {
        let path = "/api/v1/auth/login";
        let answer = server.client.send(Method::POST, path, &headers, Some(&body)).await;
        answer.refused(status, code);
        assert!(!answer.headers.contains_key("set-cookie"));
    }
}

async fn the_cookie_is_out_of_reach(place: Place) {
    let plain = TestServer::start(&place).await;
    TestUser::make(&plain, "ada", "admin").await;
    let password = "chosen by ada, really";
    let answer = TestUser::try_log_in(&plain, "ada", password).await;
    let set = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(set.starts_with("argosy_session="), "{set}");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{set}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let old = cookie_of(&answer);
    let https = || vec!["https://fleet.example".to_owned()];
    let server = plain.restart_with(|settings| settings.public_url = https()).await;
    let answer = TestUser::try_log_in(&server, "ada", password).await;
    let set = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(set.starts_with("__Host-argosy_session="), "{set}");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"), "{set}");
    // A cookie that a neighbour on http could have planted does not count.
    let planted = cookie_of(&answer).replace("__Host-", "");
    for cookie in [planted, old] {
        let headers = [("cookie", cookie.as_str())];
        let answer = server.client.send(Method::GET, "/api/v1/auth/me", &headers, None).await;
        answer.refused(401, "unauthenticated");
    }
    let good = cookie_of(&answer);
    let headers = [("cookie", good.as_str())];
    server.client.send(Method::GET, "/api/v1/auth/me", &headers, None).await.expect(200);
}

on_both!(
    a_cookie_alone_changes_nothing,
    a_page_of_somebody_else_logs_nobody_in,
    the_cookie_is_out_of_reach,
);
