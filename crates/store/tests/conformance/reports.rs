//! Inventory, subsystems, discovery, audit, keys and settings.

use argosy_domain::{
    audit::AuditAction,
    id::AccountId,
    resource::{Resource, ResourceStatus},
    subsystem::Subsystem,
};
use argosy_store::{
    AuditEntry, AuditFilter, InventoryRow, KeyCertificate, PageRequest, ResourceFilter,
    ServerKeyRow, StoreError, SyncJob, SyncJobStatus, SyncScope, UpsertCounts,
};

use crate::{
    commands::command,
    common::{Db, at, conformance, id, insert_agents, org},
};

conformance!(
    the_newest_report_wins_by_capture,
    subsystems_get_defaults_once,
    discovery_counts_and_goes_stale_in_scope_only,
    a_chunk_may_come_twice_and_hold_twins,
    resources_are_filtered_and_tenant_bound,
    sync_jobs_end_once,
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
        db.write(async |tx| tx.subsystems().ensure_defaults(&org(), &id("a")).await).await;
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

fn job(name: &str) -> SyncJob {
    let scope = SyncScope { provider: "aws".into(), regions: vec!["eu".into(), "us".into()] };
    SyncJob {
        id: id(name),
        org: org(),
        account: AccountId::DEFAULT,
        agent: None,
        status: SyncJobStatus::Running,
        scope: Some(scope),
        created_at: at(10),
        finished_at: None,
        counts: UpsertCounts::default(),
        stale: 0,
        error: None,
    }
}

fn vpc(name: &str, region: &str) -> Resource {
    Resource {
        provider: "aws".into(),
        region: region.into(),
        resource_type: "vpc".into(),
        resource_id: format!("vpc-{name}"),
        name: name.into(),
        cidr: Some("10.0.0.0/16".into()),
        parent_resource_id: None,
        metadata: serde_json::json!({ "odd": "\u{0}\"é", "n": [1, null] })
            .as_object()
            .cloned()
            .unwrap(),
    }
}

async fn ingest(db: &Db, name: &str, resources: &[Resource], second: i64) -> UpsertCounts {
    db.write(async |tx| {
        if tx.sync_jobs().get(&org(), &id(name)).await?.is_none() {
            tx.sync_jobs().insert(&job(name)).await?;
        }
        let (org, account) = (org(), AccountId::DEFAULT);
        tx.resources().upsert_many(&org, account, &id(name), resources, at(second)).await
    })
    .await
}

async fn stale(db: &Db, name: &str, regions: &[&str]) -> u64 {
    let regions: Vec<String> = regions.iter().map(|region| (*region).to_owned()).collect();
    db.write(async |tx| {
        let account = AccountId::DEFAULT;
        tx.resources().mark_stale(&org(), account, "aws", &regions, &id(name)).await
    })
    .await
}

fn counts(created: u64, updated: u64, unchanged: u64) -> UpsertCounts {
    UpsertCounts { created, updated, unchanged }
}

async fn discovery_counts_and_goes_stale_in_scope_only(db: Db) {
    let (a, b, c) = (vpc("a", "eu"), vpc("b", "us"), vpc("c", "ap"));
    let all = [a.clone(), b.clone(), c.clone()];
    assert_eq!(ingest(&db, "j1", &all, 20).await, counts(3, 0, 0));
    let renamed = Resource { name: "renamed".into(), ..b.clone() };
    assert_eq!(ingest(&db, "j2", &[a.clone(), renamed], 30).await, counts(0, 1, 1));
    assert_eq!(stale(&db, "j2", &["eu", "us"]).await, 0, "ap was not in the scope");
    assert_eq!(ingest(&db, "j3", &[], 40).await, counts(0, 0, 0));
    assert_eq!(stale(&db, "j3", &["eu"]).await, 1);
    assert_eq!(stale(&db, "j3", &[]).await, 0);
    let listed = async |status| {
        let filter = ResourceFilter { status: Some(status), ..ResourceFilter::default() };
        let mut reader = db.store.read("list").await.unwrap();
        let page = PageRequest::first(9);
        reader.resources().list(&org(), &filter, &page).await.unwrap().items
    };
    let gone = listed(ResourceStatus::Stale).await;
    assert_eq!(gone.len(), 1);
    assert_eq!((&gone[0].resource, gone[0].last_seen_at), (&a, at(30)));
    assert_eq!(gone[0].first_seen_at, at(20));
    assert_eq!(listed(ResourceStatus::Active).await.len(), 2);
    assert_eq!(ingest(&db, "j4", &[a], 50).await, counts(0, 1, 0), "it came back");
    let mut reader = db.store.read("get").await.unwrap();
    let back = reader.resources().get(&org(), &gone[0].id).await.unwrap().unwrap();
    assert_eq!((back.status, back.job), (ResourceStatus::Active, id("j4")));
}

async fn a_chunk_may_come_twice_and_hold_twins(db: Db) {
    let twin = Resource { name: "later".into(), ..vpc("a", "eu") };
    let chunk = [vpc("a", "eu"), vpc("b", "eu"), twin];
    assert_eq!(ingest(&db, "j", &chunk, 20).await, counts(2, 0, 0));
    assert_eq!(ingest(&db, "j", &chunk, 21).await, counts(0, 0, 2));
    let many: Vec<_> = (0..3_000).map(|n| vpc(&format!("{n:05}"), "eu")).collect();
    assert_eq!(ingest(&db, "j", &many, 22).await, counts(3_000, 0, 0));
    let statements = db.store.counters().ops["test"].statements;
    ingest(&db, "j", &many[..10], 23).await;
    let few = db.store.counters().ops["test"].statements - statements;
    ingest(&db, "j", &many, 24).await;
    let many = db.store.counters().ops["test"].statements - statements - few;
    assert_eq!(few, many, "as many statements for ten as for three thousand");
}

async fn resources_are_filtered_and_tenant_bound(db: Db) {
    let subnet = Resource { resource_type: "subnet".into(), cidr: None, ..vpc("s_1", "us") };
    ingest(&db, "j", &[vpc("a", "eu"), subnet], 20).await;
    let listed = async |filter: ResourceFilter| {
        let mut reader = db.store.read("list").await.unwrap();
        let page = PageRequest::first(9);
        let page = reader.resources().list(&org(), &filter, &page).await.unwrap();
        page.items.into_iter().map(|row| row.resource.name).collect::<Vec<_>>()
    };
    let all = ResourceFilter::default();
    assert_eq!(listed(all.clone()).await.len(), 2);
    let q = |q: &str| ResourceFilter { q: Some(q.into()), ..ResourceFilter::default() };
    assert_eq!(listed(q("S_1")).await, ["s_1"]);
    assert_eq!(listed(q("10.0.")).await, ["a"]);
    let region = Some("us".to_owned());
    assert_eq!(listed(ResourceFilter { region, ..all.clone() }).await, ["s_1"]);
    let resource_type = Some("vpc".to_owned());
    assert_eq!(listed(ResourceFilter { resource_type, ..all.clone() }).await, ["a"]);
    let provider = Some("gcp".to_owned());
    assert!(listed(ResourceFilter { provider, ..all.clone() }).await.is_empty());
    assert!(listed(ResourceFilter { account: Some(AccountId(9)), ..all }).await.is_empty());
    db.write(async |tx| tx.orgs().create(&id("other"), "Other", at(1)).await).await;
    let mut tx = db.store.write("cross").await.unwrap();
    let (account, chunk) = (AccountId::DEFAULT, [vpc("x", "eu")]);
    let cross = tx.resources().upsert_many(&id("other"), account, &id("j"), &chunk, at(1)).await;
    assert!(matches!(cross, Err(StoreError::BrokenReference)), "{cross:?}");
}

async fn sync_jobs_end_once(db: Db) {
    insert_agents(&db, &["a"]).await;
    let stored = SyncJob { agent: Some(id("a")), ..job("j") };
    let done = db
        .write(async |tx| {
            let mut jobs = tx.sync_jobs();
            jobs.insert(&stored).await?;
            jobs.insert(&SyncJob { scope: None, ..job("whole") }).await?;
            let added = jobs.add_counts(&org(), &id("j"), counts(3, 2, 1)).await?;
            let first = jobs.finish(&org(), &id("j"), at(30), 4, Some("region us failed")).await?;
            Ok((added, first, jobs.finish(&org(), &id("j"), at(31), 0, None).await?))
        })
        .await;
    assert_eq!(done, (true, true, false));
    let mut reader = db.store.read("get").await.unwrap();
    let got = reader.sync_jobs().get(&org(), &id("j")).await.unwrap();
    let ended = SyncJob {
        status: SyncJobStatus::Failed,
        finished_at: Some(at(30)),
        counts: counts(3, 2, 1),
        stale: 4,
        error: Some("region us failed".into()),
        ..stored
    };
    assert_eq!(got.as_ref(), Some(&ended));
    assert_eq!(reader.sync_jobs().get(&org(), &id("whole")).await.unwrap().unwrap().scope, None);
    drop(reader);
    db.write(async |tx| tx.agents().delete(&org(), &id("a")).await).await;
    let mut reader = db.store.read("get").await.unwrap();
    let left = reader.sync_jobs().get(&org(), &id("j")).await.unwrap();
    assert_eq!(left, Some(SyncJob { agent: None, ..ended }), "what was discovered outlives it");
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
        audit.record(&entry(1, "user:ada", AuditAction::AgentApproved)).await?;
        audit.record(&entry(2, "user:bob", AuditAction::AgentApproved)).await?;
        audit.record(&entry(3, "user:ada", AuditAction::AgentRevoked)).await
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
    tx.audit().record(&entry(1, "user:ada", AuditAction::AgentApproved)).await.unwrap();
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
