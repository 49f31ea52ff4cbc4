//! Forms: what each changes, and attack 18: what none of them does for a page of somebody else.

use argosy_e2e::{agent::TestAgent, database::Place, on_both};
use serde_json::{Value, json};

use crate::world::World;

/// A hidden field of a page.
pub(crate) fn hidden(page: &str, name: &str) -> String {
    let field = page.split(&format!("name=\"{name}\" value=\"")).nth(1);
    field.unwrap_or_else(|| panic!("no {name} in {page}")).split('"').next().unwrap().to_owned()
}

async fn an_agent_is_approved_by_the_fingerprint_on_the_page(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let path = world.path(&world.pending, "/approve");
    let page = admin.page(server, &path).await.page;
    let fingerprint = hidden(&page, "fingerprint");
    assert_eq!(fingerprint, server.agent(&world.pending.agent_id).await["fingerprint"]);
    for group in fingerprint.split(' ') {
        assert!(page.contains(&format!("<span class=\"group\">{group}</span>")), "{page}");
    }
    assert_eq!(hidden(&page, "csrf"), admin.csrf);
    let answer = admin.submit(server, &path, &[("fingerprint", &fingerprint)]).await;
    assert_eq!(answer.status, 422, "nobody said that they match");
    let other = "0000 1111 2222 3333 4444 5555 6666 7777";
    let fields = [("fingerprint", other), ("match", "yes")];
    let answer = admin.submit(server, &path, &fields).await;
    assert_eq!(answer.status, 409);
    assert!(answer.page.contains("The fingerprint differs: do not approve"), "{}", answer.page);
    assert_eq!(server.agent(&world.pending.agent_id).await["status"], "pending");
    let fields = [("fingerprint", fingerprint.as_str()), ("match", "yes")];
    let answer = admin.submit(server, &path, &fields).await;
    assert_eq!(
        answer.location(),
        format!("/console/agents/{}?done=approved", world.pending.agent_id)
    );
    let agent = server.agent(&world.pending.agent_id).await;
    assert_eq!((&agent["status"], &agent["approved_by"]), (&json!("approved"), &json!("user:ada")));
    let answer = admin.submit(server, &path, &fields).await;
    assert_eq!(answer.status, 409, "twice");
}

async fn decisions_are_taken_and_recorded_with_their_reason(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    for (decision, status) in
        [("quarantine", "quarantined"), ("restore", "approved"), ("revoke", "revoked")]
    {
        let path = world.path(&world.agent, &format!("/{decision}"));
        let page = admin.page(server, &path).await.page;
        assert!(page.contains("What follows"), "{page}");
        let answer = admin.submit(server, &path, &[("reason", "because & so")]).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        assert_eq!(server.agent(&world.agent.agent_id).await["status"], status);
    }
    assert_eq!(server.audit("agent.revoked").await[0]["detail"]["reason"], "because & so");
    let page = admin.page(server, &world.path(&world.agent, "")).await.page;
    assert!(page.contains("because &#38; so") || page.contains("because &amp; so"), "{page}");
    let path = world.path(&world.agent, "/restore");
    let answer = admin.submit(server, &path, &[]).await;
    assert_eq!(answer.status, 409);
    let path = world.path(&world.agent, "/delete");
    admin.submit(server, &path, &[]).await;
    assert_eq!(admin.page(server, &world.path(&world.agent, "")).await.status, 404);
}

/// Everything that a forged call could have changed.
async fn state(world: &World) -> Vec<Value> {
    let mut state = world.server.agents().await;
    for list in ["users", "accounts", "organisations", "auth/keys", "bootstrap-tokens", "commands"]
    {
        let path = format!("/api/v1/{list}?limit=500");
        let mut page = world.server.client.get(&path, &world.server.admin_key).await.expect(200);
        for item in page["items"].as_array_mut().unwrap() {
            item["last_used_at"] = Value::Null;
        }
        state.push(page);
    }
    state
}

