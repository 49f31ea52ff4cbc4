//! Fan-outs: whom they are for, and how far they are.

use argosy_domain::{
    agent::{Agent, AgentState, Approval, Decider},
    command::{Command, CommandKind, CommandState, Withdrawal},
    fan_out::{FanOut, FanOutEnd, FanOutState, Tally},
    id::OrgId,
};
use argosy_store::{AgentFilter, FanOutPlaces, PageRequest, StoreError};

use crate::{
    commands::command,
    common::{Db, agent, at, conformance, id, insert_agents, org},
};

conformance!(
    a_fan_out_is_for_the_approved_agents_that_its_filter_names,
    agents_are_begun_in_order_and_counted_where_they_stand,
    a_fan_out_ends_once_and_its_commands_are_withdrawn,
    an_idempotency_key_names_one_fan_out,
);

fn fan_out(name: &str) -> FanOut {
    FanOut {
        id: id(name),
        org: org(),
        kind: CommandKind::SubsystemRun,
        params: br#"{"subsystem":"system"}"#.to_vec(),
        selector: r#"{"all":true}"#.into(),
        concurrency: 2,
        errors_max: Some(3),
        created_by: "user:ada".into(),
        created_at: at(100),
        expires_at: at(1_000),
        idempotency_key: None,
        state: FanOutState::Running,
    }
}

/// Keeps approved agents of these names, and a pending one.
pub(crate) async fn insert_approved(db: &Db, names: &[&str]) {
    insert_agents(db, &["pending"]).await;
    db.write(async |tx| {
        for name in names {
            let by = Decider("user:ada".into());
            let approval = Approval { by, at: at(20), fingerprint: None };
            let state = AgentState::Approved(approval);
            tx.agents().insert(&Agent { state, ..agent(name) }).await?;
        }
        Ok(())
    })
    .await;
}

async fn insert(db: &Db, fan_out: &FanOut, filter: AgentFilter) -> u64 {
    db.write(async |tx| tx.fan_outs().insert(fan_out, &filter).await).await
}

async fn tally(db: &Db, name: &str) -> Tally {
    db.store.read("tally").await.unwrap().fan_outs().tally(&id(name)).await.unwrap()
}

fn counts(pairs: &[(&str, u32)]) -> Tally {
    Tally(pairs.iter().map(|(state, n)| ((*state).to_owned(), *n)).collect())
}

async fn a_fan_out_is_for_the_approved_agents_that_its_filter_names(db: Db) {
    insert_approved(&db, &["a", "b", "c"]).await;
    let all = AgentFilter::default();
    assert_eq!(insert(&db, &fan_out("all"), all.clone()).await, 3, "who waits gets none");
    let stored = db.store.read("get").await.unwrap().fan_outs().get(&org(), &id("all")).await;
    assert_eq!(stored.unwrap(), Some(fan_out("all")));
    let ids = AgentFilter { ids: Some(vec![id("b"), id("nobody")]), ..all.clone() };
    assert_eq!(insert(&db, &fan_out("one"), ids).await, 1);
    let label = AgentFilter { labels: vec![("no".into(), "such".into())], ..all };
    assert_eq!(insert(&db, &fan_out("none"), label).await, 0);
    assert_eq!(tally(&db, "none").await, Tally::default());
    let mut reader = db.store.read("list").await.unwrap();
    let page = reader.fan_outs().list(&org(), &PageRequest::first(2)).await.unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (2, true));
    assert_eq!(reader.fan_outs().running().await.unwrap().len(), 3);
}

