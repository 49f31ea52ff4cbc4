//! Resources, their history, and the runs that bring them.

use argosy_domain::{
    discovery::{ChangeKind, RegionFailure, RegionOutcome, SyncSource, SyncStatus},
    id::AccountId,
    resource::{Resource, ResourceStatus},
};
use argosy_store::{
    PageRequest, ResourceFilter, ResourceRow, RunEnd, StoreError, SyncChunk, SyncFilter, SyncJob,
    UpsertCounts,
};
use serde_json::json;

use crate::common::{Db, at, conformance, id, insert_agents, org};

conformance!(
    only_what_a_run_read_and_did_not_deliver_is_stale,
    an_unchanged_run_writes_no_resource,
    a_chunk_may_hold_twins_and_costs_a_few_statements,
    a_run_that_began_earlier_decides_nothing_about_a_newer_one,
    what_a_run_delivered_is_active_at_its_end,
    history_tells_what_happened,
    resources_are_filtered_and_tenant_bound,
    trees_and_networks_are_found,
    an_agent_has_one_open_job,
    jobs_are_given_dropped_and_forgotten,
);

pub(crate) fn job(name: &str, second: i64) -> SyncJob {
    SyncJob {
        id: id(name),
        org: org(),
        account: AccountId::DEFAULT,
        agent: None,
        status: SyncStatus::Running,
        source: SyncSource::Api,
        asked_by: "service:x".into(),
        taken_by: Some("service:x".into()),
        created_at: at(second),
        begun_at: Some(at(second)),
        heard_at: Some(at(second)),
        finished_at: None,
        chunks: 0,
        counts: UpsertCounts::default(),
        stale: 0,
        outcomes: vec![],
        error: None,
    }
}

pub(crate) fn vpc(name: &str, region: &str) -> Resource {
    Resource {
        provider: "aws".into(),
        region: region.into(),
        resource_type: "vpc".into(),
        resource_id: format!("vpc-{name}"),
        name: name.into(),
        cidr: Some("10.0.0.0/16".into()),
        parent_resource_id: None,
        metadata: json!({ "odd": "\u{0}\"é", "n": [1, null] }).as_object().cloned().unwrap(),
    }
}

pub(crate) fn read(regions: &[&str]) -> Vec<RegionOutcome> {
    let outcome = |region: &&str| RegionOutcome {
        account: AccountId::DEFAULT,
        provider: "aws".into(),
        region: (*region).into(),
        failure: None,
    };
    regions.iter().map(outcome).collect()
}

/// Takes a chunk of a job in, which begins with its first one.
pub(crate) async fn deliver(
    db: &Db,
    name: &str,
    number: u32,
    resources: &[Resource],
    second: i64,
) -> UpsertCounts {
    db.write(async |tx| {
        if tx.sync_jobs().get(&org(), &id(name)).await?.is_none() {
            tx.sync_jobs().insert(&job(name, second)).await?;
        }
        let (org, account) = (org(), AccountId::DEFAULT);
        let did =
            tx.resources().upsert_many(&org, account, &id(name), resources, at(second)).await?;
        let chunk = SyncChunk { number, digest: format!("d{number}"), counts: did.counts };
        let delivered = serde_json::to_string(&did.numbers).unwrap();
        tx.sync_jobs().add_chunk(&job(name, second), &chunk, &delivered).await?;
        Ok(did.counts)
    })
    .await
}

/// Ends a job; answers how many resources are stale by it.
pub(crate) async fn end(db: &Db, name: &str, outcomes: &[RegionOutcome], second: i64) -> u64 {
    db.write(async |tx| {
        let mut job = tx.sync_jobs().hold(&org(), &id(name)).await?.unwrap();
        let end = RunEnd {
            org: &org(),
            job: &id(name),
            begun_at: job.begun_at.unwrap(),
            now: at(second),
            outcomes,
        };
        let stale = tx.resources().end_run(end).await?;
        job.status = SyncStatus::Completed;
        job.finished_at = Some(at(second));
        tx.sync_jobs().save(&job).await?;
        Ok(stale)
    })
    .await
}

async fn all(db: &Db, filter: ResourceFilter) -> Vec<ResourceRow> {
    let mut reader = db.store.read("list").await.unwrap();
    let page = PageRequest::first(50);
    let mut rows = reader.resources().list(&org(), &filter, &page).await.unwrap().items;
    rows.sort_by(|a, b| a.resource.name.cmp(&b.resource.name));
    rows
}

