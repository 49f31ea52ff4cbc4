//! What changed lately: commands by their newest state, agents that live or left a moment ago.

use argosy_domain::{
    agent::{AgentState, AgentStatus, Closure, Decider},
    command::CommandState,
};

use crate::{
    commands::command,
    common::{Db, agent, at, conformance, id, insert_agents, org},
};

conformance!(commands_are_told_by_their_newest_state, who_left_is_told_for_a_while);

async fn commands_are_told_by_their_newest_state(db: Db) {
    insert_agents(&db, &["a"]).await;
    db.write(async |tx| {
        for (name, sequence) in [("c1", 1), ("c2", 2), ("c3", 3)] {
            tx.commands().insert(&command(name, "a", sequence)).await?;
        }
        let sent = CommandState::Sent { at: at(5_000) };
        tx.commands().save_state(&id("c1"), &sent, "queued").await
    })
    .await;
    let told = async |since: i64, limit: u32| {
        let mut reader = db.store.read("feed").await.unwrap();
        let rows = reader.feed().commands(&org(), at(since), limit).await.unwrap();
        rows.into_iter().map(|row| (row.id.to_string(), row.state)).collect::<Vec<_>>()
    };
    let pair = |id: &str, state: &str| (id.to_owned(), state.to_owned());
    let queued_first = [pair("c2", "queued"), pair("c3", "queued"), pair("c1", "sent")];
    assert_eq!(told(0, 10).await, queued_first);
    assert_eq!(told(0, 1).await, queued_first[..1]);
    assert_eq!(told(5_000, 10).await, [pair("c1", "sent")]);
    assert_eq!(told(5_001, 10).await, []);
    let mut reader = db.store.read("feed").await.unwrap();
    assert_eq!(reader.feed().commands(&id("other"), at(0), 10).await.unwrap(), []);
}

async fn who_left_is_told_for_a_while(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    db.write(async |tx| {
        let closure = Closure { by: Decider("user:ada".into()), at: at(900), reason: None };
        let rejected = AgentState::Pending { since: at(10) }.reject(closure).unwrap();
        let mut left = agent("b");
        left.state = rejected;
        tx.agents().save_state(&left, AgentStatus::Pending).await?;
        tx.presence().open_stream(&id("a"), "one", at(800)).await
    })
    .await;
    let told = async |since: i64| {
        let mut reader = db.store.read("feed").await.unwrap();
        let rows = reader.feed().agents(&org(), at(since), 10).await.unwrap();
        rows.into_iter()
            .map(|row| (row.id.to_string(), row.status, row.connected))
            .collect::<Vec<_>>()
    };
    let live = ("a".to_owned(), AgentStatus::Pending, true);
    let gone = ("b".to_owned(), AgentStatus::Rejected, false);
    assert_eq!(told(900).await, [live.clone(), gone]);
    assert_eq!(told(901).await, [live]);
    let mut reader = db.store.read("feed").await.unwrap();
    let changed = reader.feed().changed_agents(&org(), at(900), 10).await.unwrap();
    assert_eq!(changed.iter().map(|agent| agent.id.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(reader.feed().changed_agents(&org(), at(901), 10).await.unwrap(), []);
}
