//! Several servers on one database: streams, leases, and the sequence of authority changes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use argosy_domain::{agent::AgentStatus, command::CommandState};
use argosy_store::{AuthorityChange, Options, Store, StoreError, Watch};

use crate::{
    commands::command,
    common::{Db, agent, at, conformance, id, insert_agents, org},
};

const LIFE: Duration = Duration::from_secs(600);

conformance!(
    the_newest_stream_is_the_one_that_counts,
    streams_that_open_at_once_know_of_each_other,
    streams_of_the_dead_are_nobodys,
    who_was_taken_for_dead_opens_its_streams_again,
    a_lease_has_one_holder_and_its_epoch_rises,
    changes_are_heard_here_and_seen_elsewhere,
    what_is_undone_is_not_heard_of,
    keys_that_an_agent_loses_are_heard_of,
    commands_wait_where_the_stream_is,
);

async fn open(db: &Db, name: &str, replica: &str, second: i64) -> Option<i64> {
    db.write(async |tx| tx.presence().open_stream(&id(name), replica, at(second)).await).await
}

async fn close(db: &Db, name: &str, stream: i64, second: i64) -> bool {
    db.write(async |tx| tx.presence().close_stream(&id(name), stream, at(second)).await).await
}

async fn connected(db: &Db, name: &str) -> bool {
    let mut reader = db.store.read("view").await.unwrap();
    reader.agents().view(&org(), &id(name)).await.unwrap().unwrap().connected
}

async fn the_newest_stream_is_the_one_that_counts(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    assert_eq!(open(&db, "ghost", "one", 1).await, None);
    assert_eq!(open(&db, "a", "one", 50).await, Some(1));
    assert_eq!(open(&db, "a", "two", 60).await, Some(2));
    assert!(!close(&db, "a", 1, 70).await, "the older one ends, the newer one stays");
    assert!(connected(&db, "a").await);
    let mut reader = db.store.read("count").await.unwrap();
    assert_eq!(reader.presence().stream(&id("a")).await.unwrap(), Some(2));
    assert_eq!(reader.presence().stream(&id("b")).await.unwrap(), None);
    assert_eq!(reader.presence().count_connected().await.unwrap(), 1);
    let view = reader.agents().view(&org(), &id("a")).await.unwrap().unwrap();
    assert_eq!(view.last_seen, Some(at(60)));
    assert!(close(&db, "a", 2, 40).await);
    assert!(!connected(&db, "a").await);
    assert_eq!(open(&db, "a", "one", 80).await, Some(3), "numbers are not used again");
    assert_eq!(db.write(async |tx| tx.presence().clear_connected().await).await, 1);
    assert!(!connected(&db, "a").await);
}

async fn streams_that_open_at_once_know_of_each_other(db: Db) {
    insert_agents(&db, &["a"]).await;
    for replica in ["one", "two"] {
        db.write(async |tx| tx.replicas().beat(replica).await).await;
    }
    let heard = ear(&db.store);
    let mut first = db.store.write("first").await.unwrap();
    assert_eq!(first.presence().open_stream(&id("a"), "one", at(1)).await.unwrap(), Some(1));
    let mut second = std::pin::pin!(open(&db, "a", "two", 1));
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut second).await;
    assert!(waits.is_err(), "the first one is not committed yet");
    first.commit().await.unwrap();
    assert_eq!(second.await, Some(2));
    assert_eq!(heard(), [AuthorityChange::Agent(id("a"))], "the older holder hears of it");
}

async fn streams_of_the_dead_are_nobodys(db: Db) {
    insert_agents(&db, &["a", "b", "c"]).await;
    db.write(async |tx| tx.replicas().beat("one").await).await;
    open(&db, "a", "one", 1).await;
    open(&db, "b", "two", 1).await;
    assert_eq!(db.write(async |tx| tx.replicas().bury(LIFE).await).await, 1);
    assert!(connected(&db, "a").await && !connected(&db, "b").await);
    let alive =
        async || db.store.read("count").await.unwrap().replicas().count_alive(LIFE).await.unwrap();
    assert_eq!(alive().await, 1);
    open(&db, "c", "one", 1).await;
    db.write(async |tx| tx.replicas().leave("one").await).await;
    assert!(!connected(&db, "a").await && !connected(&db, "c").await);
    assert_eq!(alive().await, 0);
    db.write(async |tx| tx.replicas().beat("one").await).await;
    open(&db, "a", "one", 2).await;
    assert_eq!(db.write(async |tx| tx.replicas().bury(Duration::ZERO).await).await, 1);
}

async fn who_was_taken_for_dead_opens_its_streams_again(db: Db) {
    insert_agents(&db, &["a", "b", "c"]).await;
    let beat = async || db.write(async |tx| tx.replicas().beat("one").await).await;
    assert!(!beat().await, "nobody knew it");
    assert!(beat().await);
    for name in ["a", "b", "c"] {
        open(&db, name, "one", 1).await;
    }
    assert_eq!(db.write(async |tx| tx.replicas().bury(Duration::ZERO).await).await, 3);
    assert_eq!(open(&db, "b", "two", 2).await, Some(2));
    assert!(!beat().await, "it was buried");
    let held = [(id("a"), 1), (id("b"), 1), (id("ghost"), 1)];
    let reopened = db.write(async |tx| tx.presence().reopen_streams("one", &held).await).await;
    assert_eq!(reopened, 1, "what went elsewhere stays there");
    assert!(connected(&db, "a").await && connected(&db, "b").await && !connected(&db, "c").await);
    db.write(async |tx| tx.replicas().leave("two").await).await;
    assert!(connected(&db, "a").await && !connected(&db, "b").await);
}

