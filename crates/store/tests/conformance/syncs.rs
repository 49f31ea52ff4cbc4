//! Runs of discovery as lists see them: of agents, of accounts, and what is new about them.

use argosy_domain::{discovery::SyncStatus, id::AccountId};
use argosy_store::{AgentFilter, PageRequest, ResourceFilter, SyncJob};

use crate::{
    common::{Db, at, conformance, id, insert_agents, org},
    discovery::{deliver, end, job, read, vpc},
};

conformance!(
    an_agent_is_shown_with_its_open_and_its_newest_run,
    an_account_says_when_it_was_last_read,
    runs_are_told_of_when_something_is_heard,
    what_is_looked_for_is_found_wherever_it_stands,
);

fn run(name: &str, agent: &str, status: SyncStatus, second: i64) -> SyncJob {
    let ended = ![SyncStatus::Pending, SyncStatus::Running].contains(&status);
    SyncJob {
        agent: Some(id(agent)),
        status,
        finished_at: ended.then(|| at(second + 5)),
        ..job(name, second)
    }
}

async fn keep(db: &Db, jobs: &[SyncJob]) {
    db.write(async |tx| {
        for job in jobs {
            tx.sync_jobs().insert(job).await?;
        }
        Ok(())
    })
    .await;
}

async fn an_agent_is_shown_with_its_open_and_its_newest_run(db: Db) {
    insert_agents(&db, &["a", "b", "c"]).await;
    let runs = [
        run("a1", "a", SyncStatus::Completed, 10),
        run("a2", "a", SyncStatus::Failed, 20),
        run("a3", "a", SyncStatus::Pending, 30),
        run("b1", "b", SyncStatus::Running, 15),
    ];
    keep(&db, &runs).await;
    let mut reader = db.store.read("discovery.agents").await.unwrap();
    let (a, b, c) = (id("a"), id("b"), id("c"));
    let found = reader.sync_jobs().of_agents(&org(), &[&a, &b, &c]).await.unwrap();
    let names: Vec<&str> = found.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(names, ["a3", "a2", "b1"]);
    assert_eq!(found[1], runs[1]);
    assert_eq!(reader.sync_jobs().of_agents(&org(), &[]).await.unwrap(), []);
    assert_eq!(reader.sync_jobs().of_agents(&id("other"), &[&a]).await.unwrap(), []);
    let filter = AgentFilter { discovers: true, ..AgentFilter::default() };
    let page = PageRequest::first(9);
    let listed = reader.agents().list(&org(), &filter, &page).await.unwrap().items;
    let mut names: Vec<&str> = listed.iter().map(|view| view.agent.id.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(reader.agents().count(&org(), &filter).await.unwrap(), 2);
}

async fn an_account_says_when_it_was_last_read(db: Db) {
    let reads = async || {
        let mut reader = db.store.read("discovery.accounts").await.unwrap();
        let reads = reader.resources().last_reads(&org()).await.unwrap();
        assert!(reader.resources().last_reads(&id("other")).await.unwrap().is_empty());
        reads.into_iter().collect::<Vec<_>>()
    };
    deliver(&db, "one", 0, &[vpc("a", "eu")], 10).await;
    assert_eq!(reads().await, []);
    end(&db, "one", &read(&["eu"]), 20).await;
    deliver(&db, "two", 0, &[], 30).await;
    end(&db, "two", &read(&["us"]), 40).await;
    assert_eq!(reads().await, [(AccountId::DEFAULT, at(40))]);
}

async fn runs_are_told_of_when_something_is_heard(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let waiting =
        SyncJob { begun_at: None, heard_at: None, ..run("w", "b", SyncStatus::Pending, 30) };
    let running = SyncJob { heard_at: Some(at(50)), ..run("r", "a", SyncStatus::Running, 20) };
    keep(&db, &[waiting, running, run("e", "a", SyncStatus::Partial, 35)]).await;
    let told = async |since: i64, limit: u32| {
        let mut reader = db.store.read("feed").await.unwrap();
        let rows = reader.feed().syncs(&org(), at(since), limit).await.unwrap();
        assert_eq!(reader.feed().syncs(&id("other"), at(0), 9).await.unwrap(), []);
        rows.into_iter().map(|row| (row.id.to_string(), row.status, row.at)).collect::<Vec<_>>()
    };
    let (w, e) = (SyncStatus::Pending, SyncStatus::Partial);
    let all = [
        ("w".to_owned(), w, at(30)),
        ("e".to_owned(), e, at(40)),
        ("r".to_owned(), SyncStatus::Running, at(50)),
    ];
    assert_eq!(told(0, 9).await, all);
    assert_eq!(told(0, 2).await, all[..2]);
    assert_eq!(told(40, 9).await, all[1..]);
    assert_eq!(told(51, 9).await, []);
}

async fn what_is_looked_for_is_found_wherever_it_stands(db: Db) {
    let mut all: Vec<_> = (0..130).map(|n| vpc(&format!("Web-{n:03}"), "eu")).collect();
    all[7].cidr = Some("10.99.0.0/16".into());
    all[9].name = "50%_\"odd\"".into();
    deliver(&db, "one", 0, &all[..90], 10).await;
    deliver(&db, "one", 1, &all[90..], 11).await;
    let found = async |q: &str, region: Option<&str>| {
        let mut reader = db.store.read("list").await.unwrap();
        let q = Some(q.to_owned());
        let filter =
            ResourceFilter { q, region: region.map(str::to_owned), ..ResourceFilter::default() };
        assert_eq!(
            reader
                .resources()
                .list(&id("other"), &filter, &PageRequest::first(9))
                .await
                .unwrap()
                .items,
            []
        );
        let (mut names, mut page) = (Vec::new(), PageRequest::first(50));
        loop {
            let part = reader.resources().list(&org(), &filter, &page).await.unwrap();
            names.extend(part.items.into_iter().map(|row| row.resource.name));
            let Some(next) = part.next else { break };
            page.after = Some(next);
        }
        names.sort();
        names
    };
    let every: Vec<String> = {
        let mut names: Vec<_> = all.iter().map(|one| one.name.clone()).collect();
        names.sort();
        names
    };
    // Page by page, none twice and none left out; short texts and long ones.
    for q in ["vpc", "VPC-web", "10.", "e"] {
        assert_eq!(found(q, None).await, every, "{q}");
    }
    assert_eq!(found("web-01", None).await.len(), 10);
    assert_eq!(found("eb-128", Some("eu")).await, ["Web-128"]);
    assert_eq!(found("eb-128", Some("us")).await, Vec::<String>::new());
    assert_eq!(found("10.99.", None).await, ["Web-007"]);
    for q in ["0%_", "\"odd\"", "5"] {
        assert!(found(q, None).await.contains(&all[9].name), "{q}");
    }
    for q in ["web-999", "web_0", "%%%", "\" OR \"", "zz"] {
        assert_eq!(found(q, None).await, Vec::<String>::new(), "{q}");
    }
    // What is called otherwise is found under its new name, and under the old one no more.
    let mut renamed = all[5].clone();
    (renamed.name, renamed.cidr) = ("database".into(), None);
    deliver(&db, "two", 0, &[renamed], 20).await;
    assert_eq!(found("TABASE", None).await, ["database"]);
    assert_eq!(found("web-005", None).await, ["database"], "its id is what it was");
    assert_eq!(found("10.0.0.0/16", None).await.len(), 128);
}
