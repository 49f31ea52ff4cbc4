//! Eyes on a server: what `deploy/` watches is what a server tells, and `argosyd doctor` says what is wrong.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _, path::Path};

use argosy_e2e::{
    database::{Place, on_postgres, on_sqlite, raw},
    on_both,
    process::{fails, root, run, until},
};
use reqwest::Method;
use serde_json::Value;

use crate::{fleet::Fleet, tls::make_certificates_until};

const WATCHED: [&str; 2] = ["deploy/prometheus/argosy.rules.yml", "deploy/grafana/argosy.json"];

/// Names of metrics in a text: of the server's own and of its process.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    let own = |word: &&str| {
        (word.starts_with("argosy_") || word.starts_with("process_")) && !word.ends_with('_')
    };
    words.filter(own).map(str::to_owned).collect()
}

async fn what_is_watched_is_told(place: Place) {
    let (fleet, _agent, id) = Fleet::with_agent(&place).await;
    fleet.succeeded(&fleet.command(&id, "system").await).await;
    let told = until("the count of agents", async || {
        let page = fleet.client.send(Method::GET, "/metrics", &[], None).await.page;
        page.contains("argosy_agents_approved{health=\"healthy\"} 1").then_some(page)
    })
    .await;
    for line in [
        "argosy_agents{status=\"approved\"} 1",
        "argosy_agents{status=\"pending\"} 0",
        "argosy_commands_open 0",
        "argosy_streams_open 1",
        "argosy_store_waiting 0",
    ] {
        assert!(told.lines().any(|told| told == line), "no {line}: {told}");
    }
    let ended = "argosy_command_seconds_count{kind=\"subsystem.run\",outcome=\"succeeded\"} 1";
    assert!(told.contains(ended), "{told}");
    let commits = |name: &str| {
        let line = told.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    if place.database_url.is_none() {
        let all = commits("argosy_store_group_transactions_count");
        assert!(all > 0 && commits("argosy_store_group_transactions_bucket{le=\"512\"}") == all);
    }

    let known = metrics(&told);
    for file in WATCHED {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let unknown: Vec<String> = metrics(&text).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{file} watches what no server tells: {unknown:?}");
    }
}

#[test]
fn the_dashboard_is_whole() {
    let text = std::fs::read_to_string(root().join(WATCHED[1])).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    for panel in panels {
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
    }
}

fn doctor(place: &Place) -> (Vec<String>, Vec<(&'static str, String)>) {
    let data_dir = place.data_dir.to_str().unwrap().to_owned();
    let url = place.database_url.clone().map(|url| ("ARGOSY_DATABASE_URL", url));
    (vec!["--data-dir".into(), data_dir, "doctor".into()], url.into_iter().collect())
}

async fn examined(place: &Place, well: bool) -> String {
    let (arguments, variables) = doctor(place);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let variables: Vec<_> = variables.iter().map(|(name, text)| (*name, text.as_str())).collect();
    if well {
        run("argosyd", &arguments, &variables).await
    } else {
        fails("argosyd", &arguments, &variables).await
    }
}

/// The line of one check.
fn line<'a>(said: &'a str, check: &str) -> &'a str {
    let of_check = |line: &&str| line.split_whitespace().nth(1) == Some(check);
    said.lines().find(of_check).unwrap_or_else(|| panic!("no {check}: {said}"))
}

async fn the_doctor_tells_what_is_wrong(place: Place) {
    let before = examined(&place, true).await;
    assert!(line(&before, "data").contains("is not there yet"), "{before}");
    assert!(!place.data_dir.exists(), "the doctor made something");

    let fleet = Fleet::start(&place, "server").await;
    let said = examined(&place, true).await;
    for check in
        ["settings", "files", "secrets", "disk", "sync", "database", "schema", "durable", "keys"]
    {
        assert!(!line(&said, check).starts_with("FAIL"), "{said}");
    }
    assert!(line(&said, "schema").starts_with("ok"), "{said}");
    let kept: BTreeSet<_> = std::fs::read_dir(&place.data_dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".doctor"))
        .collect();
    assert!(kept.is_empty(), "{kept:?}");

    let key: &Path = &place.data_dir.join("admin.key");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = examined(&place, false).await;
    assert!(line(&said, "secrets").starts_with("FAIL"), "{said}");
    assert!(said.contains("one thing must be put right"), "{said}");
    drop(fleet);
}

async fn the_doctor_knows_when_a_certificate_ends(place: Place) {
    let folder = place.data_dir.parent().unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let data_dir = place.data_dir.to_str().unwrap();
    let arguments = ["--data-dir", data_dir, "doctor"];
    let variables = [
        ("ARGOSY_TLS", "files"),
        ("ARGOSY_TLS_CERT_FILE", certificate.as_str()),
        ("ARGOSY_TLS_KEY_FILE", key.as_str()),
    ];
    make_certificates_until(folder, 2100);
    let said = run("argosyd", &arguments, &variables).await;
    assert!(line(&said, "tls").starts_with("ok") && said.contains("ends 2100-01-01"), "{said}");
    make_certificates_until(folder, 2020);
    let said = fails("argosyd", &arguments, &variables).await;
    assert!(line(&said, "tls").starts_with("FAIL"), "{said}");
    assert!(said.contains("ended 2020-01-01"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates() {
    on_sqlite(the_doctor_knows_when_a_certificate_ends).await;
}

async fn the_doctor_knows_a_forgetful_database(place: Place) {
    let fleet = Fleet::start(&place, "server").await;
    let url = place.database_url.as_deref().unwrap();
    let (_, name) = url.rsplit_once('/').unwrap();
    raw(&place, &format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    let said = examined(&place, false).await;
    let durable = line(&said, "durable");
    assert!(durable.starts_with("FAIL") && durable.contains("synchronous_commit"), "{said}");
    assert!(line(&said, "clock").starts_with("ok"), "{said}");
    drop(fleet);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgetful() {
    on_postgres(the_doctor_knows_a_forgetful_database).await;
}

on_both!(what_is_watched_is_told, the_doctor_tells_what_is_wrong);
