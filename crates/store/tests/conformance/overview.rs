//! What an overview of the fleet is made of, on both databases.

use std::time::Duration;

use argosy_domain::{
    access::Scopes,
    agent::{Agent, AgentState, Approval, Decider},
    command::{Command, CommandKind, CommandSeq, CommandState},
    digest::Sha256,
    review::{Appearance, Review, ReviewReason},
};
use argosy_store::{AgentFilter, NewApiKey, PageRequest};

use crate::access::{insert_token, token};
use crate::common::{Db, agent, at, conformance, id, org};

conformance!(
    silence_is_told_by_bands,
    versions_and_reviews_are_counted_over_admitted_agents,
    filters_choose_by_version_review_and_connection,
    commands_are_counted_by_slot_and_state,
    keys_that_end_soon_are_listed,
    open_breakers_are_listed,
);

const DAY: i64 = 86_400;

fn admitted(name: &str, version: &str) -> Agent {
    let by = Decider("user:ada".into());
    let state = AgentState::Approved(Approval { by, at: at(10), fingerprint: None });
    Agent { state, version: Some(version.into()), ..agent(name) }
}

async fn insert(db: &Db, agents: &[Agent]) {
    db.write(async |tx| {
        for agent in agents {
            tx.agents().insert(agent).await?;
        }
        Ok(())
    })
    .await;
}

async fn silence_is_told_by_bands(db: Db) {
    let now = at(10 * DAY);
    let ages = [30, 200, 600, 1_000, 4_000, 2 * DAY];
    for (n, age) in ages.into_iter().enumerate() {
        let agent = admitted(&format!("a{n}"), "1.0.0");
        let seen = now.minus(Duration::from_secs(u64::try_from(age).unwrap()));
        insert(&db, std::slice::from_ref(&agent)).await;
        db.write(async |tx| tx.presence().touch_many(&[(agent.id.clone(), seen)]).await).await;
    }
    insert(&db, &[admitted("never", "1.0.0"), agent("pending")]).await;
    let mut reader = db.store.read("test").await.unwrap();
    assert_eq!(reader.agents().silence_in(&org(), now).await.unwrap(), [1; 7]);
    assert_eq!(reader.agents().silence_in(&id("other"), now).await.unwrap(), [0; 7]);
}

fn review() -> Review {
    let seen = Appearance { source: None, machine_id: None, version: None, at: at(5) };
    Review::of(None, ReviewReason::Clone, None, seen)
}

async fn versions_and_reviews_are_counted_over_admitted_agents(db: Db) {
    let odd = Agent { review: Some(review()), ..admitted("odd", "1.1.0") };
    insert(&db, &[admitted("a", "1.0.0"), admitted("b", "1.0.0"), odd, agent("pending")]).await;
    let mut reader = db.store.read("test").await.unwrap();
    let versions = reader.agents().versions_in(&org()).await.unwrap();
    assert_eq!(versions, [("1.0.0".to_owned(), 2), ("1.1.0".to_owned(), 1)]);
    assert_eq!(reader.agents().count_under_review(&org()).await.unwrap(), 1);
    assert_eq!(reader.agents().count_under_review(&id("other")).await.unwrap(), 0);
    assert_eq!(reader.agents().count_pending(&org()).await.unwrap(), 1);
    assert_eq!(reader.agents().count_pending(&id("other")).await.unwrap(), 0);
}

async fn filters_choose_by_version_review_and_connection(db: Db) {
    insert_token(&db, &token("boot", 3)).await;
    let token = Some(id("boot"));
    let odd = Agent { review: Some(review()), token, ..admitted("odd", "1.1.0") };
    insert(&db, &[admitted("plain", "1.0.0"), odd]).await;
    db.write(async |tx| tx.presence().open_stream(&id("plain"), "replica", at(20)).await).await;
    let mut reader = db.store.read("test").await.unwrap();
    let none = AgentFilter::default();
    for (filter, expected) in [
        (AgentFilter { version: Some("1.1.0".into()), ..none.clone() }, "odd"),
        (AgentFilter { version: Some("1.0.0".into()), ..none.clone() }, "plain"),
        (AgentFilter { under_review: true, ..none.clone() }, "odd"),
        (AgentFilter { token: Some(id("boot")), ..none.clone() }, "odd"),
        (AgentFilter { connected: Some(true), ..none.clone() }, "plain"),
        (AgentFilter { connected: Some(false), ..none.clone() }, "odd"),
    ] {
        let page = PageRequest { limit: 10, after: None };
        let found = reader.agents().list(&org(), &filter, &page).await.unwrap().items;
        let found: Vec<&str> = found.iter().map(|view| view.agent.id.as_str()).collect();
        assert_eq!(found, [expected], "{filter:?}");
    }
}

