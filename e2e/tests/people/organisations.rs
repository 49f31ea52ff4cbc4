//! A second organisation, made and used over the API alone.

use argosy_e2e::{
    agent::TestAgent,
    database::Place,
    on_both,
    server::{OTHER, TestServer},
    user::TestUser,
};
use reqwest::Method;
use serde_json::{Value, json};

const ORGANISATIONS: &str = "/api/v1/organisations";

async fn a_second_organisation_works_from_its_first_login(place: Place) {
    let server = TestServer::start(&place).await;
    let body = json!({ "id": "acme", "name": "Acme", "admin": "ada" });
    let made = server.client.post(ORGANISATIONS, &server.admin_key, &body).await.expect(201);
    server.client.post(ORGANISATIONS, &server.admin_key, &body).await.refused(409, "wrong_state");
    // The same name in the first organisation is somebody else.
    let mine = TestUser::make(&server, "ada", "viewer").await;
    let password = made["admin"]["password"].as_str().unwrap();
    let body = json!({ "name": "ada", "password": password, "organisation": "acme" });
    let headers = [("content-type", "application/json")];
    let path = "/api/v1/auth/login";
    let answer = server.client.send(Method::POST, path, &headers, Some(&body)).await;
    assert_eq!(answer.body["organisation"], "acme");
    let mut ada = TestUser { password: password.to_owned(), ..mine.clone() };
    ada.take(&answer);
    ada.change_password(&server, "a password of acme").await.expect(200);
    let users = ada.get(&server, "/api/v1/users").await.expect(200);
    assert_eq!(users["items"].as_array().unwrap().len(), 1);
    let theirs = format!("/api/v1/users/{}", mine.id);
    ada.call(&server, Method::DELETE, &theirs, None).await.refused(404, "not_found");
    let accounts = ada.get(&server, "/api/v1/accounts").await.expect(200);
    assert_eq!(accounts["items"][0]["id"], made["account_id"]);
    // Without an account named, it is the organisation's own.
    let token = ada.post(&server, "/api/v1/bootstrap-tokens", &json!({ "name": "t" })).await;
    let body = json!({ "name": "web", "bootstrap_token": token.text("token") });
    let agent = server.client.post_anonymous("/api/v1/agents/register", &body).await.expect(201);
    let agent = agent["agent_id"].as_str().unwrap();
    let path = format!("/api/v1/agents/{agent}/approve");
    ada.post(&server, &path, &json!({})).await.expect(200);
    let shown = ada.get(&server, &format!("/api/v1/agents/{agent}")).await.expect(200);
    assert_eq!(shown["account_id"], made["account_id"]);
    let foreign = server.client.get(&format!("/api/v1/agents/{agent}"), &server.admin_key).await;
    foreign.refused(404, "not_found");
    let seen = json!({ "provider": "aws", "resource_type": "vpc", "resource_id": "vpc-1" });
    let run = json!({ "resources": [seen] });
    ada.post(&server, "/api/v1/discovery/ingest", &run).await.expect(200);
    // What belongs to the installation is not there for its administrators.
    ada.get(&server, ORGANISATIONS).await.refused(404, "not_found");
    ada.get(&server, "/api/v1/settings").await.refused(404, "not_found");
    ada.post(&server, ORGANISATIONS, &json!({ "id": "x", "name": "x", "admin": "x" }))
        .await
        .refused(404, "not_found");
    let listed = server.client.get(ORGANISATIONS, &server.admin_key).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert_eq!(server.audit("organisation.created").await.len(), 1);
    for bad in [
        json!({ "id": "A", "name": "x", "admin": "x" }),
        json!({ "id": "-a", "name": "x", "admin": "x" }),
        json!({ "id": "ok", "name": " ", "admin": "x" }),
        json!({ "id": "ok", "name": "x", "admin": "a b" }),
    ] {
        let answer = server.client.post(ORGANISATIONS, &server.admin_key, &bad).await;
        answer.refused(422, "invalid");
    }
}