async fn states(db: &Db) -> Vec<(String, ResourceStatus)> {
    let rows = all(db, ResourceFilter::default()).await;
    rows.into_iter().map(|row| (row.resource.name, row.status)).collect()
}

fn counts(created: u64, updated: u64, unchanged: u64) -> UpsertCounts {
    UpsertCounts { created, updated, unchanged }
}

const ACTIVE: ResourceStatus = ResourceStatus::Active;
const STALE: ResourceStatus = ResourceStatus::Stale;

async fn only_what_a_run_read_and_did_not_deliver_is_stale(db: Db) {
    let (a, b, c) = (vpc("a", "eu"), vpc("b", "us"), vpc("c", "ap"));
    let every = [a.clone(), b.clone(), c.clone()];
    assert_eq!(deliver(&db, "j1", 0, &every, 20).await, counts(3, 0, 0));
    assert_eq!(end(&db, "j1", &read(&["eu", "us", "ap"]), 21).await, 0);
    // One region is emptied, another one failed, and the third is not looked at.
    let renamed = Resource { name: "bb".into(), ..b.clone() };
    assert_eq!(deliver(&db, "j2", 0, &[], 30).await, counts(0, 0, 0));
    let mut outcomes = read(&["eu", "us"]);
    let failure = |error: &str| RegionFailure { error: error.into(), call: None, permission: None };
    outcomes[1].failure = Some(failure("denied"));
    assert_eq!(end(&db, "j2", &outcomes, 31).await, 1);
    let told = |name: &str, status| (name.to_owned(), status);
    assert_eq!(states(&db).await, [told("a", STALE), told("b", ACTIVE), told("c", ACTIVE)]);
    // Another agent's region: what the first one has is left alone.
    assert_eq!(deliver(&db, "j3", 0, &[renamed], 40).await, counts(0, 1, 0));
    assert_eq!(end(&db, "j3", &read(&["us"]), 41).await, 0);
    assert_eq!(deliver(&db, "j4", 0, &[a], 50).await, counts(0, 1, 0), "it came back");
    assert_eq!(end(&db, "j4", &read(&["eu"]), 51).await, 0);
    assert_eq!(states(&db).await, [told("a", ACTIVE), told("bb", ACTIVE), told("c", ACTIVE)]);
}

async fn an_unchanged_run_writes_no_resource(db: Db) {
    let every: Vec<_> = (0..200).map(|n| vpc(&format!("{n:03}"), "eu")).collect();
    deliver(&db, "j1", 0, &every, 20).await;
    end(&db, "j1", &read(&["eu"]), 21).await;
    assert_eq!(deliver(&db, "j2", 0, &every, 30).await, counts(0, 0, 200));
    assert_eq!(end(&db, "j2", &read(&["eu"]), 31).await, 0);
    for row in all(&db, ResourceFilter::default()).await {
        assert_eq!(row.job, id("j1"), "{} was written", row.resource.name);
        assert_eq!((row.first_seen_at, row.last_seen_at), (at(20), at(31)), "but it was seen");
    }
    // When it is gone, it was last seen when its region was.
    deliver(&db, "j3", 0, &every[1..], 40).await;
    assert_eq!(end(&db, "j3", &read(&["eu"]), 41).await, 1);
    let gone = all(&db, ResourceFilter { status: Some(STALE), ..ResourceFilter::default() }).await;
    assert_eq!((gone.len(), gone[0].last_seen_at), (1, at(31)));
}

async fn a_chunk_may_hold_twins_and_costs_a_few_statements(db: Db) {
    let twin = Resource { name: "later".into(), ..vpc("a", "eu") };
    let chunk = [vpc("a", "eu"), vpc("b", "eu"), twin];
    assert_eq!(deliver(&db, "j", 0, &chunk, 20).await, counts(2, 0, 0));
    assert_eq!(deliver(&db, "j", 1, &chunk, 21).await, counts(0, 0, 2));
    let statements = || db.store.counters().ops["test"].statements;
    let many: Vec<_> = (0..3_000).map(|n| vpc(&format!("{n:05}"), "eu")).collect();
    let before = statements();
    deliver(&db, "j", 2, &many[..10], 22).await;
    let few = statements() - before;
    let before = statements();
    assert_eq!(deliver(&db, "j", 3, &many, 23).await, counts(2_990, 0, 10));
    assert_eq!(statements() - before, few, "as many for ten as for three thousand");
    let mut reader = db.store.read("span").await.unwrap();
    assert_eq!(reader.sync_jobs().chunk_span(&id("j")).await.unwrap(), (0, 3, 4));
    let known = reader.sync_jobs().chunk(&org(), &id("j"), 3).await.unwrap().unwrap();
    assert_eq!((known.digest.as_str(), known.counts), ("d3", counts(2_990, 0, 10)));
    assert_eq!(reader.sync_jobs().chunk(&org(), &id("j"), 4).await.unwrap(), None);
}