async fn agents_are_begun_in_order_and_counted_where_they_stand(db: Db) {
    insert_approved(&db, &["a", "b", "c"]).await;
    insert(&db, &fan_out("f"), AgentFilter::default()).await;
    let waiting = db.store.read("w").await.unwrap().fan_outs().waiting(&id("f"), 9).await.unwrap();
    assert_eq!(waiting.len(), 3);
    assert!(waiting.is_sorted_by_key(|target| target.position));
    let (first, second) = (&waiting[0], &waiting[1]);
    let running = Command {
        agent: first.agent.clone(),
        state: CommandState::Running { at: at(5) },
        ..command("c1", "a", 1)
    };
    db.write(async |tx| {
        tx.commands().insert(&running).await?;
        tx.fan_outs().begun(&id("f"), &[(first.position, &running.id)])?;
        tx.fan_outs().skip(&id("f"), second.position, "the agent has no keys").await
    })
    .await;
    let stand = counts(&[("running", 1), ("skipped", 1), ("waiting", 1)]);
    assert_eq!(tally(&db, "f").await, stand);
    let held = db.write(async |tx| tx.fan_outs().hold(&id("f")).await).await;
    assert_eq!(held, Some(fan_out("f")));
    let places = async |org: OrgId, states: &[&str], after: i64, limit: u32| {
        let states = states.iter().map(|state| (*state).to_owned()).collect();
        let wanted = FanOutPlaces { states, after, limit };
        let mut reader = db.store.read("places").await.unwrap();
        let places = reader.fan_outs().places(&org, &id("f"), &wanted).await.unwrap();
        places.into_iter().map(|place| place.state).collect::<Vec<_>>()
    };
    assert_eq!(places(org(), &[], 0, 9).await, ["running", "skipped", "waiting"]);
    assert_eq!(places(org(), &[], 0, 1).await, ["running"]);
    assert_eq!(places(org(), &["waiting", "running"], 0, 9).await, ["running", "waiting"]);
    assert_eq!(places(org(), &["waiting", "running"], first.position, 9).await, ["waiting"]);
    assert!(places(id("other"), &[], 0, 9).await.is_empty());
    let wanted = FanOutPlaces { states: Vec::new(), after: 0, limit: 2 };
    let mut reader = db.store.read("places").await.unwrap();
    let shown = reader.fan_outs().places(&org(), &id("f"), &wanted).await.unwrap();
    assert_eq!((&shown[0].agent, shown[0].command.as_ref()), (&first.agent, Some(&running.id)));
    assert_eq!(shown[1].detail.as_deref(), Some("the agent has no keys"));
}

async fn a_fan_out_ends_once_and_its_commands_are_withdrawn(db: Db) {
    insert_approved(&db, &["a", "b"]).await;
    insert(&db, &fan_out("f"), AgentFilter::default()).await;
    let waiting = db.store.read("w").await.unwrap().fan_outs().waiting(&id("f"), 9).await.unwrap();
    let sent = Command {
        agent: waiting[0].agent.clone(),
        state: CommandState::Sent { at: at(5) },
        ..command("sent", "a", 1)
    };
    let queued = Command { agent: waiting[1].agent.clone(), ..command("queued", "b", 1) };
    let withdrawal = Withdrawal { by: "user:ada".into(), at: at(7) };
    let told = db
        .write(async |tx| {
            tx.commands().insert(&sent).await?;
            tx.commands().insert(&queued).await?;
            tx.commands().insert(&command("apart", waiting[0].agent.as_str(), 2)).await?;
            let begun = [(waiting[0].position, &sent.id), (waiting[1].position, &queued.id)];
            tx.fan_outs().begun(&id("f"), &begun)?;
            assert!(tx.fan_outs().end(&id("f"), FanOutEnd::Cancelled, at(7)).await?);
            assert!(!tx.fan_outs().end(&id("f"), FanOutEnd::Halted, at(8)).await?);
            tx.fan_outs().withdraw(&id("f"), &withdrawal).await
        })
        .await;
    assert_eq!(told, [waiting[0].agent.clone()], "who has one must be told");
    let mut reader = db.store.read("get").await.unwrap();
    let sent = reader.commands().get(&org(), &id("sent")).await.unwrap().unwrap();
    assert_eq!(sent.withdrawn, Some(withdrawal));
    let queued = reader.commands().get(&org(), &id("queued")).await.unwrap().unwrap();
    assert_eq!(queued.state.as_str(), "cancelled");
    let apart = reader.commands().get(&org(), &id("apart")).await.unwrap().unwrap();
    assert_eq!((apart.state.as_str(), apart.withdrawn), ("queued", None));
    let ended = reader.fan_outs().get(&org(), &id("f")).await.unwrap().unwrap();
    assert_eq!(ended.state, FanOutState::Ended { how: FanOutEnd::Cancelled, at: at(7) });
    drop(reader);
    assert_eq!(db.write(async |tx| tx.fan_outs().hold(&id("f")).await).await, None);
}

async fn an_idempotency_key_names_one_fan_out(db: Db) {
    insert_approved(&db, &["a"]).await;
    let keyed = |name: &str| FanOut { idempotency_key: Some("k".into()), ..fan_out(name) };
    insert(&db, &keyed("f"), AgentFilter::default()).await;
    let mut reader = db.store.read("key").await.unwrap();
    let found = reader.fan_outs().find_by_idempotency_key(&org(), "k").await.unwrap();
    assert_eq!(found, Some(keyed("f")));
    drop(reader);
    let mut tx = db.store.write("twice").await.unwrap();
    let refused = tx.fan_outs().insert(&keyed("g"), &AgentFilter::default()).await;
    let what = "fan_out_idempotency_key";
    assert!(matches!(refused, Err(StoreError::Conflict { what: w }) if w == what), "{refused:?}");
}
