//! Inventory, subsystems, audit, keys and settings.

use argosy_domain::{audit::AuditAction, subsystem::Subsystem};
use argosy_store::{
    AuditEntry, AuditFilter, InventoryRow, KeyCertificate, PageRequest, ServerKeyRow, StoreError,
};

use crate::{
    commands::command,
    common::{Db, at, conformance, id, insert_agents, org},
};

conformance!(
    the_newest_report_wins_by_capture,
    subsystems_get_defaults_once,
    audit_entries_are_filtered_newest_first,
    an_undone_transaction_leaves_no_audit,
    server_keys_survive_and_serials_are_unique,
    old_server_keys_end_and_are_forgotten,
    settings_are_apart_per_organisation,
);

fn report(second: i64, text: &str) -> InventoryRow {
    InventoryRow {
        org: org(),
        agent: id("a"),
        subsystem: Subsystem::System,
        report: text.as_bytes().to_vec(),
        captured_at: at(second),
        received_at: at(second + 1),
        command: None,
        duration_ms: 12,
    }
}

async fn the_newest_report_wins_by_capture(db: Db) {
    insert_agents(&db, &["a"]).await;
    db.write(async |tx| tx.commands().insert(&command("c", "a", 1)).await).await;
    let put = async |row: &InventoryRow| db.write(async |tx| tx.inventory().put(row).await).await;
    assert!(put(&report(5, "{}")).await);
    let newest = InventoryRow { command: Some(id("c")), ..report(9, r#"{"n":9}"#) };
    assert!(put(&newest).await);
    assert!(!put(&report(7, "{}")).await, "a late report does not win");
    let storage = InventoryRow { subsystem: Subsystem::Storage, ..report(3, "[]") };
    assert!(put(&storage).await);
    let mut reader = db.store.read("get").await.unwrap();
    let mut inventory = reader.inventory();
    let got = inventory.get(&org(), &id("a"), Subsystem::System).await.unwrap();
    assert_eq!(got.as_ref(), Some(&newest));
    assert_eq!(inventory.all(&org(), &id("a")).await.unwrap(), [storage, newest]);
    assert_eq!(inventory.get(&id("other"), &id("a"), Subsystem::System).await.unwrap(), None);
}

async fn subsystems_get_defaults_once(db: Db) {
    insert_agents(&db, &["a"]).await;
    let ensure = async || {
        db.write(async |tx| tx.subsystems().ensure_defaults(&org(), &id("a"))).await;
    };
    ensure().await;
    let saved = db
        .write(async |tx| {
            let (org, agent) = (org(), id("a"));
            let error = Some("it broke");
            let updates = Subsystem::Updates;
            tx.subsystems().save_report(&org, &agent, updates, "open", at(7), error).await
        })
        .await;
    assert!(saved);
    ensure().await;
    let mut reader = db.store.read("list").await.unwrap();
    let rows = reader.subsystems().list(&org(), &id("a")).await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.subsystem).collect();
    let all = [Subsystem::Containers, Subsystem::Storage, Subsystem::System, Subsystem::Updates];
    assert_eq!(names, all);
    for row in &rows {
        assert_eq!(row.schedule, row.subsystem.default_schedule());
    }
    assert_eq!((rows[1].breaker.as_str(), rows[1].last_run_at), ("closed", None));
    assert_eq!((rows[3].breaker.as_str(), rows[3].last_run_at), ("open", Some(at(7))));
    assert_eq!(rows[3].last_error.as_deref(), Some("it broke"));
    let breakers = reader.subsystems().breakers_of(&[id("a"), id("ghost")]).await.unwrap();
    assert_eq!(breakers.len(), 1);
    let of_a = &breakers[&id("a")];
    assert_eq!(
        (of_a.len(), of_a["updates"].as_str(), of_a["system"].as_str()),
        (4, "open", "closed")
    );
}

fn entry(n: i64, actor: &str, action: AuditAction) -> AuditEntry {
    AuditEntry {
        id: format!("e{n}"),
        org: org(),
        at: at(n),
        actor: actor.into(),
        action,
        target: Some(format!("agent:{n}")),
        detail: r#"{"k":"v"}"#.into(),
        source: Some("192.0.2.1".into()),
        trace_id: None,
    }
}

async fn audited(db: &Db, filter: AuditFilter) -> Vec<String> {
    let mut reader = db.store.read("list").await.unwrap();
    let page = reader.audit().list(&org(), &filter, &PageRequest::first(9)).await.unwrap();
    page.items.into_iter().map(|row| row.id).collect()
}

async fn audit_entries_are_filtered_newest_first(db: Db) {
    db.write(async |tx| {
        let mut audit = tx.audit();
        audit.record(&entry(1, "user:ada", AuditAction::AgentApproved))?;
        audit.record(&entry(2, "user:bob", AuditAction::AgentApproved))?;
        audit.record(&entry(3, "user:ada", AuditAction::AgentRevoked))
    })
    .await;
    let all = AuditFilter::default();
    assert_eq!(audited(&db, all.clone()).await, ["e3", "e2", "e1"]);
    let actor = Some("user:ada".to_owned());
    assert_eq!(audited(&db, AuditFilter { actor, ..all.clone() }).await, ["e3", "e1"]);
    let action = Some("agent.approved".to_owned());
    let since = Some(at(2));
    assert_eq!(audited(&db, AuditFilter { action, since, ..all.clone() }).await, ["e2"]);
    let target = Some("agent:1".to_owned());
    assert_eq!(audited(&db, AuditFilter { target, ..all.clone() }).await, ["e1"]);
    let mut reader = db.store.read("list").await.unwrap();
    let page = reader.audit().list(&org(), &all, &PageRequest::first(1)).await.unwrap();
    let row = &page.items[0];
    assert_eq!((row.action.as_str(), row.at), ("agent.revoked", at(3)));
    assert_eq!((row.detail.as_str(), row.trace_id.as_deref()), (r#"{"k":"v"}"#, None));
}

async fn an_undone_transaction_leaves_no_audit(db: Db) {
    let mut tx = db.store.write("undone").await.unwrap();
    tx.audit().record(&entry(1, "user:ada", AuditAction::AgentApproved)).unwrap();
    drop(tx);
    assert!(audited(&db, AuditFilter::default()).await.is_empty());
}

fn key(key_use: &str, serial: i64) -> ServerKeyRow {
    ServerKeyRow {
        key_use: key_use.into(),
        serial,
        public_key: vec![7; 32],
        sealed_private: vec![0, 1, 2],
        certificate: None,
        not_before: at(1),
        not_after: None,
        created_at: at(1),
    }
}

async fn old_server_keys_end_and_are_forgotten(db: Db) {
    db.write(async |tx| {
        let mut keys = tx.server_keys();
        for (key_use, serial) in [("session", 1), ("session", 2), ("command", 1), ("command", 2)] {
            keys.insert(&key(key_use, serial)).await?;
        }
        assert_eq!(keys.end_below("session", 2, at(5)).await?, 1);
        assert_eq!(keys.end_below("session", 3, at(9)).await?, 1, "an end that is set stays");
        assert_eq!(keys.delete_ended("session", at(4)).await?, 0);
        assert_eq!(keys.erase_below("command", 2).await?, 1);
        assert_eq!(keys.erase_below("command", 2).await?, 0);
        Ok(())
    })
    .await;
    let listed = async || db.store.read("list").await.unwrap().server_keys().list().await.unwrap();
    let erased = ServerKeyRow { sealed_private: vec![], ..key("command", 1) };
    let ending = |serial, end| ServerKeyRow { not_after: Some(at(end)), ..key("session", serial) };
    let all = [erased, key("command", 2), ending(1, 5), ending(2, 9)];
    assert_eq!(listed().await, all);
    // The newest stays whatever its end, for the serials to rise.
    db.write(async |tx| {
        assert_eq!(tx.server_keys().delete_ended("session", at(10)).await?, 1);
        Ok(())
    })
    .await;
    let [erased, newest, _, last] = all;
    assert_eq!(listed().await, [erased, newest, last]);
}

async fn server_keys_survive_and_serials_are_unique(db: Db) {
    let certificate = KeyCertificate { payload: b"{}".to_vec(), signature: vec![9; 64] };
    let certified = ServerKeyRow {
        certificate: Some(certificate),
        not_after: Some(at(99)),
        ..key("command", 1)
    };
    db.write(async |tx| {
        tx.server_keys().insert(&key("identity", 1)).await?;
        tx.server_keys().insert(&certified).await
    })
    .await;
    let mut reader = db.store.read("list").await.unwrap();
    let rows = reader.server_keys().list().await.unwrap();
    assert_eq!(rows, [certified, key("identity", 1)]);
    drop(reader);
    let mut tx = db.store.write("twice").await.unwrap();
    let twice = tx.server_keys().insert(&key("identity", 1)).await;
    assert!(matches!(twice, Err(StoreError::Conflict { what: "server_key" })), "{twice:?}");
}

async fn settings_are_apart_per_organisation(db: Db) {
    db.write(async |tx| {
        let mut settings = tx.settings();
        settings.put(None, "minimum_agent_version", "1.0.0").await?;
        settings.put(None, "minimum_agent_version", "1.1.0").await?;
        settings.put(Some(&org()), "minimum_agent_version", "1.2.0").await
    })
    .await;
    let mut reader = db.store.read("get").await.unwrap();
    let mut settings = reader.settings();
    let name = "minimum_agent_version";
    assert_eq!(settings.get(None, name).await.unwrap().as_deref(), Some("1.1.0"));
    assert_eq!(settings.get(Some(&org()), name).await.unwrap().as_deref(), Some("1.2.0"));
    assert_eq!(settings.get(Some(&org()), "other").await.unwrap(), None);
}
