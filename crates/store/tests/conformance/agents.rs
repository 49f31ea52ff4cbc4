//! Agents and their presence, on both databases.

use crate::common::{Db, agent, at, conformance, id, insert_agents, labels, org};
use argosy_domain::{
    agent::{Agent, AgentState, AgentStatus, Approval, Closure, Decider, Health},
    digest::Sha256,
    id::AccountId,
};
use argosy_store::{AgentFilter, Cursor, HealthCounts, NewChallenge, PageRequest, StoreError};

conformance!(
    every_state_survives_the_store,
    names_and_keys_are_unique_among_live_agents_only,
    a_state_is_saved_only_over_the_expected_one,
    an_approval_stays_on_record_after_revocation,
    pages_show_every_agent_once,
    filters_choose,
    health_is_counted_over_approved_agents,
    heartbeats_never_go_back,
    what_differs_is_written_and_nothing_else,
    epochs_rise,
    deleting_takes_everything_of_the_agent,
    another_organisations_agents_do_not_exist,
    agents_are_found_by_statement_and_key,
    rows_that_cannot_be_are_named,
    no_text_breaks_either_database,
);

fn approval() -> Approval {
    let fingerprint = agent("x").identity.map(|identity| identity.fingerprint);
    Approval { by: Decider("user:ada".into()), at: at(20), fingerprint }
}

fn closure() -> Closure {
    Closure { by: Decider("user:bob".into()), at: at(30), reason: Some("broken".into()) }
}

fn states() -> Vec<AgentState> {
    vec![
        AgentState::Pending { since: at(10) },
        AgentState::Approved(approval()),
        AgentState::Quarantined { approval: approval(), closure: closure() },
        AgentState::Rejected(closure()),
        AgentState::Expired { at: at(40) },
        AgentState::Cancelled { at: at(41) },
        AgentState::Revoked(Closure { reason: None, ..closure() }),
    ]
}

async fn get(db: &Db, name: &str) -> Option<Agent> {
    db.store.read("get").await.unwrap().agents().get(&org(), &id(name)).await.unwrap()
}

async fn every_state_survives_the_store(db: Db) {
    for (n, state) in states().into_iter().enumerate() {
        let name = format!("agent-{n}");
        let stored = Agent { state, ..agent(&name) };
        db.write(async |tx| tx.agents().insert(&stored).await).await;
        assert_eq!(get(&db, &name).await, Some(stored));
    }
    let keyless = Agent {
        identity: None,
        version: None,
        platform: None,
        hostname: None,
        source: None,
        ..agent("keyless")
    };
    db.write(async |tx| tx.agents().insert(&keyless).await).await;
    assert_eq!(get(&db, "keyless").await, Some(keyless));
    let counts =
        db.store.read("counts").await.unwrap().agents().counts_in(Some(&org())).await.unwrap();
    assert!(counts.contains(&(AgentStatus::Pending, 2)) && counts.len() == 7, "{counts:?}");
}

async fn insert(db: &Db, agent: &Agent) -> Result<(), StoreError> {
    let mut tx = db.store.write("insert").await.unwrap();
    tx.agents().insert(agent).await?;
    tx.commit().await
}

