//! Orders by pages: when subsystems run, one command to many with its preview and progress, and
//! decisions about all agents that a filter lets through.

use argosy_domain::{
    command::{CommandResult, End, Outcome},
    time::Clock as _,
};
use argosy_e2e::{
    agent::TestAgent, database::Place, on_both, process::until, server::TestServer, user::TestUser,
};
use serde_json::{Value, json};

use crate::{forms::hidden, world::World};

/// A server with agents of one name, approved.
async fn racks(place: &Place, count: usize) -> (TestServer, TestUser) {
    let server = TestServer::start(place).await;
    let ada = TestUser::make(&server, "ada", "admin").await;
    let token = server.token(json!({ "max_uses": count, "auto_approve": true })).await;
    for n in 0..count {
        TestAgent::new(&format!("rack-{n:02}")).register(&server, &token).await.expect(201);
    }
    (server, ada)
}

async fn list(server: &TestServer, path: &str) -> Vec<Value> {
    let page = server.client.get(path, &server.admin_key).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

/// A link as a page writes it.
fn link_with(page: &str, part: &str) -> String {
    let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut links = links.map(|link| link.replace("&amp;", "&").replace("&#38;", "&"));
    links.find(|link| link.contains(part)).unwrap_or_else(|| panic!("no {part} in {page}"))
}

async fn a_schedule_is_changed_by_its_form(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let path = world.path(&world.agent, "/schedule");
    let page = admin.page(server, &path).await.page;
    assert!(page.contains("signed by the server") && page.contains("every 5m"), "{page}");
    let fields =
        [("subsystem", "storage"), ("enabled", "yes"), ("interval", "90s"), ("timeout", "20s")];
    let answer = admin.submit(server, &path, &fields).await;
    assert_eq!(answer.location(), format!("{path}?done=scheduled"));
    let shown = format!("/api/v1/agents/{}/subsystems", world.agent.agent_id);
    let storage = list(server, &shown).await.into_iter().find(|row| row["name"] == "storage");
    let storage = storage.unwrap();
    assert_eq!((&storage["interval_s"], &storage["timeout_s"]), (&json!(90), &json!(20)));
    assert_eq!((&storage["enabled"], &storage["auto_run"]), (&json!(true), &json!(false)));
    let page = admin.page(server, &world.path(&world.agent, "")).await.page;
    assert!(page.contains("on command only") && page.contains("has yet to hear"), "{page}");
    for (interval, problem) in [("30s", "must be 60 to 86400"), ("soon", "not a duration")] {
        let fields = [("subsystem", "system"), ("interval", interval), ("timeout", "20s")];
        let answer = admin.submit(server, &path, &fields).await;
        assert_eq!(answer.status, 422, "{interval}");
        assert!(answer.page.contains(problem), "{}", answer.page);
        assert!(answer.page.contains(&format!("value=\"{interval}\"")), "what was typed stays");
    }
    let page = world.viewer.page(server, &world.path(&world.agent, "")).await.page;
    assert!(page.contains("on command only"), "who looks sees it");
    assert!(!page.contains("/schedule") && !page.contains("Run now"), "and no dead button");
    let answer = world.viewer.page(server, &path).await;
    assert_eq!(answer.status, 403);
    assert!(answer.page.contains("this needs the scope subsystems:update"), "{}", answer.page);
}

async fn a_command_to_many_is_previewed_started_once_and_followed(place: Place) {
    let (server, ada) = racks(&place, 53).await;
    let query = "kind=subsystem.run&subsystem=system&q=rack-0&concurrency=4&errors=2&life=1h";
    let preview = format!("/console/commands/new?{query}&preview=1");
    let page = ada.page(&server, &preview).await.page;
    assert!(page.contains("It reaches 10 agents") && page.contains("rack-07"), "{page}");
    assert!(!page.contains("rack-11"), "{page}");
    assert!(list(&server, "/api/v1/fan-outs").await.is_empty(), "nothing has happened");
    let once = hidden(&page, "once");
    let fields = [
        ("kind", "subsystem.run"),
        ("subsystem", "system"),
        ("q", "rack-0"),
        ("concurrency", "4"),
        ("errors", "2"),
        ("life", "1h"),
        ("once", once.as_str()),
    ];
    let answer = ada.submit(&server, "/console/commands/new", &fields).await;
    let again = ada.submit(&server, "/console/commands/new", &fields).await;
    assert_eq!((answer.status, answer.location()), (303, again.location()), "{answer:?}");
    let begun = list(&server, "/api/v1/fan-outs").await;
    assert_eq!(begun.len(), 1, "a form that is sent twice is one order");
    assert_eq!((&begun[0]["concurrency"], &begun[0]["max_errors"]), (&json!(4), &json!(2)));
    assert_eq!(begun[0]["selector"], json!({ "q": "rack-0" }));
    let progress = answer.location().split('?').next().unwrap().to_owned();
    let page = until("four commands", async || {
        let page = ada.page(&server, &progress).await.page;
        page.contains("4 queued").then_some(page)
    })
    .await;
    assert!(page.contains("0 of 10 agents") && page.contains("6 waiting"), "{page}");
    let queued = ada.page(&server, &link_with(&page, "state=queued")).await.page;
    assert_eq!(queued.matches(">The command<").count(), 4, "{queued}");
    let answer = ada.submit(&server, &format!("{progress}/cancel"), &[]).await;
    assert_eq!(answer.location(), format!("{progress}?done=withdrawn"));
    let page = ada.page(&server, &progress).await.page;
    assert!(page.contains("cancelled") && !page.contains("Withdraw…"), "{page}");
    assert!(ada.page(&server, "/console/fan-outs").await.page.contains("subsystem.run system"));
}

async fn who_is_meant_must_be_said(place: Place) {
    let world = World::start(&place).await;
    let (server, admin) = (&world.server, &world.admin);
    let preview = "/console/commands/new?kind=agent.restart&preview=1";
    let answer = admin.page(server, preview).await;
    assert_eq!(answer.status, 422);
    assert!(answer.page.contains("say whom it is for"), "{}", answer.page);
    let page = admin.page(server, &format!("{preview}&q=nobody")).await.page;
    assert!(page.contains("No approved agent fits all of this"), "{page}");
    assert!(!page.contains("Start agent.restart"), "{page}");
    let page = admin.page(server, &format!("{preview}&all=yes")).await.page;
    assert!(
        page.contains("It reaches 1 agent") && page.contains("web-1"),
        "who waits is not meant"
    );
    for (query, problem) in [
        ("labels=nonsense", "must be key=value"),
        ("all=yes&concurrency=many", "must be a whole number"),
        ("health=purple", "health is unknown"),
    ] {
        let answer = admin.page(server, &format!("{preview}&{query}")).await;
        assert_eq!(answer.status, 422, "{query}");
        assert!(answer.page.contains(problem), "{query}: {}", answer.page);
    }
    let answer = world.viewer.page(server, "/console/commands/new").await;
    assert_eq!(answer.status, 403);
    assert!(answer.page.contains("this needs the scope commands:create"), "{}", answer.page);
    let page = world.viewer.page(server, "/console/commands").await.page;
    assert!(!page.contains("A command to many…"), "no dead button: {page}");
}

async fn all_that_fit_a_filter_are_decided_about_at_once(place: Place) {
    let (server, ada) = racks(&place, 53).await;
    let page = ada.page(&server, "/console/agents?q=rack-0").await.page;
    assert!(
        page.contains("all 10 agents that fit") && page.contains("name=\"q\" value=\"rack-0\"")
    );
    let page = ada.page(&server, "/console/agents").await.page;
    assert!(page.contains("50 of 53 agents"), "{page}");
    let fields = [("action", "quarantine"), ("whom", "all"), ("q", "rack-0")];
    let page = ada.submit(&server, "/console/agents/bulk", &fields).await.page;
    assert!(page.contains("Quarantine: 10 agents") && !page.contains("rack-11"), "{page}");
    let quarantined = "/api/v1/agents?status=quarantined&limit=500";
    assert!(list(&server, quarantined).await.is_empty(), "nothing has happened");
    let ids =
        page.split("name=\"id\" value=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let mut fields: Vec<(&str, &str)> = ids.map(|id| ("id", id)).collect();
    fields.extend([("action", "quarantine"), ("reason", "a bad rack")]);
    let page = ada.submit(&server, "/console/agents/bulk/apply", &fields).await.page;
    assert!(page.contains("Done, with each of them."), "{page}");
    assert_eq!(list(&server, quarantined).await.len(), 10);
    assert_eq!(server.audit("agent.quarantined").await[0]["detail"]["reason"], "a bad rack");
    let fields = [("action", "run-storage"), ("whom", "all"), ("q", "rack"), ("label", "a=b")];
    let answer = ada.submit(&server, "/console/agents/bulk", &fields).await;
    let to = answer.location();
    assert!(to.starts_with("/console/commands/new?kind=subsystem.run&subsystem=storage"), "{to}");
    assert!(to.contains("q=rack") && to.contains("labels=a%3Db") && to.ends_with("preview=1"));
    let fields = [("action", "run-storage"), ("whom", "all"), ("status", "pending")];
    let answer = ada.submit(&server, "/console/agents/bulk", &fields).await;
    assert_eq!(answer.status, 422, "a filter for others is not widened");
    let fields = [("action", "run-storage"), ("whom", "all")];
    let everybody = ada.submit(&server, "/console/agents/bulk", &fields).await;
    let page = ada.page(&server, everybody.location()).await.page;
    assert!(page.contains("It reaches 43 agents"), "{page}");
}

async fn the_overview_leads_to_what_it_counted(place: Place) {
    let (server, ada) = racks(&place, 6).await;
    let order = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
    let store = server.store().await;
    let now = server.clock.now();
    for (agent, outcome) in server.agents().await.iter().zip(Outcome::ALL) {
        let path = format!("/api/v1/agents/{}/commands", agent["agent_id"].as_str().unwrap());
        let id = server.client.post(&path, &server.admin_key, &order).await.text("id");
        let end = End { outcome, at: now, detail: None };
        let result =
            CommandResult { payload: b"{}".to_vec(), receipt: None, receipt_signature: None };
        let mut tx = store.write("test").await.unwrap();
        let ended = (&id.parse().unwrap(), &end, &result, "queued");
        assert_eq!(tx.commands().save_ends(&[ended]).await.unwrap().len(), 1);
        tx.commit().await.unwrap();
    }
    store.close().await;
    let page = ada.page(&server, "/console").await.page;
    assert!(page.contains("4 commands failed within 24 hours"), "{page}");
    let page = ada.page(&server, &link_with(&page, "/console/commands?state=")).await.page;
    let table = page.split("<tbody>").nth(1).unwrap();
    assert_eq!(table.matches("<tr>").count(), 4, "{page}");
    for state in ["failed", "timed out", "rejected", "expired"] {
        assert!(table.contains(&format!(">{state}</span>")), "no {state}: {table}");
    }
}

on_both!(
    a_schedule_is_changed_by_its_form,
    a_command_to_many_is_previewed_started_once_and_followed,
    who_is_meant_must_be_said,
    all_that_fit_a_filter_are_decided_about_at_once,
    the_overview_leads_to_what_it_counted,
);
