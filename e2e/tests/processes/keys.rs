//! Rotation beside a running server, and what processes leave behind: attack 13 with the real
//! programs, logging as much as they can be asked to.

use std::path::Path;

use argosy_config::host::OsEntropy;
use argosy_e2e::{
    database::Place,
    on_both,
    process::{run, until},
};
use argosy_server::app::seal::Sealer;
use argosy_store::{Options, Store, Target};
use argosy_wire::bytes::encode;
use serde_json::{Value, json};

use crate::fleet::{AgentProcess, Fleet};

const SESSION_SECRET: &str = "kept-by-the-operator-in-a-vault-0123456789";
const TALKATIVE: [(&str, &str); 2] =
    [("ARGOSY_SESSION_SECRET", SESSION_SECRET), ("ARGOSY_LOG_LEVEL", "trace")];

/// `argosyd keys rotate` on the state of the fleet.
async fn rotate(place: &Place) -> String {
    rotate_with(place, &[]).await
}

async fn rotate_with(place: &Place, more: &[&str]) -> String {
    let data_dir = place.data_dir.to_str().unwrap();
    let url = place.database_url.clone().map(|url| ("ARGOSY_DATABASE_URL", url));
    let variables: Vec<(&str, &str)> =
        url.iter().map(|(name, url)| (*name, url.as_str())).collect();
    let arguments = [&["keys", "rotate", "--data-dir", data_dir], more].concat();
    run("argosyd", &arguments, &variables).await
}

/// Waits until the server tells that a key signs.
async fn signs(fleet: &Fleet, id: &str) {
    until(&format!("{id} to sign"), || async {
        let listed = fleet.get("/api/v1/security/signing").await;
        let mut keys = listed["keys"].as_array().unwrap().iter();
        keys.any(|key| key["id"] == id && key["status"] == "active").then_some(())
    })
    .await;
}

async fn carried_out(fleet: &Fleet, agent: &str) {
    let command = fleet.command(agent, "system").await;
    let over = fleet.command_in(&command, &["succeeded", "failed", "rejected", "lost"]).await;
    assert_eq!(over["state"], "succeeded", "{over}");
}

/// The raw secrets of the server, as whoever has store and master key reads them.
async fn server_secrets(place: &Place) -> Vec<Vec<u8>> {
    let target = match &place.database_url {
        Some(url) => Target::Postgres(url.clone()),
        None => Target::Sqlite(place.data_dir.join("argosy.db")),
    };
    let store = Store::open(target, Options::default()).await.unwrap();
    let rows = store.read("test").await.unwrap().server_keys().list().await.unwrap();
    store.close().await;
    let sealer = Sealer::open(&place.data_dir.join("master.key"), &OsEntropy).unwrap();
    let uses = ["identity", "command", "federation", "audit", "session"];
    rows.iter()
        .filter(|row| !row.sealed_private.is_empty())
        .filter_map(|row| {
            let key_use = uses.into_iter().find(|known| *known == row.key_use)?;
            let serial = row.serial.to_string();
            let secret = sealer.open_sealed(key_use, &serial, &row.sealed_private).unwrap();
            Some(secret.expose().to_vec())
        })
        .collect()
}

/// A secret as it might be written down.
fn spellings(secret: &[u8]) -> [String; 3] {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed: Vec<String> = secret.iter().map(u8::to_string).collect();
    // Base64 of either alphabet begins alike often enough to be found by its letters and digits.
    [encode(secret), hex, listed.join(", ")]
}

fn file(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every secret that this fleet has.
async fn secrets(fleet: &Fleet, place: &Place, token: &str) -> Vec<String> {
    let credentials: Value =
        serde_json::from_str(&file(&fleet.folder.join("agent/credentials.json"))).unwrap();
    let keys: Value = serde_json::from_str(&file(&fleet.folder.join("agent/keys.json"))).unwrap();
    let mut texts = vec![
        SESSION_SECRET.to_owned(),
        file(&place.data_dir.join("master.key")).trim().to_owned(),
        "eyJ0eXAiOiJhcmdvc3ktc2Vzc2lvbitqd3Qi".to_owned(),
    ];
    let bearers = [fleet.admin_key(), token.split('.').next().unwrap().to_owned()];
    texts.extend(bearers.iter().map(|text| text[text.len() - 43..].to_owned()));
    let mut private = Vec::new();
    leaves(&credentials["api_key"], &mut private);
    leaves(&credentials["registered"]["api_key"], &mut private);
    leaves(&keys, &mut private);
    assert!(private.len() >= 3, "an API key and two private keys: {}", private.len());
    texts.extend(private);
    for secret in server_secrets(place).await {
        texts.extend(spellings(&secret));
    }
    texts
}

/// Every text of a document that is long enough to be a secret.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= 40 => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| leaves(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn holds_none(what: &str, text: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "{what} holds a secret that begins {:.6}", secret);
    }
}

