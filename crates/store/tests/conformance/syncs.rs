//! Runs of discovery as lists see them: of agents, of accounts, and what is new about them.

use argosy_domain::{discovery::SyncStatus, id::AccountId};
use argosy_store::{AgentFilter, PageRequest, SyncJob};

use crate::{
    common::{Db, at, conformance, id, insert_agents, org},
    discovery::{deliver, end, job, read, vpc},
};

conformance!(
    an_agent_is_shown_with_its_open_and_its_newest_run,
    an_account_says_when_it_was_last_read,
    runs_are_told_of_when_something_is_heard,
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