async fn a_page_of_somebody_else_changes_nothing(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let before = state(&world).await;
    let cookie = ("cookie", admin.cookie.as_str());
    let other = ("origin", "https://evil.test");
    let own_token = ("csrf", admin.csrf.as_str());
    let forms = [
        world.path(&world.agent, "/revoke"),
        world.path(&world.agent, "/commands"),
        world.path(&world.agent, "/schedule"),
        "/console/commands/new".to_owned(),
        world.path(&world.pending, "/approve"),
        "/console/enrol".to_owned(),
        "/console/keys/new".to_owned(),
        "/console/users/new".to_owned(),
        "/console/accounts/new".to_owned(),
        "/console/organisations/new".to_owned(),
        "/console/settings".to_owned(),
        "/console/password".to_owned(),
        "/console/sign-out".to_owned(),
    ];
    for path in &forms {
        let fields =
            [("name", "mallory"), ("role", "admin"), ("match", "yes"), ("subsystem", "system")];
        let with = |field| [&fields[..], &[field]].concat();
        for (headers, fields) in [
            (vec![cookie, ("sec-fetch-site", "same-origin")], fields.to_vec()),
            (vec![cookie, ("sec-fetch-site", "same-origin")], with(("csrf", "forged"))),
            (vec![cookie, ("sec-fetch-site", "same-origin")], with(("csrf", &world.viewer.csrf))),
            (vec![cookie, ("sec-fetch-site", "cross-site")], with(own_token)),
            (vec![cookie, other], with(own_token)),
            (vec![cookie, ("origin", "null")], with(own_token)),
            (vec![cookie], with(own_token)),
        ] {
            let answer = server.client.send_form(path, &headers, &fields).await;
            assert_eq!(answer.status, 403, "{path} {headers:?}");
            assert!(answer.page.contains("Nothing was changed."), "{}", answer.page);
        }
        let json = [cookie, ("sec-fetch-site", "same-origin"), ("content-type", "text/plain")];
        let answer = server.client.send(reqwest::Method::POST, path, &json, Some(&json!({}))).await;
        assert_eq!(answer.status, 415, "{path}");
    }
    assert_eq!(state(&world).await, before);
    assert_eq!(server.audit("login.session_refused").await.len(), 1, "told once in a while");
}

