//! The audit log through the sockets: sealed by itself, exported, verified by two programs that
//! share no code, and found out when it was tampered with.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use argosy_e2e::{
    database::{Place, raw},
    on_both,
    process::{PATIENCE, program, python, root, until},
    server::TestServer,
    user::TestUser,
};
use serde_json::{Value, json};
use tokio::process::Command;

on_both!(
    entries_are_sealed_and_signed_without_being_asked,
    an_export_is_verified_by_two_programs_and_a_tampered_one_by_none,
    a_tampered_database_is_found_out,
    a_log_that_was_cut_back_contradicts_an_earlier_export,
    an_organisation_exports_its_own_log_and_only_with_the_scope,
);

/// Whether a program succeeded, and everything that it said.
async fn ran(command: &mut Command) -> (bool, String) {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

async fn argosy(server: &TestServer, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program("argosy"));
    command.args(["--server", &server.url, "--key", &server.admin_key]).args(arguments);
    ran(&mut command).await
}

/// Verifies a file with the command line, without any server, and with the script in Python.
async fn both_verify(file: &Path, pin: &str) -> [(bool, String); 2] {
    let file = file.to_str().unwrap();
    let mut offline = Command::new(program("argosy"));
    offline.args(["audit", "verify", file, "--pin", pin]).env("HOME", "/nonexistent");
    let mut script = Command::new(python().await);
    script.arg(root().join("e2e/python/verify_audit.py")).args([file, "--pin", pin]);
    [ran(&mut offline).await, ran(&mut script).await]
}

async fn both_refuse(file: &Path, pin: &str, needle: &str) {
    for (accepted, said) in both_verify(file, pin).await {
        assert!(!accepted && said.contains(needle), "{needle}: {said}");
    }
}

async fn pin(server: &TestServer) -> String {
    let keys = server.client.get("/.well-known/argosy/keys", "").await.expect(200);
    keys["thumbprint"].as_str().unwrap().to_owned()
}

async fn tokens(server: &TestServer, count: usize) {
    for _ in 0..count {
        server.token(json!({})).await;
    }
}

/// Entries straight into the store, for many of them.
async fn entries(server: &TestServer, count: usize) {
    let store = server.store().await;
    let mut tx = store.write("test").await.unwrap();
    for n in 0..count {
        let entry = argosy_store::AuditEntry {
            id: format!("many-{n}"),
            org: argosy_domain::id::OrgId::default_org(),
            at: server.app.now(),
            actor: "user:admin".to_owned(),
            action: argosy_domain::audit::AuditAction::AgentUpdated,
            target: Some(format!("agent:{n}")),
            detail: json!({ "name": "Büro „7“ \u{1f5a5}" }).to_string(),
            source: None,
            trace_id: None,
        };
        tx.audit().record(&entry).unwrap();
    }
    tx.commit().await.unwrap();
    store.close().await;
}

async fn exported(server: &TestServer, folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(name);
    let (done, said) = argosy(server, &["audit", "export", file.to_str().unwrap()]).await;
    assert!(done, "{said}");
    file
}

async fn entries_are_sealed_and_signed_without_being_asked(place: Place) {
    let mut server = TestServer::start(&place).await;
    for round in 1..=2 {
        tokens(&server, 3).await;
        let store = server.store().await;
        let org = argosy_domain::id::OrgId::default_org();
        let head = until("every entry to have its place", || async {
            let mut reader = store.read("test").await.unwrap();
            let waiting = reader.audit().unsealed_orgs().await.unwrap();
            let chain = reader.audit().chain(&org).await.unwrap();
            chain.filter(|_| waiting.is_empty()).map(|chain| chain.head.position.0)
        })
        .await;
        assert!(head >= 3 * round, "{head}");
        let covered = |chain: argosy_store::OrgChain| {
            (chain.checkpoint_position >= chain.head.position).then_some(())
        };
        server.clock.advance(std::time::Duration::from_secs(61));
        until("a checkpoint", || async {
            let mut reader = store.read("test").await.unwrap();
            reader.audit().chain(&org).await.unwrap().and_then(covered)
        })
        .await;
        store.close().await;
        server = server.restart().await;
    }
    let (whole, said) = argosy(&server, &["audit", "verify"]).await;
    assert!(whole && said.contains("audit log is whole"), "{said}");
}

