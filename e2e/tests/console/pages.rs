//! What pages show, to whom, and what none of them may hold.

use std::collections::{BTreeSet, VecDeque};

use argosy_e2e::{
    agent::TestAgent, database::Place, http::Answer, on_both, server::TestServer, user::TestUser,
};
use serde_json::json;

use crate::{discovery::clouds, world::World};

/// The addresses that a page leads to on this server, without their anchors.
fn links(page: &str) -> Vec<String> {
    let hrefs = page.split("href=\"").chain(page.split("src=\"")).skip(1);
    let paths = hrefs.filter_map(|rest| rest.split('"').next());
    let own = paths.filter(|path| path.starts_with('/'));
    let plain = own.map(|path| path.split('#').next().unwrap().replace("&amp;", "&"));
    plain.map(|path| path.replace("&#38;", "&")).collect()
}

/// No script, no style and no handler stands in a page, and nothing of another host is loaded.
fn must_be_clean(path: &str, answer: &Answer) {
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{path}: {policy}"
    );
    for (name, value) in [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY")] {
        assert_eq!(answer.headers[name], value, "{path}");
    }
    let page = &answer.page;
    assert!(!page.contains("<script>") && !page.contains("<style"), "{path}");
    for tag in page.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        // What stands between quotes is text: no quote in it is left as it is.
        let tag: String = tag.split('"').step_by(2).collect();
        let handler =
            tag.split_whitespace().any(|part| part.starts_with("on") && part.contains('='));
        assert!(!handler && !tag.contains(" style="), "{path}: <{tag}>");
    }
    let loads = ["src=\"http", "<link rel=\"stylesheet\" href=\"http"];
    assert!(!loads.iter().any(|load| page.contains(load)), "{path}");
}

/// Every page that can be reached from the first one, as somebody sees it.
async fn walk(world: &World, user: &TestUser) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = VecDeque::from(["/console".to_owned()]);
    while let Some(path) = open.pop_front() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = user.page(&world.server, &path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.page);
        let kind = answer.headers["content-type"].to_str().unwrap();
        if kind.starts_with("text/html") && !path.starts_with("/api/") {
            must_be_clean(&path, &answer);
            open.extend(links(&answer.page));
        }
    }
    seen
}

async fn every_link_of_every_page_leads_somewhere(place: Place) {
    let world = World::start(&place).await;
    let [vpc, job] = clouds(&world.server, 2, 2).await;
    let of_admin = walk(&world, &world.admin).await;
    for expected in [
        "/console/agents",
        "/console/approvals",
        "/console/enrol",
        "/console/settings",
        "/console/users/new",
        "/docs/enrolment",
        &world.path(&world.pending, "/approve"),
        &world.path(&world.agent, "/revoke"),
        &format!("/console/commands/{}", world.command),
        &format!("/console/discovery/resources/{vpc}"),
        &format!("/console/discovery/sync/{job}"),
        "/console/discovery?view=tree",
        "/console/discovery/agents",
    ] {
        assert!(of_admin.contains(expected), "{expected} is not reached: {of_admin:#?}");
    }
    let of_viewer = walk(&world, &world.viewer).await;
    for hidden in
        ["/console/enrol", "/console/keys", "/console/tokens", "/console/discovery/sync/new"]
    {
        assert!(!of_viewer.contains(hidden), "{hidden} is offered to a viewer");
    }
    assert!(!of_viewer.iter().any(|path| path.ends_with("/revoke") || path.ends_with("/approve")));
}

async fn what_a_role_does_not_allow_is_refused_in_words(place: Place) {
    let world = World::start(&place).await;
    for path in ["/console/tokens", "/console/keys", "/console/users/new", "/console/enrol"] {
        let answer = world.viewer.page(&world.server, path).await;
        assert_eq!(answer.status, 403, "{path}");
        for words in ["You may not do this", "You are signed in as viewer", "this needs the scope"]
        {
            assert!(answer.page.contains(words), "{path} lacks {words}: {}", answer.page);
        }
        must_be_clean(path, &answer);
    }
    let answer = world.viewer.page(&world.server, "/console/nothing/here").await;
    assert_eq!(answer.status, 404);
    assert!(answer.page.contains("There is nothing here"));
}

async fn the_overview_begins_with_what_wants_attention(place: Place) {
    let world = World::start(&place).await;
    let page = world.admin.page(&world.server, "/console").await.page;
    for words in ["1 registration waits for approval", "1 command failed within 24 hours"] {
        assert!(page.contains(words), "no {words}: {page}");
    }
    let (attention, fleet) =
        (page.find("Wants attention").unwrap(), page.find("The fleet now").unwrap());
    assert!(attention < fleet);
    assert!(page.contains("role=\"img\" aria-label=\"Agents by time since they were last heard."));
    world.server.decide(&world.agent.agent_id, "quarantine", json!({})).await.expect(200);
    let page = world.admin.page(&world.server, "/console").await.page;
    assert!(page.contains("quarantined"));
}

