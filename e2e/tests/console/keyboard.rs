//! Whoever uses no mouse does everything: forms by Tab, letters, Space and Enter.

use argosy_e2e::{
    browser::Browser,
    database::{Place, on_sqlite},
};
use serde_json::json;

use crate::{
    packages::pending,
    reach::sign_in,
    story::{mark, must_be_same},
    world::World,
};

const TAB: &str = "\u{E004}";
const ENTER: &str = "\u{E007}";
const DOWN: &str = "\u{E015}";
/// Stops of a page; more are a page that nobody gets through.
const STOPS_MAX: usize = 150;

/// Goes on with Tab until the focus is there.
async fn tab_to(browser: &Browser, selector: &str) {
    let there = format!("document.activeElement.matches({})", json!(selector));
    for _ in 0..STOPS_MAX {
        if browser.value(&there).await == true {
            return;
        }
        browser.press(TAB).await;
    }
    panic!("Tab does not lead to {selector}");
}

async fn type_in(browser: &Browser, text: &str) {
    for key in text.chars() {
        browser.press(&key.to_string()).await;
    }
}

async fn ready(place: &Place) -> (World, Browser) {
    let world = World::start(place).await;
    let browser = Browser::start().await;
    browser.window(1024, 768, false).await;
    sign_in(&world, &browser).await;
    (world, browser)
}

async fn a_command_to_many(place: Place) {
    let (world, browser) = ready(&place).await;
    browser.go(&format!("{}/console/commands", world.server.url)).await;
    tab_to(&browser, "a[href='/console/commands/new']").await;
    browser.press(ENTER).await;
    browser.reads("Whom it is for").await;
    fill(&browser, "#q", "web-1").await;
    browser.press(ENTER).await;
    browser.reads("It reaches 1 agent").await;
    tab_to(&browser, "#reach button").await;
    browser.press(ENTER).await;
    browser.reads("Started. This page follows it.").await;
    browser.wait("the feed", "document.querySelector('#live').textContent === 'Live'").await;
    browser.reads("1 queued").await;
    mark(&browser).await;
    let (server, key) = (&world.server, &world.server.admin_key);
    let queued = server.client.get("/api/v1/commands?state=queued", key).await.expect(200);
    let id = queued["items"][0]["id"].as_str().unwrap();
    let path = format!("/api/v1/commands/{id}/cancel");
    server.client.post(&path, key, &json!({})).await.expect(200);
    browser.reads("1 of 1 agent").await;
    browser.reads("completed").await;
    must_be_same(&browser).await;
    browser.close().await;
}

async fn a_schedule(place: Place) {
    let (world, browser) = ready(&place).await;
    browser.go(&format!("{}{}", world.server.url, world.path(&world.agent, ""))).await;
    tab_to(&browser, "a[href$='/schedule']").await;
    browser.press(ENTER).await;
    browser.reads("Schedule of web-1").await;
    tab_to(&browser, "#storage-auto").await;
    browser.press(" ").await;
    fill(&browser, "#storage-interval", "10m").await;
    browser.press(ENTER).await;
    browser.reads("Saved. The agent is told at once").await;
    let path = format!("/api/v1/agents/{}/subsystems", world.agent.agent_id);
    let shown = world.server.client.get(&path, &world.server.admin_key).await.expect(200);
    let rows = shown["items"].as_array().unwrap();
    let storage = rows.iter().find(|row| row["name"] == "storage").unwrap();
    assert_eq!((&storage["interval_s"], &storage["auto_run"]), (&json!(600), &json!(false)));
    browser.close().await;
}

/// Goes there with Tab and presses Enter.
async fn enter(browser: &Browser, selector: &str) {
    tab_to(browser, selector).await;
    browser.press(ENTER).await;
}

/// Fills a field: what was in it is selected when Tab leads there.
async fn fill(browser: &Browser, selector: &str, text: &str) {
    tab_to(browser, selector).await;
    type_in(browser, text).await;
}