async fn a_run_that_began_earlier_decides_nothing_about_a_newer_one(db: Db) {
    deliver(&db, "old", 0, &[], 20).await;
    deliver(&db, "new", 0, &[vpc("a", "eu")], 30).await;
    // Not yet ended, and all the same: what was written since is not for the older one to judge.
    assert_eq!(end(&db, "old", &read(&["eu"]), 35).await, 0);
    assert_eq!(end(&db, "new", &read(&["eu"]), 36).await, 0);
    deliver(&db, "late", 0, &[], 33).await;
    end(&db, "late", &read(&["us"]), 40).await;
    assert_eq!(states(&db).await, [("a".to_owned(), ACTIVE)]);
    deliver(&db, "older", 0, &[], 25).await;
    assert_eq!(end(&db, "older", &read(&["eu"]), 50).await, 0, "the newer one has read eu");
    deliver(&db, "newest", 0, &[], 60).await;
    assert_eq!(end(&db, "newest", &read(&["eu"]), 61).await, 1);
}

async fn what_a_run_delivered_is_active_at_its_end(db: Db) {
    deliver(&db, "j1", 0, &[vpc("a", "eu")], 20).await;
    end(&db, "j1", &read(&["eu"]), 21).await;
    // Two runs over one region at once: one saw it, the other did not and ends first.
    assert_eq!(deliver(&db, "saw", 0, &[vpc("a", "eu")], 30).await, counts(0, 0, 1));
    deliver(&db, "blind", 0, &[], 31).await;
    assert_eq!(end(&db, "blind", &read(&["eu"]), 32).await, 1);
    assert_eq!(end(&db, "saw", &read(&["eu"]), 33).await, 0);
    let rows = all(&db, ResourceFilter::default()).await;
    assert_eq!((rows[0].status, &rows[0].job), (ACTIVE, &id("saw")));
}

async fn history_tells_what_happened(db: Db) {
    let a = vpc("a", "eu");
    deliver(&db, "j1", 0, std::slice::from_ref(&a), 20).await;
    end(&db, "j1", &read(&["eu"]), 21).await;
    let changed = Resource { cidr: Some("10.1.0.0/16".into()), name: "aa".into(), ..a };
    deliver(&db, "j2", 0, std::slice::from_ref(&changed), 30).await;
    end(&db, "j2", &read(&["eu"]), 31).await;
    deliver(&db, "j3", 0, &[], 40).await;
    end(&db, "j3", &read(&["eu"]), 41).await;
    deliver(&db, "j4", 0, &[changed], 50).await;
    end(&db, "j4", &read(&["eu"]), 51).await;
    let row = all(&db, ResourceFilter::default()).await.remove(0);
    assert_eq!((row.first_job, row.status), (Some(id("j1")), ACTIVE));
    let mut reader = db.store.read("changes").await.unwrap();
    let changes = reader.resources().changes_of(&org(), &row.id, 9).await.unwrap();
    let told: Vec<_> = changes.iter().map(|c| (c.kind, c.at, c.job.as_str())).collect();
    assert_eq!(
        told,
        [
            (ChangeKind::Reappeared, at(50), "j4"),
            (ChangeKind::Vanished, at(41), "j3"),
            (ChangeKind::Changed, at(30), "j2"),
        ]
    );
    assert_eq!(changes[2].fields, ["name", "cidr"]);
    assert!(changes[0].fields.is_empty());
    drop(reader);
    let purged = db.write(async |tx| tx.resources().purge_changes(at(41), 100).await).await;
    assert_eq!(purged, 1);
}

