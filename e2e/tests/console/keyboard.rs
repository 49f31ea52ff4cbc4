//! Whoever uses no mouse does everything: forms by Tab, letters, Space and Enter.

use argosy_e2e::{
    browser::Browser,
    database::{Place, on_sqlite},
};
use serde_json::json;

use crate::{
    reach::sign_in,
    story::{mark, must_be_same},
    world::World,
};

const TAB: &str = "\u{E004}";
const ENTER: &str = "\u{E007}";
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
    tab_to(&browser, "#q").await;
    type_in(&browser, "web-1").await;
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
    tab_to(&browser, "#storage-interval").await;
    type_in(&browser, "10m").await;
    browser.press(ENTER).await;
    browser.reads("Saved. The agent is told at once").await;
    let path = format!("/api/v1/agents/{}/subsystems", world.agent.agent_id);
    let shown = world.server.client.get(&path, &world.server.admin_key).await.expect(200);
    let rows = shown["items"].as_array().unwrap();
    let storage = rows.iter().find(|row| row["name"] == "storage").unwrap();
    assert_eq!((&storage["interval_s"], &storage["auto_run"]), (&json!(600), &json!(false)));
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
}