fn conflict(result: Result<(), StoreError>) -> &'static str {
    match result {
        Err(StoreError::Conflict { what }) => what,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

async fn names_and_keys_are_unique_among_live_agents_only(db: Db) {
    insert_agents(&db, &["a"]).await;
    let same_name = Agent { name: agent("a").name, ..agent("b") };
    assert_eq!(conflict(insert(&db, &same_name).await), "agent_name");
    let same_key = Agent { identity: agent("a").identity, ..agent("b") };
    assert_eq!(conflict(insert(&db, &same_key).await), "agent_identity_key");
    let same_id = Agent { id: id("a"), ..agent("b") };
    assert_eq!(conflict(insert(&db, &same_id).await), "agent_id");
    let gone = Agent { state: AgentState::Rejected(closure()), ..agent("a") };
    db.write(async |tx| tx.agents().save_state(&gone, AgentStatus::Pending).await).await;
    let again = Agent { id: id("a2"), ..agent("a") };
    insert(&db, &again).await.unwrap();
}

async fn a_state_is_saved_only_over_the_expected_one(db: Db) {
    insert_agents(&db, &["a"]).await;
    let approved = Agent { state: AgentState::Approved(approval()), ..agent("a") };
    let rejected = Agent { state: AgentState::Rejected(closure()), ..agent("a") };
    let saved = db
        .write(async |tx| {
            let first = tx.agents().save_state(&approved, AgentStatus::Pending).await?;
            Ok([first, tx.agents().save_state(&rejected, AgentStatus::Pending).await?])
        })
        .await;
    assert_eq!(saved, [true, false]);
    assert_eq!(get(&db, "a").await, Some(approved));
}

async fn an_approval_stays_on_record_after_revocation(db: Db) {
    let approved = Agent { state: AgentState::Approved(approval()), ..agent("a") };
    let revoked = Agent { state: AgentState::Revoked(closure()), ..agent("a") };
    db.write(async |tx| {
        tx.agents().insert(&approved).await?;
        tx.agents().save_state(&revoked, AgentStatus::Approved).await
    })
    .await;
    assert_eq!(get(&db, "a").await, Some(revoked));
    db.raw("UPDATE agents SET status = 'approved' WHERE approved_by = 'user:ada'").await;
    assert_eq!(get(&db, "a").await, Some(approved));
}

async fn pages_show_every_agent_once(db: Db) {
    let names: Vec<String> = (0..25).map(|n| format!("a{n:02}")).collect();
    db.write(async |tx| {
        for (n, name) in names.iter().enumerate() {
            // Several register in the same instant.
            let second = i64::try_from(n / 3).unwrap();
            tx.agents().insert(&Agent { registered_at: at(second), ..agent(name) }).await?;
        }
        Ok(())
    })
    .await;
    let mut page = PageRequest::first(7);
    let mut seen = Vec::new();
    loop {
        let mut reader = db.store.read("list").await.unwrap();
        let got = reader.agents().list(&org(), &AgentFilter::default(), &page).await.unwrap();
        assert!(got.items.len() <= 7);
        seen.extend(got.items.iter().map(|view| view.agent.id.to_string()));
        match got.next {
            Some(next) => page.after = Some(Cursor::parse(&next.to_string()).unwrap()),
            None => break,
        }
    }
    let newest_first: Vec<String> = names.into_iter().rev().collect();
    assert_eq!(seen, newest_first);
}

async fn listed(db: &Db, filter: AgentFilter) -> Vec<String> {
    let mut reader = db.store.read("list").await.unwrap();
    let page = reader.agents().list(&org(), &filter, &PageRequest::first(50)).await.unwrap();
    let counted = reader.agents().count(&org(), &filter).await.unwrap();
    assert_eq!(counted, page.items.len() as u64);
    page.items.iter().map(|view| view.agent.id.to_string()).collect()
}

async fn filters_choose(db: Db) {
    insert_agents(&db, &["healthy", "stale", "offline", "never"]).await;
    let special = Agent {
        state: AgentState::Rejected(closure()),
        labels: labels([("role", "db"), ("a.b/c-d", "50% \"x\"")]),
        hostname: Some("ZEBRA_1".into()),
        ..agent("special")
    };
    let now = at(10_000);
    let other = db
        .write(async |tx| {
            tx.agents().insert(&special).await?;
            let seen = [("healthy", 9_990), ("stale", 9_600), ("offline", 9_100)];
            let seen = seen.map(|(name, second)| (id(name), at(second)));
            tx.presence().touch_many(&seen).await?;
            tx.accounts().create(&org(), "other", None, None, &[], at(1)).await
        })
        .await;
    let health = |health| AgentFilter { health: Some((health, now)), ..AgentFilter::default() };
    assert_eq!(listed(&db, health(Health::Healthy)).await, ["healthy"]);
    assert_eq!(listed(&db, health(Health::Stale)).await, ["stale"]);
    assert_eq!(listed(&db, health(Health::Offline)).await, ["special", "offline", "never"]);
    let status = Some(AgentStatus::Rejected);
    assert_eq!(listed(&db, AgentFilter { status, ..AgentFilter::default() }).await, ["special"]);
    let label = |key: &str, value: &str| AgentFilter {
        labels: vec![(key.into(), value.into())],
        ..AgentFilter::default()
    };
    assert_eq!(listed(&db, label("role", "db")).await, ["special"]);
    assert_eq!(listed(&db, label("a.b/c-d", "50% \"x\"")).await, ["special"]);
    assert_eq!(listed(&db, label("role", "web")).await.len(), 4);
    assert!(listed(&db, label("web", "role")).await.is_empty());
    let q = |text: &str| AgentFilter { q: Some(text.into()), ..AgentFilter::default() };
    assert_eq!(listed(&db, q("zebra_")).await, ["special"]);
    assert_eq!(listed(&db, q("NAME OF stale")).await, ["stale"]);
    assert!(listed(&db, q("%")).await.is_empty(), "a percent sign is no wildcard");
    let account = |account| AgentFilter { account: Some(account), ..AgentFilter::default() };
    assert_eq!(listed(&db, account(AccountId::DEFAULT)).await.len(), 5);
    assert!(listed(&db, account(other.id)).await.is_empty());
}

async fn health_is_counted_over_approved_agents(db: Db) {
    let empty =
        db.store.read("health").await.unwrap().agents().health_in(Some(&org()), at(1)).await;
    assert_eq!(empty.unwrap(), HealthCounts::default());
    insert_agents(&db, &["pending"]).await;
    let seen = [("healthy", 9_990), ("stale", 9_600), ("offline", 9_100), ("pending", 9_990)];
    db.write(async |tx| {
        for name in ["healthy", "stale", "offline", "never"] {
            let state = AgentState::Approved(approval());
            tx.agents().insert(&Agent { state, ..agent(name) }).await?;
        }
        tx.presence().touch_many(&seen.map(|(name, second)| (id(name), at(second)))).await?;
        tx.presence().open_stream(&id("healthy"), "one", at(9_991)).await
    })
    .await;
    let mut reader = db.store.read("health").await.unwrap();
    let counted = reader.agents().health_in(Some(&org()), at(10_000)).await.unwrap();
    assert_eq!(counted, HealthCounts { healthy: 1, stale: 1, offline: 2, connected: 1 });
    assert_eq!(reader.agents().health_in(None, at(10_000)).await.unwrap(), counted);
    let other = reader.agents().health_in(Some(&id("other")), at(10_000)).await.unwrap();
    assert_eq!(other, HealthCounts::default());
}

async fn heartbeats_never_go_back(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let touch = async |seen: &[(&str, i64)]| {
        let seen: Vec<_> = seen.iter().map(|(name, s)| (id(name), at(*s))).collect();
        db.write(async |tx| tx.presence().touch_many(&seen).await).await
    };
    assert_eq!(touch(&[("a", 5), ("a", 9), ("a", 7), ("ghost", 9), ("b", 2)]).await, 2);
    assert_eq!(touch(&[("a", 8), ("b", 3)]).await, 1);
    assert_eq!(touch(&[]).await, 0);
    let mut reader = db.store.read("view").await.unwrap();
    let view = reader.agents().view(&org(), &id("a")).await.unwrap().unwrap();
    assert_eq!((view.last_seen, view.connected), (Some(at(9)), false));
}

async fn what_differs_is_written_and_nothing_else(db: Db) {
    insert_agents(&db, &["a"]).await;
    let report = async |version: Option<&str>, hostname: Option<&str>| {
        db.write(async |tx| tx.agents().save_reported(&id("a"), version, hostname, None).await)
            .await
    };
    assert!(!report(Some("1.0.0"), None).await);
    assert!(report(Some("1.1.0"), None).await);
    assert!(report(None, Some("moved")).await);
    let stored = get(&db, "a").await.unwrap();
    assert_eq!(stored.version.as_deref(), Some("1.1.0"));
    assert_eq!(stored.hostname.as_deref(), Some("moved"));
    assert_eq!(stored.platform.as_deref(), Some("linux-amd64"));
    let changed = db
        .write(async |tx| {
            let labels = labels([("k", "v")]);
            tx.agents().save_profile(&org(), &id("a"), "renamed", &labels).await
        })
        .await;
    let stored = get(&db, "a").await.unwrap();
    assert!(changed && stored.name == "renamed" && stored.labels.get("k") == Some("v"));
}

async fn epochs_rise(db: Db) {
    insert_agents(&db, &["a"]).await;
    let bump =
        async |name: &str| db.write(async |tx| tx.agents().bump_epoch(&id(name)).await).await;
    assert_eq!(bump("a").await, Some(2));
    assert_eq!(bump("a").await, Some(3));
    assert_eq!(bump("ghost").await, None);
}

async fn deleting_takes_everything_of_the_agent(db: Db) {
    insert_agents(&db, &["a"]).await;
    db.write(async |tx| {
        tx.presence().open_stream(&id("a"), "one", at(50)).await?;
        tx.subsystems().ensure_defaults(&org(), &id("a"))?;
        let (sha256, created_at, expires_at) = (Sha256::of(b"c"), at(1), at(100));
        let made = NewChallenge { agent: id("a"), sha256, created_at, expires_at };
        tx.handshakes().insert_challenges(&[&made], 1).await
    })
    .await;
    assert!(db.write(async |tx| tx.agents().delete(&org(), &id("a")).await).await);
    assert!(!db.write(async |tx| tx.agents().delete(&org(), &id("a")).await).await);
    let mut reader = db.store.read("after").await.unwrap();
    assert_eq!(reader.agents().find(&id("a")).await.unwrap(), None);
    assert!(reader.subsystems().list(&org(), &id("a")).await.unwrap().is_empty());
    assert_eq!(reader.presence().count_connected().await.unwrap(), 0);
    drop(reader);
    assert_eq!(db.write(async |tx| tx.handshakes().purge_expired(at(1_000)).await).await, 0);
}

async fn another_organisations_agents_do_not_exist(db: Db) {
    insert_agents(&db, &["a"]).await;
    let other = id("other");
    db.write(async |tx| tx.orgs().create(&other, "Other", at(1)).await).await;
    let mut reader = db.store.read("get").await.unwrap();
    assert_eq!(reader.agents().get(&other, &id("a")).await.unwrap(), None);
    assert_eq!(reader.agents().view(&other, &id("a")).await.unwrap(), None);
    let page = PageRequest::first(5);
    let list = reader.agents().list(&other, &AgentFilter::default(), &page).await.unwrap();
    assert!(list.items.is_empty());
    drop(reader);
    assert!(!db.write(async |tx| tx.agents().delete(&other, &id("a")).await).await);
    let stolen = insert(&db, &Agent { org: other, ..agent("b") }).await;
    assert!(
        matches!(stolen, Err(StoreError::BrokenReference)),
        "an account of another organisation is refused by the database: {stolen:?}"
    );
}

async fn agents_are_found_by_statement_and_key(db: Db) {
    let token = common_token(&db).await;
    let joined = Agent { token: Some(token.clone()), ..agent("a") };
    insert(&db, &joined).await.unwrap();
    let identity = joined.identity.clone().unwrap();
    let mut reader = db.store.read("find").await.unwrap();
    let mut agents = reader.agents();
    let digest = identity.statement_sha256;
    let found = agents.find_by_statement(&org(), &token, digest).await.unwrap();
    assert_eq!(found.as_ref(), Some(&joined));
    let other = agents.find_by_statement(&org(), &token, Sha256::of(b"other")).await.unwrap();
    assert_eq!(other, None);
    let by_key = agents.find_by_identity_key_live(&org(), &identity.identity_key).await.unwrap();
    assert_eq!(by_key.as_ref(), Some(&joined));
    let of_token = agents.pending_of_token(&org(), &token).await.unwrap();
    assert_eq!(of_token, agents.pending_registered_before(at(11)).await.unwrap());
    assert_eq!(of_token, [joined]);
    assert!(agents.pending_registered_before(at(10)).await.unwrap().is_empty());
}

async fn common_token(db: &Db) -> argosy_domain::id::TokenId {
    let token = argosy_domain::token::EnrolmentToken {
        id: id("t"),
        org: org(),
        account: None,
        name: "t".into(),
        created_by: "user:ada".into(),
        created_at: at(1),
        expires_at: at(100),
        seats: argosy_domain::token::Seats { used: 0, max: 1 },
        auto_approve: false,
        require_proof: true,
        labels: labels([]),
        revoked_at: None,
    };
    db.write(async |tx| tx.tokens().insert(&token, "hash", b"sealed").await).await;
    token.id
}

async fn rows_that_cannot_be_are_named(db: Db) {
    insert_agents(&db, &["a"]).await;
    let corrupt = [
        ("status", "status = 'approved'", "approved_by"),
        ("unknown status", "status = 'happy'", "status"),
        ("fingerprint", "status = 'pending', fingerprint = 'x'", "fingerprint"),
        ("labels", "fingerprint = '0123456789abcdef0123456789abcdef', labels = '[]'", "labels"),
        ("time", "labels = '{}', registered_at = -1", "registered_at"),
        ("id", "registered_at = 1, source = '', id = 'a b'", "id"),
    ];
    for (what, change, column) in corrupt {
        db.raw(&format!("UPDATE agents SET {change}")).await;
        let mut reader = db.store.read("list").await.unwrap();
        let page = PageRequest::first(5);
        let got = reader.agents().list(&org(), &AgentFilter::default(), &page).await;
        let Err(StoreError::CorruptRow { table: "agents", column: named }) = got else {
            panic!("{what}: {got:?}");
        };
        assert_eq!(named, column, "{what}");
    }
}

async fn no_text_breaks_either_database(db: Db) {
    let odd = Agent {
        name: "a\0b'; DROP TABLE agents; --".into(),
        hostname: Some("\u{202e}💥\u{1}\n".into()),
        ..agent("a")
    };
    insert(&db, &odd).await.unwrap();
    let stored = get(&db, "a").await.unwrap();
    assert_eq!(stored.name, "a\u{fffd}b'; DROP TABLE agents; --");
    assert_eq!(stored.hostname, odd.hostname);
    assert_eq!(
        listed(&db, AgentFilter { q: Some("\0".into()), ..AgentFilter::default() }).await,
        ["a"]
    );
}
