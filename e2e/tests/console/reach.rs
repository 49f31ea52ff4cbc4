//! Whoever cannot see well, or uses no mouse, or has a small window, reaches everything: axe-core
//! finds nothing on any page, and so do a few checks of our own (WCAG 2.2 AA).

use argosy_e2e::{
    browser::{Browser, axe},
    database::{Place, on_sqlite},
    process::python,
};
use serde_json::{Value, json};

use crate::{discovery::clouds, world::World};

/// What axe-core does not look at: one heading of the first order, no scrolling sideways
/// (1.4.10), targets of 24 pixels unless they stand in a line of text (2.5.8), a name for each
/// field and button.
const OWN_CHECKS: &str = r#"
const wrong = [];
if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
const root = document.documentElement;
if (root.scrollWidth > root.clientWidth) wrong.push(`scrolls sideways: ${root.scrollWidth}`);
for (const part of document.querySelectorAll("a[href], button, input, select, textarea, summary")) {
  const box = part.getBoundingClientRect();
  if (box.width === 0 || getComputedStyle(part).position === "absolute") continue;
  const inText = getComputedStyle(part).display === "inline" || part.matches("summary, [type=checkbox]");
  if (!inText && (box.width < 24 || box.height < 24)) {
    wrong.push(`small: ${part.outerHTML.slice(0, 90)} ${box.width}x${box.height}`);
  }
}
return wrong;
"#;

/// Runs axe-core and gives what it found, in short.
const AXE: &str = r#"
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"];
return axe.run(document, { runOnly: tags, resultTypes: ["violations"] }).then((found) =>
  found.violations.map((rule) => `${rule.id} (${rule.impact}): ` +
    rule.nodes.slice(0, 3).map((node) => node.html.slice(0, 120)).join(" | ")));
"#;

pub(crate) async fn sign_in(world: &World, browser: &Browser) {
    browser.go(&format!("{}/console/sign-in", world.server.url)).await;
    browser.fill("#name", &world.admin.name).await;
    browser.fill("#password", &world.admin.password).await;
    browser.click("main button").await;
    browser.reads("Wants attention").await;
}

fn paths(world: &World) -> Vec<String> {
    let own = [
        "/console",
        "/console/agents",
        "/console/agents?q=nobody",
        "/console/approvals",
        "/console/commands",
        "/console/commands?state=lost",
        "/console/commands/new",
        "/console/commands/new?kind=subsystem.run&subsystem=system&all=yes&preview=1",
        "/console/fan-outs",
        "/console/packages",
        "/console/packages?view=agents&security=yes",
        "/console/packages/approve",
        "/console/packages/approvals",
        "/console/packages/install",
        "/console/enrol",
        "/console/tokens",
        "/console/accounts",
        "/console/accounts/new",
        "/console/accounts/1",
        "/console/organisations",
        "/console/organisations/new",
        "/console/organisations/default",
        "/console/audit/verify",
        "/console/users",
        "/console/users/new",
        "/console/keys",
        "/console/keys/new",
        "/console/sessions",
        "/console/password",
        "/console/audit",
        "/console/security",
        "/console/settings",
        "/console/nothing",
        "/docs/",
        "/docs/console",
        "/setup",
    ];
    let mut paths: Vec<String> = own.iter().map(|path| (*path).to_owned()).collect();
    paths.push(format!("/console/commands/{}", world.command));
    paths
        .extend(["", "/edit", "/revoke", "/schedule"].map(|below| world.path(&world.agent, below)));
    paths.extend(["", "/approve"].map(|below| world.path(&world.pending, below)));
    paths
}

/// A command to many that waits, and what follows from withdrawing it.
async fn order(world: &World) -> [String; 2] {
    let order = json!({ "kind": "subsystem.run", "params": { "subsystem": "storage" },
        "selector": { "all": true } });
    let (server, key) = (&world.server, &world.server.admin_key);
    let id = server.client.post("/api/v1/commands", key, &order).await.text("id");
    ["", "/cancel"].map(|below| format!("/console/fan-outs/{id}{below}"))
}

async fn look(browser: &Browser, axe: &str) -> Vec<String> {
    let found = browser.script(&format!("{axe};\n{AXE}"), json!([])).await;
    let own = browser.script(OWN_CHECKS, json!([])).await;
    let texts = found.as_array().unwrap().iter().chain(own.as_array().unwrap());
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

async fn nothing_is_out_of_reach(place: Place) {
    let world = World::start(&place).await;
    let axe = axe(&python().await);
    let browser = Browser::start().await;
    browser.window(1024, 768, false).await;
    let mut wrong = Vec::new();
    browser.go(&format!("{}/console/sign-in", world.server.url)).await;
    wrong.extend(look(&browser, &axe).await);
    sign_in(&world, &browser).await;
    let order = order(&world).await;
    let [vpc, job] = clouds(&world.server, 2, 2).await;
    let seen = [
        format!("/console/discovery/resources/{vpc}"),
        format!("/console/discovery/sync/{job}"),
        "/console/discovery".to_owned(),
        "/console/discovery?view=tree".to_owned(),
        "/console/discovery?view=hints".to_owned(),
        "/console/discovery?q=nothing".to_owned(),
        "/console/discovery/sync".to_owned(),
        "/console/discovery/sync/new".to_owned(),
        "/console/discovery/agents".to_owned(),
    ];
    for (width, dark) in [(1024, false), (390, true)] {
        browser.window(width, 844, dark).await;
        for path in paths(&world).iter().chain(&order).chain(&seen) {
            browser.go(&format!("{}{path}", world.server.url)).await;
            let found = look(&browser, &axe).await;
            wrong.extend(found.iter().map(|what| format!("{path} at {width}: {what}")));
        }
    }
    browser.close().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_out_of_reach_of_anybody() {
    Box::pin(on_sqlite(nothing_is_out_of_reach)).await;
}

/// Where the focus is, as a person would call it.
async fn focused(browser: &Browser) -> String {
    let name = browser.value("document.activeElement.textContent.trim()").await;
    name.as_str().unwrap_or_default().to_owned()
}

async fn keys_alone_open_an_agent(place: Place) {
    let world = World::start(&place).await;
    let browser = Browser::start().await;
    browser.window(1024, 768, false).await;
    sign_in(&world, &browser).await;
    browser.go(&format!("{}/console/agents", world.server.url)).await;
    browser.press("\u{E004}").await;
    assert_eq!(focused(&browser).await, "Skip to the content");
    let shown = "getComputedStyle(document.activeElement).outlineStyle !== 'none'";
    browser.wait("a ring around the focus", shown).await;
    browser.press("\u{E007}").await;
    browser.wait("the content", "document.activeElement.id === 'main'").await;
    browser.press("j").await;
    assert_eq!(focused(&browser).await, "web-2");
    browser.press("j").await;
    assert_eq!(focused(&browser).await, "web-1");
    browser.press("k").await;
    browser.press("/").await;
    browser.wait("the search", "document.activeElement.id === 'q'").await;
    for key in ["w", "e", "b", "-", "1", "\u{E007}"] {
        browser.press(key).await;
    }
    browser.wait("what was looked for", "location.search.includes('q=web-1')").await;
    browser.wait("the page", "document.readyState === 'complete'").await;
    browser.press("j").await;
    browser.press("\u{E007}").await;
    let path = world.path(&world.agent, "");
    browser.wait("the agent", &format!("location.pathname === '{path}'")).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_alone_are_enough() {
    Box::pin(on_sqlite(keys_alone_open_an_agent)).await;
}