fn command(name: &str, sequence: i64, created_s: i64, state: CommandState) -> Command {
    Command {
        id: id(name),
        org: org(),
        agent: id("a"),
        kind: CommandKind::SubsystemRun,
        params: b"{}".to_vec(),
        params_sha256: Sha256::of(b"{}"),
        sequence: CommandSeq(sequence),
        created_by: "user:ada".into(),
        created_at: at(created_s),
        expires_at: at(created_s + DAY),
        idempotency_key: None,
        state,
        withdrawn: None,
        result: None,
    }
}

async fn commands_are_counted_by_slot_and_state(db: Db) {
    insert(&db, &[admitted("a", "1.0.0")]).await;
    db.write(async |tx| {
        for (n, (created, state)) in [
            (3_600, CommandState::Queued),
            (3_700, CommandState::Queued),
            (3_800, CommandState::Sent { at: at(3_900) }),
            (7_200, CommandState::Queued),
            (100, CommandState::Queued),
        ]
        .into_iter()
        .enumerate()
        {
            let sequence = i64::try_from(n).unwrap() + 1;
            tx.commands().insert(&command(&format!("c{n}"), sequence, created, state)).await?;
        }
        Ok(())
    })
    .await;
    let mut reader = db.store.read("test").await.unwrap();
    let hour = Duration::from_secs(3_600);
    let mut counts = reader.commands().history_in(&org(), at(3_600), hour).await.unwrap();
    counts.sort_by_key(|count| (count.from, count.state.clone()));
    let counts: Vec<_> = counts.iter().map(|c| (c.from, c.state.as_str(), c.commands)).collect();
    assert_eq!(
        counts,
        [(at(3_600), "queued", 2), (at(3_600), "sent", 1), (at(7_200), "queued", 1)]
    );
}

async fn keys_that_end_soon_are_listed(db: Db) {
    db.write(async |tx| {
        for (name, end) in
            [("soon", Some(200)), ("later", Some(9_000)), ("past", Some(50)), ("never", None)]
        {
            let key = NewApiKey {
                id: id(name),
                org: org(),
                agent: None,
                owner: "user:ada".into(),
                name: name.into(),
                scopes: Scopes::default(),
                secret_sha256: Sha256::of(name.as_bytes()),
                created_at: at(1),
                expires_at: end.map(at),
            };
            tx.api_keys().insert(&key)?;
        }
        Ok(())
    })
    .await;
    let mut reader = db.store.read("test").await.unwrap();
    let count = reader.api_keys().count_ending(&org(), at(100), at(1_000)).await.unwrap();
    assert_eq!(count, 1);
}

async fn open_breakers_are_listed(db: Db) {
    insert(&db, &[admitted("a", "1.0.0")]).await;
    db.write(async |tx| tx.subsystems().ensure_defaults(&org(), &id("a"))).await;
    let mut reader = db.store.read("test").await.unwrap();
    assert_eq!(reader.subsystems().open_breakers_in(&org(), 10).await.unwrap(), []);
    drop(reader);
    db.raw("UPDATE subsystems SET breaker = 'open' WHERE subsystem = 'updates'").await;
    let mut reader = db.store.read("test").await.unwrap();
    let open = reader.subsystems().open_breakers_in(&org(), 10).await.unwrap();
    assert_eq!(open, [(id("a"), "name of a".to_owned(), "updates".to_owned())]);
}