/// Everybody of an organisation that is shut out, at once, by every way in; and in again.
async fn who_is_shut_out_gets_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await;
    let (client, key) = (&server.client, other.admin_key.as_str());
    let mut agent = TestAgent::in_session_of(&server, &other, "keyed").await;
    let token = client.post("/api/v1/bootstrap-tokens", key, &json!({ "name": "t" })).await;
    let token = token.text("token");
    let body = json!({ "name": "ada", "role": "admin" });
    let made = client.post("/api/v1/users", key, &body).await.expect(201);
    let login = json!({ "name": "ada", "password": made["password"], "organisation": OTHER });
    let headers = [("content-type", "application/json")];
    let log_in =
        async || client.send(Method::POST, "/api/v1/auth/login", &headers, Some(&login)).await;
    let answer = log_in().await;
    let mut ada = TestUser::make(&server, "ada", "viewer").await;
    ada.take(&answer);
    ada.get(&server, "/api/v1/auth/me").await.expect(200);
    agent.heartbeat(&server).await.expect(200);

    assert_eq!(server.shut_out(true).await.expect(200)["disabled"], true);
    client.get("/api/v1/agents", key).await.refused(401, "unauthenticated");
    ada.get(&server, "/api/v1/auth/me").await.refused(401, "unauthenticated");
    log_in().await.refused(401, "unauthenticated");
    agent.heartbeat(&server).await.refused(401, "invalid_session");
    agent.begin(&server).await.refused(401, "unauthenticated");
    let body = json!({ "name": "late", "bootstrap_token": token });
    let late = client.post_anonymous("/api/v1/agents/register", &body).await;
    late.refused(401, "invalid_token");
    // The first organisation notices nothing.
    client.get("/api/v1/agents", &server.admin_key).await.expect(200);

    assert_eq!(server.shut_out(false).await.expect(200)["disabled"], false);
    client.get("/api/v1/agents", key).await.expect(200);
    ada.get(&server, "/api/v1/auth/me").await.expect(200);
    agent.heartbeat(&server).await.expect(200);
    log_in().await.expect(200);
    client.post_anonymous("/api/v1/agents/register", &body).await.expect(201);
    assert_eq!(server.audit("organisation.updated").await.len(), 2);
}

async fn organisations_change_by_the_installations_administrators_alone(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await;
    let patch = async |id: &str, key: &str, body: Value| {
        let (path, bearer) = (format!("{ORGANISATIONS}/{id}"), format!("Bearer {key}"));
        let headers = [("authorization", bearer.as_str())];
        server.client.send(Method::PATCH, &path, &headers, Some(&body)).await
    };
    let (own, foreign) = (server.admin_key.as_str(), other.admin_key.as_str());
    let disabled = json!({ "disabled": true });
    patch("default", own, disabled.clone()).await.refused(409, "wrong_state");
    patch("nobody", own, disabled.clone()).await.refused(404, "not_found");
    patch(OTHER, foreign, disabled.clone()).await.refused(404, "not_found");
    patch("default", foreign, disabled).await.refused(404, "not_found");
    patch(OTHER, own, json!({ "name": " " })).await.refused(422, "invalid");
    assert_eq!(server.audit("organisation.updated").await.len(), 0);
    let renamed = patch(OTHER, own, json!({ "name": "Others" })).await.expect(200);
    assert_eq!((&renamed["name"], &renamed["disabled"]), (&json!("Others"), &json!(false)));
    patch("default", own, json!({ "name": "Ours" })).await.expect(200);
    // Nothing changes, and nothing is recorded.
    patch(OTHER, own, json!({})).await.expect(200);
    assert_eq!(server.audit("organisation.updated").await.len(), 2);
}

on_both!(
    a_second_organisation_works_from_its_first_login,
    who_is_shut_out_gets_nothing,
    organisations_change_by_the_installations_administrators_alone,
);
