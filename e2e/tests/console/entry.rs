//! The ways in: signing in, the first administrator, a password that somebody else made.

use argosy_e2e::{
    database::Place,
    http::Answer,
    on_both,
    server::TestServer,
    user::{TestUser, cookie_of},
};
use reqwest::Method;

const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");

async fn get(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Answer {
    server.client.send(Method::GET, path, headers, None).await
}

async fn signed_in_people_go_on_where_they_wanted_to(place: Place) {
    let server = TestServer::start(&place).await;
    let ada = TestUser::make(&server, "ada", "admin").await;
    assert_eq!(get(&server, "/", &[]).await.location(), "/console");
    let refused = get(&server, "/console/agents?q=web", &[]).await;
    assert_eq!(refused.status, 303);
    assert_eq!(refused.location(), "/console/sign-in?next=%2Fconsole%2Fagents%3Fq%3Dweb");
    let form = get(&server, refused.location(), &[]).await;
    assert!(form.page.contains("value=\"/console/agents?q=web\""), "{}", form.page);
    let fields =
        [("name", "ada"), ("password", ada.password.as_str()), ("next", "/console/agents?q=web")];
    let answer = server.client.send_form("/console/sign-in", &[SAME], &fields).await;
    assert_eq!((answer.status, answer.location()), (303, "/console/agents?q=web"));
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    let page = get(&server, "/console/agents?q=web", &[("cookie", &cookie_of(&answer))]).await;
    assert_eq!(page.status, 200);
    for foreign in ["https://evil.test", "//evil.test", "/\\evil.test", "/api/v1/agents"] {
        let fields = [("name", "ada"), ("password", ada.password.as_str()), ("next", foreign)];
        let answer = server.client.send_form("/console/sign-in", &[SAME], &fields).await;
        assert_eq!(answer.location(), "/console", "{foreign}");
    }
}

async fn whoever_is_not_known_is_told_so_and_nothing_else(place: Place) {
    let server = TestServer::start(&place).await;
    TestUser::make(&server, "ada", "admin").await;
    let mut pages = Vec::new();
    for name in ["ada", "nobody"] {
        let fields = [("name", name), ("password", "not the password")];
        let answer = server.client.send_form("/console/sign-in", &[SAME], &fields).await;
        assert_eq!(answer.status, 401);
        assert!(answer.page.contains("Name or password is wrong."), "{}", answer.page);
        assert!(!answer.headers.contains_key("set-cookie"));
        pages.push(answer.page.replace(name, ""));
    }
    assert_eq!(pages[0], pages[1]);
    let fields = [("name", "ada"), ("password", "not the password")];
    let foreign = [("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")];
    let answer = server.client.send_form("/console/sign-in", &foreign, &fields).await;
    assert_eq!(answer.status, 403);
}

/// The cookie does not come along with a link on another site's page.
async fn a_visit_from_another_site_begins_once_more_from_here(place: Place) {
    let server = TestServer::start(&place).await;
    let cross = [("sec-fetch-site", "cross-site")];
    let answer = get(&server, "/console/agents?q=%22%3E", &cross).await;
    assert_eq!(answer.status, 200);
    let again = "content=\"0;url=/console/agents?q=%22%3E\"";
    assert!(answer.page.contains(again), "{}", answer.page);
    let answer = get(&server, "/console/agents", &[SAME]).await;
    assert_eq!(answer.status, 303);
}

async fn the_first_administrator_comes_by_a_link(place: Place) {
    let server = TestServer::start(&place).await;
    let code = server.app.make_setup_code().await.unwrap();
    let page = get(&server, "/setup", &[]).await;
    assert!(page.page.contains("name=\"code\""));
    let fields = |code, password, again| {
        [("code", code), ("name", "ada"), ("password", password), ("again", again)]
    };
    let differ = fields(&code, "correct horse battery", "incorrect horse");
    let answer = server.client.send_form("/setup", &[SAME], &differ).await;
    assert_eq!(answer.status, 422);
    assert!(answer.page.contains("not the same twice"));
    let good = fields(&code, "correct horse battery", "correct horse battery");
    let answer = server.client.send_form("/setup", &[SAME], &good).await;
    assert_eq!((answer.status, answer.location()), (303, "/console"));
    let cookie = cookie_of(&answer);
    let page = get(&server, "/console", &[("cookie", &cookie)]).await;
    assert!(page.page.contains("No agents yet"), "{}", page.page);
    let answer = server.client.send_form("/setup", &[SAME], &good).await;
    assert_eq!(answer.status, 401, "a code is good once");
}

async fn a_password_that_somebody_else_made_is_replaced_first(place: Place) {
    let server = TestServer::start(&place).await;
    let mut user = TestUser::make_owing(&server, "olga", "operator").await;
    for path in ["/console", "/console/agents", "/console/settings"] {
        assert_eq!(user.page(&server, path).await.location(), "/console/password", "{path}");
    }
    let page = user.page(&server, "/console/password").await;
    assert!(page.page.contains("Choose a new password"));
    let short = [("current", user.password.as_str()), ("new", "short"), ("again", "short")];
    let answer = user.submit(&server, "/console/password", &short).await;
    assert_eq!(answer.status, 422);
    let chosen = "a password of her own";
    let good = [("current", user.password.as_str()), ("new", chosen), ("again", chosen)];
    let answer = user.submit(&server, "/console/password", &good).await;
    assert_eq!(answer.location(), "/console?done=password");
    let old = user.cookie.clone();
    user.cookie = cookie_of(&answer);
    let page = user.page(&server, "/console?done=password").await;
    assert!(page.page.contains("Your password is changed"), "{}", page.page);
    user.cookie = old;
    assert!(user.page(&server, "/console").await.location().starts_with("/console/sign-in"));
}

async fn people_of_another_organisation_see_their_own(place: Place) {
    let server = TestServer::start(&place).await;
    argosy_e2e::agent::TestAgent::admitted(&server, "not-theirs").await;
    let other = server.other_organisation().await;
    let body = serde_json::json!({ "name": "olaf", "role": "admin" });
    let made = server.client.post("/api/v1/users", &other.admin_key, &body).await.expect(201);
    let password = made["password"].as_str().unwrap();
    let here = [("name", "olaf"), ("password", password)];
    assert_eq!(server.client.send_form("/console/sign-in", &[SAME], &here).await.status, 401);
    let there = [("name", "olaf"), ("password", password), ("organisation", "other")];
    let answer = server.client.send_form("/console/sign-in", &[SAME], &there).await;
    assert_eq!(answer.location(), "/console/password");
    let chosen = "a password of his own";
    let body = serde_json::json!({
        "name": "olaf", "password": password, "organisation": "other",
    });
    let json = [("content-type", "application/json")];
    let login = server.client.send(Method::POST, "/api/v1/auth/login", &json, Some(&body)).await;
    let mut olaf = TestUser {
        id: String::new(),
        name: "olaf".to_owned(),
        password: password.to_owned(),
        cookie: String::new(),
        csrf: String::new(),
    };
    olaf.take(&login);
    olaf.change_password(&server, chosen).await.expect(200);
    let page = olaf.page(&server, "/console/agents").await.page;
    assert!(page.contains("No agents yet") && !page.contains("not-theirs"), "{page}");
    assert!(!page.contains("/console/settings"), "the installation's settings are not theirs");
    assert_eq!(olaf.page(&server, "/console/settings").await.status, 404);
}

async fn signing_out_ends_the_session(place: Place) {
    let server = TestServer::start(&place).await;
    let user = TestUser::make(&server, "ada", "viewer").await;
    let answer = user.submit(&server, "/console/sign-out", &[]).await;
    assert_eq!(answer.location(), "/console/sign-in");
    assert!(answer.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert!(user.page(&server, "/console").await.location().starts_with("/console/sign-in"));
    user.get(&server, "/api/v1/auth/me").await.refused(401, "unauthenticated");
}

on_both!(
    signed_in_people_go_on_where_they_wanted_to,
    whoever_is_not_known_is_told_so_and_nothing_else,
    a_visit_from_another_site_begins_once_more_from_here,
    the_first_administrator_comes_by_a_link,
    a_password_that_somebody_else_made_is_replaced_first,
    people_of_another_organisation_see_their_own,
    signing_out_ends_the_session,
);