async fn resources_are_filtered_and_tenant_bound(db: Db) {
    let subnet = Resource { resource_type: "subnet".into(), cidr: None, ..vpc("s_1", "us") };
    deliver(&db, "j", 0, &[vpc("a", "eu"), subnet], 20).await;
    let listed = async |filter: ResourceFilter| {
        let rows = all(&db, filter).await;
        rows.into_iter().map(|row| row.resource.name).collect::<Vec<_>>()
    };
    let every = ResourceFilter::default();
    assert_eq!(listed(every.clone()).await.len(), 2);
    let q = |q: &str| ResourceFilter { q: Some(q.into()), ..ResourceFilter::default() };
    assert_eq!(listed(q("S_1")).await, ["s_1"]);
    assert_eq!(listed(q("10.0.")).await, ["a"]);
    let region = Some("us".to_owned());
    assert_eq!(listed(ResourceFilter { region, ..every.clone() }).await, ["s_1"]);
    let resource_type = Some("vpc".to_owned());
    assert_eq!(listed(ResourceFilter { resource_type, ..every.clone() }).await, ["a"]);
    assert_eq!(listed(ResourceFilter { roots: true, ..every.clone() }).await, ["a"]);
    let provider = Some("gcp".to_owned());
    assert!(listed(ResourceFilter { provider, ..every.clone() }).await.is_empty());
    assert!(listed(ResourceFilter { account: Some(AccountId(9)), ..every }).await.is_empty());
    db.write(async |tx| tx.orgs().create(&id("other"), "Other", at(1)).await).await;
    let mut tx = db.store.write("cross").await.unwrap();
    let (account, chunk) = (AccountId::DEFAULT, [vpc("x", "eu")]);
    let cross = tx.resources().upsert_many(&id("other"), account, &id("j"), &chunk, at(1)).await;
    assert!(matches!(cross, Err(StoreError::BrokenReference)), "{cross:?}");
}

async fn trees_and_networks_are_found(db: Db) {
    let subnet = |name: &str, parent: &str| Resource {
        resource_type: "subnet".into(),
        resource_id: name.into(),
        parent_resource_id: Some(parent.into()),
        ..vpc(name, "eu")
    };
    let eni = Resource { resource_type: "network_interface".into(), ..subnet("eni", "s1") };
    let rangeless = Resource { cidr: None, ..vpc("c", "global") };
    let lost = Resource { cidr: None, ..subnet("s3", "vpc-a") };
    let seen = [vpc("a", "eu"), subnet("s1", "vpc-a"), subnet("s2", "vpc-b"), eni, rangeless];
    deliver(&db, "j", 0, &seen, 20).await;
    let mut reader = db.store.read("children").await.unwrap();
    let of = ["vpc-a", "s1"];
    let children = reader.resources().children_of(&org(), &of, 9).await.unwrap();
    let names: Vec<_> = children.iter().map(|row| row.resource.name.as_str()).collect();
    assert_eq!(names, ["eni", "s1"]);
    assert_eq!(reader.resources().children_of(&org(), &of, 1).await.unwrap().len(), 1);
    let networks = reader.resources().networks(&org(), None, &PageRequest::first(2)).await.unwrap();
    assert_eq!((networks.items.len(), networks.next.is_some()), (2, true));
    drop(reader);
    deliver(&db, "k", 0, &[lost], 30).await;
    let mut reader = db.store.read("networks").await.unwrap();
    let networks = reader.resources().networks(&org(), None, &PageRequest::first(9)).await.unwrap();
    let mut found: Vec<_> = networks
        .items
        .iter()
        .map(|row| (row.resource_id.as_str(), row.cidr.is_some(), row.parent.as_deref()))
        .collect();
    found.sort_unstable();
    let expected = [
        ("s1", true, Some("vpc-a")),
        ("s2", true, Some("vpc-b")),
        ("vpc-a", true, None),
        ("vpc-c", false, None),
    ];
    assert_eq!(found, expected, "networks need no range, subnets do");
    let (account, page) = (Some(AccountId(9)), PageRequest::first(2));
    let none = reader.resources().networks(&org(), account, &page).await.unwrap();
    assert!(none.items.is_empty());
}

