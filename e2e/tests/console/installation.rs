//! What an administrator keeps in order: accounts, organisations, and whether the audit log is whole.

use argosy_e2e::{database::Place, on_both, server::TestServer};
use reqwest::Method;
use serde_json::json;

use crate::world::World;

async fn accounts_are_made_changed_and_deleted(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let fields = [
        ("name", "prod"),
        ("provider", "aws"),
        ("external_id", "123456789012"),
        ("regions", "eu-central-1, eu-west-1\neu-north-1"),
    ];
    let answer = admin.submit(server, "/console/accounts/new", &fields).await;
    let path = answer.location().split('?').next().unwrap().to_owned();
    let api = path.replace("/console", "/api/v1");
    let account = server.client.get(&api, &server.admin_key).await.expect(200);
    assert_eq!(account["regions"], json!(["eu-central-1", "eu-west-1", "eu-north-1"]));
    let again = admin.submit(server, "/console/accounts/new", &fields).await;
    assert_eq!(again.status, 409);
    assert!(again.page.contains("there is an account of that name"), "{}", again.page);
    assert!(again.page.contains("value=\"123456789012\""), "what was typed stays");
    let bad = [("name", "p"), ("regions", "not a region")];
    assert_eq!(admin.submit(server, "/console/accounts/new", &bad).await.status, 422);
    let fields = [("name", "live"), ("provider", ""), ("regions", "eu-west-1")];
    let answer = admin.submit(server, &path, &fields).await;
    assert_eq!(answer.location(), format!("{path}?done=saved"));
    let account = server.client.get(&api, &server.admin_key).await.expect(200);
    assert_eq!((&account["name"], &account["provider"]), (&json!("live"), &json!(null)));
    assert_eq!(server.audit("account.updated").await.len(), 1);
    let page = admin.page(server, "/console/accounts/1").await.page;
    assert!(page.contains("2 agents"), "{page}");
    let answer = admin.submit(server, "/console/accounts/1/delete", &[]).await;
    assert_eq!(answer.status, 409);
    assert!(answer.page.contains("that of whoever names none"), "{}", answer.page);
    assert!(admin.page(server, &format!("{path}/delete")).await.page.contains("What follows"));
    admin.submit(server, &format!("{path}/delete"), &[]).await;
    assert_eq!(admin.page(server, &path).await.status, 404);
    let page = world.viewer.page(server, "/console/accounts/1").await.page;
    assert!(
        page.contains("You may look but not change") && !page.contains("Delete this"),
        "{page}"
    );
    let answer = world.viewer.page(server, "/console/accounts/new").await;
    assert_eq!(answer.status, 403);
    assert!(answer.page.contains("this needs the scope accounts:create"), "{}", answer.page);
}

async fn an_account_that_is_in_use_stays(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let body = json!({ "name": "prod" });
    let made = server.client.post("/api/v1/accounts", &server.admin_key, &body).await.expect(201);
    let id = made["id"].to_string();
    server.create_token(json!({ "name": "bound", "account_id": made["id"] })).await.expect(201);
    let answer = admin.submit(server, &format!("/console/accounts/{id}/delete"), &[]).await;
    assert_eq!(answer.status, 409);
    let why = "agents, tokens or resources belong to the account";
    assert!(answer.page.contains(why), "{}", answer.page);
    let path = format!("/api/v1/accounts/{id}");
    server.client.get(&path, &server.admin_key).await.expect(200);
    assert!(server.audit("account.deleted").await.is_empty());
}

async fn log_in(server: &TestServer, password: &str) -> u16 {
    let body = json!({ "name": "grace", "password": password, "organisation": "acme" });
    let headers = [("content-type", "application/json")];
    server.client.send(Method::POST, "/api/v1/auth/login", &headers, Some(&body)).await.status
}

async fn organisations_are_made_renamed_shut_out_and_let_in(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let fields = [("id", "acme"), ("name", "Acme"), ("admin", "grace")];
    let page = admin.submit(server, "/console/organisations/new", &fields).await.page;
    let password = page.split("aria-label=\"Password\">").nth(1).unwrap();
    let password = password.split('<').next().unwrap();
    assert_eq!(log_in(server, password).await, 200);
    let again = admin.submit(server, "/console/organisations/new", &fields).await;
    assert_eq!(again.status, 409);
    assert!(again.page.contains("there is such an organisation"), "{}", again.page);
    let path = "/console/organisations/acme";
    let saved = format!("{path}?done=saved");
    let answer = admin.submit(server, path, &[("name", "Acme & Co")]).await;
    assert_eq!(answer.location(), saved);
    let page = admin.page(server, path).await.page;
    assert!(page.contains("Acme &#38; Co") && page.contains("Within a second"), "{page}");
    admin.submit(server, path, &[("disabled", "yes")]).await;
    assert_eq!(log_in(server, password).await, 401);
    assert!(admin.page(server, "/console/organisations").await.page.contains("disabled"));
    admin.submit(server, path, &[("disabled", "no")]).await;
    assert_eq!(log_in(server, password).await, 200);
    let page = admin.page(server, "/console/organisations/default").await.page;
    assert!(page.contains("cannot be disabled") && !page.contains("Disable Default"), "{page}");
    let page = world.viewer.page(server, path).await.page;
    assert!(page.contains("You may look but not change") && !page.contains("Rename"), "{page}");
    let answer = world.viewer.submit(server, path, &[("disabled", "yes")]).await;
    assert_eq!(answer.status, 403);
}

async fn the_log_is_verified_on_its_page(place: Place) {
    let world = World::start(&place).await;
    let answer = world.viewer.page(&world.server, "/console/audit/verify").await;
    assert_eq!(answer.status, 200);
    for words in
        ["<strong>Yes.</strong>", "unchanged and in order", "Checkpoints", "What this says"]
    {
        assert!(answer.page.contains(words), "no {words}: {}", answer.page);
    }
    assert!(world.viewer.page(&world.server, "/console/audit").await.page.contains(">Verify<"));
}

on_both!(
    accounts_are_made_changed_and_deleted,
    an_account_that_is_in_use_stays,
    organisations_are_made_renamed_shut_out_and_let_in,
    the_log_is_verified_on_its_page,
);