async fn a_token_is_shown_once_and_its_page_waits_for_the_machine(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let fields = [("name", "racks"), ("life", "1h"), ("seats", "2"), ("labels", "env=prod\nrow=7")];
    let answer = admin.submit(server, "/console/enrol", &fields).await;
    assert_eq!(
        (answer.status, &answer.headers["cache-control"]),
        (200, &"no-store".parse().unwrap())
    );
    let page = answer.page.replace("&#39;", "'");
    let token = page.split("ARGOSY_BOOTSTRAP_TOKEN='").nth(1).unwrap().split('\'').next().unwrap();
    assert!(page.contains("Waiting for the machine to ask"), "{page}");
    let below = page.split("data-live-from=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(!admin.page(server, below).await.page.contains(token.splitn(3, '_').nth(2).unwrap()));
    let mut agent = TestAgent::new("rack-1");
    agent.register(server, token).await.expect(201);
    let page = admin.page(server, below).await.page;
    let fingerprint =
        server.agent(&agent.agent_id).await["fingerprint"].as_str().unwrap().to_owned();
    let groups: Vec<&str> = fingerprint.split(' ').collect();
    assert!(page.contains("rack-1") && groups.iter().all(|group| page.contains(group)), "{page}");
    let labels = &server.agent(&agent.agent_id).await["labels"];
    assert_eq!(labels, &json!({ "env": "prod", "row": "7" }));
    let bad = [("name", "racks"), ("labels", "nonsense")];
    let answer = admin.submit(server, "/console/enrol", &bad).await;
    assert_eq!(answer.status, 422);
    assert!(answer.page.contains("nonsense"), "what was typed stays");
    let answer = admin.submit(server, &format!("{below}/revoke"), &[]).await;
    assert_eq!(answer.location(), "/console/tokens?done=token-revoked");
    assert_eq!(server.agent(&agent.agent_id).await["status"], "cancelled");
}

async fn keys_and_users_are_made_shown_once_and_ended(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let fields = [
        ("name", "ci"),
        ("role", "ticked"),
        ("scope", "agents:read"),
        ("scope", "audit:read"),
        ("days", "7"),
    ];
    let page = admin.submit(server, "/console/keys/new", &fields).await.page;
    let key =
        format!("argosy_{}", page.split("argosy_").nth(1).unwrap().split('<').next().unwrap());
    let me = server.client.get("/api/v1/auth/me", &key).await.expect(200);
    assert_eq!(me["scopes"], json!(["agents:read", "audit:read"]));
    let id = key.split('_').nth(1).unwrap();
    assert!(
        !admin
            .page(server, "/console/keys")
            .await
            .page
            .contains(key.splitn(3, '_').nth(2).unwrap())
    );
    admin.submit(server, &format!("/console/keys/{id}/revoke"), &[]).await;
    server.client.get("/api/v1/auth/me", &key).await.refused(401, "unauthenticated");

    let fields = [("name", "oskar"), ("role", "operator")];
    let page = admin.submit(server, "/console/users/new", &fields).await.page;
    let password =
        page.split("aria-label=\"Password\">").nth(1).unwrap().split('<').next().unwrap();
    let login = argosy_e2e::user::TestUser::try_log_in(server, "oskar", password).await;
    assert_eq!(login.status, 200);
    let users = server.client.get("/api/v1/users", &server.admin_key).await.expect(200);
    let user =
        users["items"].as_array().unwrap().iter().find(|user| user["name"] == "oskar").unwrap();
    let path = format!("/console/users/{}", user["id"].as_str().unwrap());
    let answer = admin.submit(server, &path, &[("role", "viewer")]).await;
    assert_eq!(answer.location(), format!("{path}?done=saved"));
    assert!(admin.page(server, &path).await.page.contains("viewer, made"));
    admin.submit(server, &format!("{path}/delete"), &[]).await;
    assert_eq!(admin.page(server, &path).await.status, 404);
}

async fn a_command_is_given_once_and_its_page_shows_what_was_signed(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let page = admin.page(server, &world.path(&world.agent, "")).await.page;
    assert!(page.contains("it broke") || page.contains("failed"), "{page}");
    let once = hidden(&page, "once");
    let path = world.path(&world.agent, "/commands");
    let fields = [("subsystem", "storage"), ("once", once.as_str())];
    let first = admin.submit(server, &path, &fields).await;
    let second = admin.submit(server, &path, &fields).await;
    assert_eq!(first.status, 303, "{first:?}");
    assert_eq!(first.location(), second.location());
    let command = first.location().split('?').next().unwrap().to_owned();
    let page = admin.page(server, &command).await.page;
    assert!(page.contains("queued") && page.contains("Withdraw it"), "{page}");
    admin.submit(server, &format!("{command}/cancel"), &[]).await;
    assert!(admin.page(server, &command).await.page.contains("cancelled"));
    let over = admin.page(server, &format!("/console/commands/{}", world.command)).await.page;
    for words in ["it broke", "a policy", "Signature", "argosy command receipt"] {
        assert!(over.contains(words), "no {words}: {over}");
    }
}

async fn several_agents_are_shown_before_anything_happens_to_them(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let ids = [world.agent.agent_id.as_str(), world.pending.agent_id.as_str()];
    let both = [("action", "quarantine"), ("id", ids[0]), ("id", ids[1])];
    let page = admin.submit(server, "/console/agents/bulk", &both).await.page;
    let (touched, left_out) = page.split_once("Left out").unwrap();
    assert!(touched.contains("Would be touched") && touched.contains("web-1"), "{page}");
    assert!(
        left_out.contains("web-2") && left_out.contains("not possible while pending"),
        "{page}"
    );
    assert_eq!(server.agent(ids[0]).await["status"], "approved", "nothing has happened");
    let page = admin.submit(server, "/console/agents/bulk/apply", &both).await.page;
    assert!(page.contains("Done, but for 1"), "{page}");
    let status = async |id| server.agent(id).await["status"].as_str().unwrap().to_owned();
    assert_eq!(
        (status(ids[0]).await, status(ids[1]).await),
        ("quarantined".into(), "pending".into())
    );
    let run = [("action", "run-system"), ("id", ids[0])];
    let answer = world.viewer.submit(server, "/console/agents/bulk/apply", &run).await;
    assert_eq!(answer.status, 403);
    for bad in [&[("action", "explode"), ("id", ids[0])][..], &[("action", "revoke")][..]] {
        assert_eq!(admin.submit(server, "/console/agents/bulk/apply", bad).await.status, 422);
    }
}

async fn settings_are_changed_all_or_none(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let settings =
        async || server.client.get("/api/v1/settings", &server.admin_key).await.expect(200);
    let before = settings().await;
    let bad = [("login_failures_per_minute", "0"), ("minimum_agent_version", "0.0.1")];
    let answer = admin.submit(server, "/console/settings", &bad).await;
    assert_eq!(answer.status, 422);
    assert_eq!(settings().await, before);
    let good = [("login_failures_per_minute", "7"), ("minimum_agent_version", "0.0.1")];
    let answer = admin.submit(server, "/console/settings", &good).await;
    assert_eq!(answer.location(), "/console/settings?done=saved");
    assert_eq!(settings().await["login_failures_per_minute"], 7);
    let answer = world.viewer.submit(server, "/console/settings", &good).await;
    assert_eq!(answer.status, 403);
}

on_both!(
    an_agent_is_approved_by_the_fingerprint_on_the_page,
    decisions_are_taken_and_recorded_with_their_reason,
    a_page_of_somebody_else_changes_nothing,
    a_token_is_shown_once_and_its_page_waits_for_the_machine,
    keys_and_users_are_made_shown_once_and_ended,
    a_command_is_given_once_and_its_page_shows_what_was_signed,
    several_agents_are_shown_before_anything_happens_to_them,
    settings_are_changed_all_or_none,
);