async fn an_agent_has_one_open_job(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let pending = |name: &str, agent: Option<&str>| SyncJob {
        agent: agent.map(id),
        status: SyncStatus::Pending,
        taken_by: None,
        begun_at: None,
        heard_at: None,
        ..job(name, 20)
    };
    let first = pending("j1", Some("a"));
    db.write(async |tx| tx.sync_jobs().insert(&first).await).await;
    let mut tx = db.store.write("second").await.unwrap();
    let second = tx.sync_jobs().insert(&pending("j2", Some("a"))).await;
    assert!(matches!(second, Err(StoreError::Conflict { what: "sync_job_open" })), "{second:?}");
    drop(tx);
    let agents = [id("a"), id("b"), id("ghost")];
    let told = async || {
        let mut reader = db.store.read("told").await.unwrap();
        reader.sync_jobs().waiting_for_any(&agents.iter().collect()).await.unwrap()
    };
    assert_eq!(told().await, [id("a")].into(), "the other's job is not its own");
    db.write(async |tx| tx.sync_jobs().insert(&pending("any", None)).await).await;
    assert_eq!(told().await, [id("a"), id("b")].into());
    let mut reader = db.store.read("waiting").await.unwrap();
    let account = AccountId::DEFAULT;
    let mut jobs = reader.sync_jobs();
    let own = jobs.waiting_for(&org(), account, &id("a")).await.unwrap();
    assert!(own.is_some());
    let shared = jobs.waiting_for(&org(), account, &id("b")).await.unwrap();
    assert_eq!(shared.map(|job| job.id), Some(id("any")));
    assert_eq!(jobs.waiting_for(&org(), AccountId(9), &id("b")).await.unwrap(), None);
    assert_eq!(jobs.open_of(&org(), &id("a")).await.unwrap(), Some(first.clone()));
    assert_eq!(jobs.open_of(&org(), &id("b")).await.unwrap(), None);
    drop(reader);
    // Once it has ended there may be another one, and it is found as it was saved.
    let ended = SyncJob {
        status: SyncStatus::Partial,
        finished_at: Some(at(30)),
        heard_at: Some(at(29)),
        begun_at: Some(at(25)),
        taken_by: Some("agent:a".into()),
        chunks: 3,
        counts: counts(3, 2, 1),
        stale: 4,
        outcomes: read(&["eu"]),
        error: Some("region us failed".into()),
        ..first
    };
    db.write(async |tx| {
        tx.sync_jobs().save(&ended).await?;
        tx.sync_jobs().insert(&pending("j2", Some("a"))).await
    })
    .await;
    db.write(async |tx| tx.agents().delete(&org(), &id("a")).await).await;
    let mut reader = db.store.read("get").await.unwrap();
    let left = reader.sync_jobs().get(&org(), &id("j1")).await.unwrap();
    assert_eq!(left, Some(SyncJob { agent: None, ..ended }), "what was discovered outlives it");
}

async fn jobs_are_given_dropped_and_forgotten(db: Db) {
    deliver(&db, "quiet", 0, &[vpc("a", "eu")], 20).await;
    deliver(&db, "busy", 0, &[], 50).await;
    let waiting = SyncJob { status: SyncStatus::Pending, ..job("waiting", 10) };
    db.write(async |tx| tx.sync_jobs().insert(&waiting).await).await;
    let dropped = async |silent, since| {
        db.write(async |tx| tx.sync_jobs().dropped(at(silent), at(since), 9).await).await
    };
    let names = |jobs: Vec<SyncJob>| {
        let mut names: Vec<_> = jobs.into_iter().map(|job| job.id.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(dropped(20, 10).await), Vec::<String>::new());
    assert_eq!(names(dropped(21, 11).await), ["quiet", "waiting"]);
    end(&db, "quiet", &[], 60).await;
    end(&db, "busy", &[], 61).await;
    let listed = async |filter: SyncFilter| {
        let mut reader = db.store.read("list").await.unwrap();
        let page = reader.sync_jobs().list(&org(), &filter, &PageRequest::first(9)).await;
        names(page.unwrap().items)
    };
    let completed = SyncFilter { status: Some(SyncStatus::Completed), ..SyncFilter::default() };
    assert_eq!(listed(completed).await, ["busy", "quiet"]);
    // What a resource refers to stays.
    let purged = db.write(async |tx| tx.sync_jobs().purge(at(99), 9).await).await;
    assert_eq!(
        (purged, listed(SyncFilter::default()).await),
        (1, vec!["quiet".to_owned(), "waiting".to_owned()])
    );
}