async fn a_lease_has_one_holder_and_its_epoch_rises(db: Db) {
    let lease = async |holder: &str, life: Duration| {
        db.write(async |tx| tx.replicas().lease("work", holder, life).await).await
    };
    assert_eq!(lease("one", LIFE).await, Some(1));
    assert_eq!(lease("two", LIFE).await, None);
    assert_eq!(lease("one", LIFE).await, Some(1), "a renewal");
    db.write(async |tx| tx.replicas().leave("one").await).await;
    assert_eq!(lease("two", Duration::ZERO).await, Some(2));
    assert_eq!(lease("one", LIFE).await, Some(3), "one that is over is free");
}

/// What this process has heard since the last time it was asked.
fn ear(store: &Store) -> impl Fn() -> Vec<AuthorityChange> + use<> {
    let heard = Arc::<Mutex<Vec<AuthorityChange>>>::default();
    let ear = Arc::clone(&heard);
    store.heard_by(move |changes| ear.lock().unwrap().extend_from_slice(changes));
    move || std::mem::take(&mut *heard.lock().unwrap())
}

async fn seen(watch: &mut Watch) -> Vec<AuthorityChange> {
    watch.look().await.unwrap().changes
}

async fn changes_are_heard_here_and_seen_elsewhere(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let heard = ear(&db.store);
    let other = Store::open(db.target.clone(), Options::default()).await.unwrap();
    let mut watch = other.watch().map(|(watch, _)| watch);
    assert_eq!(watch.is_some(), other.is_shared());
    if let Some(watch) = &mut watch {
        assert_eq!(seen(watch).await, [AuthorityChange::Anybody], "the first look knows nothing");
        assert_eq!(seen(watch).await, []);
    }
    db.write(async |tx| {
        tx.agents().save_state(&agent("a"), AgentStatus::Pending).await?;
        tx.agents().bump_epoch(&id("a")).await?;
        tx.api_keys().revoke(&org(), &id("k"), at(1)).await?;
        tx.agents().delete(&org(), &id("b")).await
    })
    .await;
    let expected = [
        AuthorityChange::Agent(id("a")),
        AuthorityChange::Key(id("k")),
        AuthorityChange::Agent(id("b")),
    ];
    assert_eq!(heard(), expected);
    assert_eq!(heard(), [], "each once");
    if let Some(watch) = &mut watch {
        assert_eq!(seen(watch).await, expected);
        db.raw("DELETE FROM authority_changes").await;
        db.write(async |tx| tx.agents().bump_epoch(&id("a")).await).await;
        assert_eq!(seen(watch).await, [AuthorityChange::Agent(id("a"))]);
        db.write(async |tx| tx.agents().bump_epoch(&id("a")).await).await;
        db.raw("DELETE FROM authority_changes").await;
        assert_eq!(seen(watch).await, [AuthorityChange::Anybody], "what is gone is anybody's");
        assert_eq!(seen(watch).await, []);
    }
    assert_eq!(db.write(async |tx| tx.authorities().purge().await).await, 0);
    other.close().await;
}

async fn what_is_undone_is_not_heard_of(db: Db) {
    insert_agents(&db, &["a"]).await;
    let heard = ear(&db.store);
    let mut undone = db.store.write("undone").await.unwrap();
    undone.agents().bump_epoch(&id("a")).await.unwrap();
    drop(undone);
    assert_eq!(heard(), []);
    let mut spoilt = db.store.write("spoilt").await.unwrap();
    spoilt.agents().bump_epoch(&id("a")).await.unwrap();
    assert!(spoilt.agents().insert(&agent("a")).await.is_err());
    assert!(matches!(spoilt.commit().await, Err(StoreError::Aborted)));
    assert_eq!(heard(), [AuthorityChange::Agent(id("a"))], "a failure may have been a success");
    let mut reader = db.store.read("last").await.unwrap();
    assert_eq!(reader.authorities().last().await.unwrap(), 0);
}

async fn keys_that_an_agent_loses_are_heard_of(db: Db) {
    insert_agents(&db, &["a"]).await;
    let heard = ear(&db.store);
    db.write(async |tx| tx.api_keys().void_of_agent(&id("a"), at(7)).await).await;
    assert_eq!(heard(), [AuthorityChange::Agent(id("a"))]);
}

async fn commands_wait_where_the_stream_is(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    open(&db, "a", "one", 1).await;
    db.write(async |tx| {
        for (name, agent, sequence) in [("c1", "a", 1), ("c2", "a", 2), ("c3", "b", 1)] {
            tx.commands().insert(&command(name, agent, sequence)).await?;
        }
        Ok(())
    })
    .await;
    let waiting = async |replica: &str, since: i64| {
        let mut reader = db.store.read("waiting").await.unwrap();
        let agents = reader.commands().waiting_at(replica, at(since)).await.unwrap();
        agents.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(waiting("one", 0).await, ["a"], "each agent once");
    assert_eq!(waiting("two", 0).await, [""; 0]);
    assert_eq!(waiting("one", 103).await, [""; 0], "its stream knows of older ones");
    db.write(async |tx| {
        let received = CommandState::Received { at: at(200) };
        tx.commands().save_state(&id("c1"), &received, "queued").await?;
        let sent = CommandState::Sent { at: at(200) };
        tx.commands().save_state(&id("c2"), &sent, "queued").await
    })
    .await;
    assert_eq!(waiting("one", 0).await, [""; 0]);
    let mut reader = db.store.read("due").await.unwrap();
    let due = reader.commands().due_for(&[id("a")].into(), 10).await.unwrap();
    let due: Vec<_> = due.iter().map(|command| command.id.to_string()).collect();
    assert_eq!(due, ["c2"], "what was acknowledged is not on its way");
}