async fn an_export_is_verified_by_two_programs_and_a_tampered_one_by_none(place: Place) {
    let server = TestServer::start(&place).await;
    let (folder, pin) = (tempfile::tempdir().unwrap(), pin(&server).await);
    tokens(&server, 4).await;
    let first = exported(&server, folder.path(), "first.ndjson").await;
    // More than one part of the stream, and more than one batch of the sealer.
    entries(&server, 600).await;
    let second = exported(&server, folder.path(), "second.ndjson").await;
    for file in [&first, &second] {
        for (accepted, said) in both_verify(file, &pin).await {
            assert!(accepted, "{said}");
        }
    }
    let against = |file: &Path, earlier: &Path| {
        let mut command = Command::new(program("argosy"));
        command.args(["audit", "verify"]).arg(file).arg("--against").arg(earlier);
        command
    };
    assert!(ran(&mut against(&second, &first)).await.0);
    let (accepted, said) = ran(&mut against(&first, &second)).await;
    assert!(!accepted && said.contains("an earlier export"), "{said}");

    let lines: Vec<String> =
        std::fs::read_to_string(&second).unwrap().lines().map(str::to_owned).collect();
    let at = |position: u64| {
        let start = format!(r#"{{"type":"entry","position":{position},"#);
        lines.iter().position(|line| line.starts_with(&start)).unwrap()
    };
    let tampered = folder.path().join("tampered.ndjson");
    let write = |lines: &[String]| std::fs::write(&tampered, lines.join("\n") + "\n").unwrap();
    let mut changed = lines.clone();
    changed[at(570)] = changed[at(570)].replace("user:admin", "user:eve");
    write(&changed);
    both_refuse(&tampered, &pin, "at position 570").await;
    let mut removed = lines.clone();
    removed.remove(at(3));
    write(&removed);
    both_refuse(&tampered, &pin, "position 3 is missing").await;
    let mut swapped = lines.clone();
    swapped.swap(at(500), at(501));
    write(&swapped);
    both_refuse(&tampered, &pin, "position 500").await;
    write(&lines[..lines.len() - 1]);
    both_refuse(&tampered, &pin, "cut off").await;
    both_refuse(&second, &argosy_wire::bytes::encode(&[7; 32]), "pinned one").await;
}

async fn a_tampered_database_is_found_out(place: Place) {
    let server = TestServer::start(&place).await;
    tokens(&server, 5).await;
    assert!(argosy(&server, &["audit", "verify"]).await.0);
    let ada = TestUser::make(&server, "ada", "viewer").await;
    let refused = async |needle: &str| {
        let (whole, said) = argosy(&server, &["audit", "verify"]).await;
        assert!(!whole && said.contains(needle), "{needle}: {said}");
        let page = ada.page(&server, "/console/audit/verify").await.page;
        assert!(page.contains("<strong>No.</strong>") && page.contains(needle), "{needle}: {page}");
    };
    raw(&place, "UPDATE audit_entries SET actor = 'user:eve' WHERE position = 4").await;
    refused("position 4").await;
    raw(&place, "DELETE FROM audit_entries WHERE position = 3").await;
    refused("position 3 is missing").await;
    raw(&place, "DELETE FROM audit_entries WHERE position >= 2").await;
    refused("position 2 is missing").await;
    raw(&place, "DELETE FROM audit_entries").await;
    refused("position 1 is missing").await;
}

/// Whoever writes to the database can cut the log back and let the server sign what is left: only
/// what was kept elsewhere shows it.
async fn a_log_that_was_cut_back_contradicts_an_earlier_export(place: Place) {
    let server = TestServer::start(&place).await;
    tokens(&server, 3).await;
    let folder = tempfile::tempdir().unwrap();
    let kept = exported(&server, folder.path(), "kept.ndjson").await;
    for sql in [
        "DELETE FROM audit_entries WHERE position > 2",
        "UPDATE audit_chains SET position = 2, checkpoint_position = 0,
         link = (SELECT link FROM audit_entries WHERE position = 2)",
        "DELETE FROM audit_checkpoints",
    ] {
        raw(&place, sql).await;
    }
    let (whole, said) = argosy(&server, &["audit", "verify"]).await;
    assert!(whole, "{said}");
    let kept = kept.to_str().unwrap();
    let (whole, said) = argosy(&server, &["audit", "verify", "--against", kept]).await;
    assert!(!whole && said.contains("an earlier export had"), "{said}");
}

async fn an_organisation_exports_its_own_log_and_only_with_the_scope(place: Place) {
    let server = TestServer::start(&place).await;
    tokens(&server, 2).await;
    let other = server.other_organisation().await;
    let body = json!({ "name": "theirs", "account_id": other.account_id });
    let path = "/api/v1/bootstrap-tokens";
    server.client.post(path, &other.admin_key, &body).await.expect(201);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("theirs.ndjson");
    let mut command = Command::new(program("argosy"));
    command
        .args(["--server", &server.url, "--key", &other.admin_key, "audit", "export"])
        .arg(&file);
    let (done, said) = ran(&mut command).await;
    assert!(done, "{said}");
    let text = std::fs::read_to_string(&file).unwrap();
    let entries: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["type"] == "entry")
        .collect();
    assert_eq!(entries.len(), 1, "{text}");
    assert_eq!(entries[0]["entry"]["org"], "other");
    let viewer = json!({ "name": "blind", "scopes": ["agents:read"] });
    let key = server.client.post("/api/v1/auth/keys", &server.admin_key, &viewer).await;
    let key = key.text("key");
    server.client.get("/api/v1/audit/export", &key).await.refused(403, "forbidden");
    server
        .client
        .get("/api/v1/audit/export", "argosy_no_such")
        .await
        .refused(401, "unauthenticated");
}