async fn agents_are_found_by_what_the_address_says(place: Place) {
    let world = World::start(&place).await;
    let other = TestAgent::admitted(&world.server, "db-1").await;
    let labels = json!({ "labels": { "env": "prod" } });
    let path = format!("/api/v1/agents/{}", other.agent_id);
    world.admin.call(&world.server, reqwest::Method::PATCH, &path, Some(&labels)).await.expect(200);
    for (query, shown) in [
        ("", "db-1 web-1 web-2"),
        ("?q=WEB", "web-1 web-2"),
        ("?status=pending", "web-2"),
        ("?label=env%3Dprod", "db-1"),
        ("?account=1&q=db-1", "db-1"),
        ("?connected=yes", ""),
        ("?version=0.1.0&status=approved", "db-1 web-1"),
        ("?review=1", ""),
        ("?q=nobody", ""),
    ] {
        let page = world.admin.page(&world.server, &format!("/console/agents{query}")).await.page;
        let names = ["db-1", "web-1", "web-2"].into_iter();
        let found: Vec<&str> =
            names.filter(|name| page.contains(&format!(">{name}</a>"))).collect();
        assert_eq!(found.join(" "), shown, "{query}: {page}");
        assert_eq!(page.contains("No agent fits"), shown.is_empty(), "{query}");
    }
    let answer = world.admin.page(&world.server, "/console/agents?label=nonsense").await;
    assert_eq!(answer.status, 422);
    assert!(answer.page.contains("label must be key=value"), "{}", answer.page);
}

async fn lists_go_on_page_by_page_under_the_same_filters(place: Place) {
    let server = TestServer::start(&place).await;
    let admin = TestUser::make(&server, "ada", "admin").await;
    let token = server.token(json!({ "max_uses": 60 })).await;
    for n in 0..53 {
        TestAgent::new(&format!("rack-{n:02}")).register(&server, &token).await.expect(201);
    }
    let (mut path, mut names, mut pages) =
        ("/console/agents?q=rack".to_owned(), BTreeSet::new(), 0);
    loop {
        let page = admin.page(&server, &path).await.page;
        let rows = page.split("<tr id=\"agent-").skip(1);
        names.extend(rows.filter_map(|row| row.split("rack-").nth(1)).map(|n| n[..2].to_owned()));
        pages += 1;
        let Some(next) = page.split("rel=\"next\" href=\"").nth(1) else { break };
        path = next.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
        assert!(path.contains("q=rack"), "{path}");
    }
    assert_eq!((pages, names.len()), (2, 53));
}

/// What machines and people call themselves is text, wherever it stands.
async fn names_are_text_on_every_page(place: Place) {
    let world = World::start(&place).await;
    let nasty = "<script>alert('a')</script>\"><img src=x onerror=alert(1)>";
    let mut agent = TestAgent::new(nasty);
    let token = world.server.token(json!({ "name": nasty })).await;
    agent.register(&world.server, &token).await.expect(201);
    let search = "/console/agents?q=%3Cscript%3E%22%3E";
    let seen = json!({ "resources": [{ "provider": "aws", "region": nasty, "resource_type": "vpc",
        "resource_id": nasty, "name": nasty, "cidr": nasty, "metadata": { "tags": { nasty: nasty } } }] });
    let key = &world.server.admin_key;
    world.server.client.post("/api/v1/discovery/ingest", key, &seen).await.expect(200);
    let listed = world.server.client.get("/api/v1/discovery/resources", key).await.expect(200);
    let resource =
        format!("/console/discovery/resources/{}", listed["items"][0]["id"].as_str().unwrap());
    for path in [
        "/console",
        "/console/agents",
        search,
        "/console/approvals",
        "/console/tokens",
        "/console/audit",
        "/console/discovery?q=%3Cscript%3E%22%3E",
        "/console/discovery?view=tree",
        "/console/discovery/sync",
        &resource,
        &world.path(&agent, ""),
        &world.path(&agent, "/approve"),
        &world.path(&agent, "/reject"),
        &world.path(&agent, "/edit"),
    ] {
        let answer = world.admin.page(&world.server, path).await;
        assert_eq!(answer.status, 200, "{path}");
        must_be_clean(path, &answer);
        assert!(!answer.page.contains("<img src=x"), "{path}: {}", answer.page);
    }
}

async fn files_of_pages_are_kept_by_browsers_and_change_their_address(place: Place) {
    let world = World::start(&place).await;
    let page = world.admin.page(&world.server, "/console").await.page;
    let files: Vec<String> =
        links(&page).into_iter().filter(|path| path.starts_with("/console/assets/")).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert!(file.contains("?v="), "{file}");
        let answer = world.server.client.send(reqwest::Method::GET, &file, &[], None).await;
        assert_eq!(answer.status, 200, "{file}");
        let kept = answer.headers["cache-control"].to_str().unwrap();
        assert!(kept.contains("immutable"), "{file}: {kept}");
    }
    assert_eq!(
        world.admin.page(&world.server, "/console").await.headers["cache-control"],
        "no-store"
    );
}

on_both!(
    every_link_of_every_page_leads_somewhere,
    what_a_role_does_not_allow_is_refused_in_words,
    the_overview_begins_with_what_wants_attention,
    agents_are_found_by_what_the_address_says,
    lists_go_on_page_by_page_under_the_same_filters,
    names_are_text_on_every_page,
    files_of_pages_are_kept_by_browsers_and_change_their_address,
);