async fn packages(place: Place) {
    let (world, browser) = ready(&place).await;
    let pair = [("acl", "2.3.1-3", "2.3.2-1", false), ("openssl", "3.0.11-1", "3.0.15-1", true)];
    pending(&world.server, &world.agent, &pair).await;
    browser.go(&format!("{}/console/packages", world.server.url)).await;
    enter(&browser, "a[href^='/console/packages/approve']").await;
    browser.reads("What is approved").await;
    // Radio buttons are one stop; arrows change them.
    tab_to(&browser, "#what-security, #what-ticked").await;
    if browser.value("document.querySelector('#what-ticked').checked").await == false {
        browser.press(DOWN).await;
    }
    tab_to(&browser, "input[name=package][value=acl]").await;
    browser.press(" ").await;
    enter(&browser, "main form button.primary").await;
    browser.reads("Nothing is installed yet: try it, then install it").await;
    browser.reads("acl 2.3.2-1").await;

    browser.go(&format!("{}/console/packages", world.server.url)).await;
    enter(&browser, "a[href^='/console/packages/install']").await;
    fill(&browser, "#packages", "acl").await;
    enter(&browser, "main form button.primary").await;
    browser.reads("Started. This page follows it.").await;

    browser.go(&format!("{}/console/packages/approvals", world.server.url)).await;
    enter(&browser, "form[action$='/revoke'] button").await;
    browser.reads("Taken back.").await;
    browser.close().await;
}

async fn an_account(place: Place) {
    let (world, browser) = ready(&place).await;
    browser.go(&format!("{}/console/accounts", world.server.url)).await;
    enter(&browser, "a[href='/console/accounts/new']").await;
    browser.reads("Tokens can be bound to it").await;
    fill(&browser, "#name", "Frankfurt").await;
    fill(&browser, "#regions", "eu-central-1").await;
    enter(&browser, "main form button.primary").await;
    browser.reads("Made. Tokens can be bound to it.").await;
    fill(&browser, "#name", "Berlin").await;
    enter(&browser, "main form button.primary").await;
    browser.reads("Saved.").await;
    let accounts = world.server.client.get("/api/v1/accounts", &world.server.admin_key).await;
    let accounts = accounts.expect(200);
    let names: Vec<_> = accounts["items"].as_array().unwrap().iter().map(|a| &a["name"]).collect();
    assert!(names.contains(&&json!("Berlin")), "{names:?}");
    enter(&browser, "a.danger-link").await;
    browser.reads("Delete").await;
    enter(&browser, "main form button.danger").await;
    browser.reads("Deleted. The audit log stays.").await;
    browser.close().await;
}

async fn an_organisation(place: Place) {
    let (world, browser) = ready(&place).await;
    browser.go(&format!("{}/console/organisations", world.server.url)).await;
    enter(&browser, "a[href='/console/organisations/new']").await;
    for (field, text) in [("#id", "lab"), ("#name", "Laboratory"), ("#admin", "grace")] {
        fill(&browser, field, text).await;
    }
    enter(&browser, "main form button.primary").await;
    browser.reads("The password of grace, administrator of lab").await;
    enter(&browser, "main a.button").await;
    browser.reads("Laboratory").await;
    enter(&browser, "a[href='/console/organisations/lab']").await;
    browser.reads("Disable Laboratory").await;
    enter(&browser, "main form button.danger").await;
    browser.reads("Let everybody in again").await;
    browser.close().await;
}

async fn a_run_of_discovery(place: Place) {
    let (world, browser) = ready(&place).await;
    browser.go(&format!("{}/console/discovery", world.server.url)).await;
    enter(&browser, "a[href='/console/discovery/sync/new']").await;
    browser.reads("Clouds are only read.").await;
    enter(&browser, "main form button.primary").await;
    browser.reads("It waits for any agent of the account.").await;
    browser.close().await;
}

macro_rules! by_keys_alone {
    ($($name:ident $scenario:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                Box::pin(on_sqlite($scenario)).await;
            }
        )*
    };
}

by_keys_alone! {
    keys_alone_give_a_command_to_many a_command_to_many;
    keys_alone_change_a_schedule a_schedule;
    keys_alone_approve_and_try_packages packages;
    keys_alone_make_rename_and_delete_an_account an_account;
    keys_alone_make_and_disable_an_organisation an_organisation;
    keys_alone_ask_for_a_run_of_discovery a_run_of_discovery;
}