async fn keys_rotate_beside_a_running_server(place: Place) {
    let mut fleet = Fleet::start(&place, "server").await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let _agent = AgentProcess::start(&fleet, &token);
    let shown = fleet.agent("the agent to be connected", |a| a["connected"] == true).await;
    let id = shown["agent_id"].as_str().unwrap();
    carried_out(&fleet, id).await;
    let told = rotate(&place).await;
    assert!(told.contains("session-2") && told.contains("command-2"), "{told}");
    signs(&fleet, "command-2").await;
    carried_out(&fleet, id).await;
    signs(&fleet, "session-2").await;
    carried_out(&fleet, id).await;
    let audited = fleet.get("/api/v1/audit?action=server.keys_rotated").await;
    assert_eq!(audited["items"][0]["actor"], "server");

    fleet.kill_server().await;
    let told = rotate(&place).await;
    assert!(told.contains("session-3") && told.contains("command-3"), "{told}");
    fleet.start_server().await;
    signs(&fleet, "command-3").await;
    carried_out(&fleet, id).await;
}

/// What the agent of the fleet knows its server by.
async fn pinned(fleet: &Fleet) -> String {
    let state = fleet.folder.join("agent");
    let arguments = ["status", "--json", "--state-dir", state.to_str().unwrap()];
    let status: Value = serde_json::from_str(&run("argosy-agent", &arguments, &[]).await).unwrap();
    status["server_pin"].as_str().unwrap().to_owned()
}

async fn identity_of(fleet: &Fleet) -> String {
    fleet.get("/.well-known/argosy/keys").await["thumbprint"].as_str().unwrap().to_owned()
}

async fn the_identity_is_succeeded_under_a_running_agent(place: Place) {
    let mut fleet = Fleet::start(&place, "server").await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let mut agent = AgentProcess::start(&fleet, &token);
    let shown = fleet.agent("the agent to be connected", |a| a["connected"] == true).await;
    let id = shown["agent_id"].as_str().unwrap();
    carried_out(&fleet, id).await;
    let first = pinned(&fleet).await;
    assert_eq!(first, identity_of(&fleet).await);
    let told = rotate_with(&place, &["--use", "identity"]).await;
    assert!(told.contains("identity-2") && told.contains("command-2"), "{told}");
    signs(&fleet, "identity-2").await;
    carried_out(&fleet, id).await;
    let second = pinned(&fleet).await;
    assert_eq!(second, identity_of(&fleet).await);
    assert_ne!(first, second);

    // Both down; two more while nobody looks.
    agent.kill().await;
    fleet.kill_server().await;
    rotate_with(&place, &["--use", "identity"]).await;
    rotate_with(&place, &["--use", "identity"]).await;
    fleet.start_server().await;
    agent.start_again();
    carried_out(&fleet, id).await;
    assert_eq!(pinned(&fleet).await, identity_of(&fleet).await);
    let refused = fleet.get("/api/v1/audit?action=command.receipt_refused").await;
    assert_eq!(refused["items"], json!([]));
}

async fn no_secret_is_written_down(place: Place) {
    let fleet = Fleet::start_with(&place, "server", &TALKATIVE).await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let agent = AgentProcess::start_with(&fleet, &token, &[("ARGOSY_LOG_LEVEL", "trace")]);
    let shown = fleet.agent("the agent to be connected", |a| a["connected"] == true).await;
    for process in [fleet.server_id(), agent.process_id()] {
        let limits = file(Path::new(&format!("/proc/{process}/limits")));
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    }
    let id = shown["agent_id"].as_str().unwrap();
    carried_out(&fleet, id).await;
    rotate(&place).await;
    signs(&fleet, "session-2").await;
    // Errors, too.
    let wrong = json!({ "name": "x", "bootstrap_token": token, "statement": "not one" });
    let mut said = Vec::new();
    let refused = fleet.client.post_anonymous("/api/v1/agents/register", &wrong).await;
    said.push(("a refusal", refused.body.to_string()));
    let key = fleet.admin_key();
    let refused = fleet.client.post("/api/v1/agents", &format!("{key}x"), &json!({})).await;
    said.push(("another refusal", refused.body.to_string()));
    for path in [
        "/.well-known/argosy/keys",
        "/api/v1/security/signing",
        "/api/v1/status",
        "/api/v1/audit",
        "/api/v1/agents",
        "/api/v1/bootstrap-tokens",
        "/api/v1/auth/keys",
        "/api/v1/auth/me",
        "/api/v1/commands",
    ] {
        said.push((path, fleet.get(path).await.to_string()));
    }
    let secrets = secrets(&fleet, &place, &token).await;
    for (what, text) in &said {
        holds_none(what, text, &secrets);
    }
    let metrics =
        argosy_e2e::http::plain().get(format!("{}/metrics", fleet.url)).send().await.unwrap();
    holds_none("/metrics", &metrics.text().await.unwrap(), &secrets);
    for log in ["server.log", "agent.log"] {
        let text = file(&fleet.folder.join(log));
        assert!(text.contains("DEBUG") || text.contains("debug"), "{log} says little: {text}");
        holds_none(log, &text, &secrets);
    }
}

on_both!(
    keys_rotate_beside_a_running_server,
    the_identity_is_succeeded_under_a_running_agent,
    no_secret_is_written_down,
);
