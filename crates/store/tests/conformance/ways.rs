//! Ways in, and hosts over their life: reviews, replacements, ids of service keys.

use argosy_domain::{
    access::Scopes,
    digest::Sha256,
    id::ApiKeyId,
    review::{Appearance, KeyDelivery, Review, ReviewReason},
};
use argosy_store::{NewApiKey, ServiceAgent, StoreError};

use crate::common::{Db, agent, at, conformance, id, insert_agents, org};

fn seen(machine: &str) -> Appearance {
    Appearance {
        source: Some("192.0.2.7".into()),
        machine_id: Some(machine.into()),
        version: Some("0.1.0".into()),
        at: at(20),
    }
}

async fn a_review_is_kept_and_cleared(db: Db) {
    let mut by_hand = agent("a");
    by_hand.key_delivery = KeyDelivery::Operator;
    db.write(async |tx| tx.agents().insert(&by_hand).await).await;
    let review = Review::of(None, ReviewReason::Clone, Some(seen("m1")), seen("m2"));
    db.write(async |tx| {
        tx.agents().save_origins(&[(&id("a"), &seen("m1"))])?;
        assert!(tx.agents().save_review(&id("a"), Some(&review)).await?);
        assert!(tx.agents().save_machine(&id("a"), "m3").await?);
        assert!(!tx.agents().save_review(&id("nobody"), None).await?);
        Ok(())
    })
    .await;
    let mut reader = db.store.read("test").await.unwrap();
    let kept = reader.agents().find(&id("a")).await.unwrap().unwrap();
    assert_eq!(kept.key_delivery, KeyDelivery::Operator);
    assert_eq!((kept.last_origin, kept.review), (Some(seen("m1")), Some(review)));
    assert_eq!(kept.identity.unwrap().machine_id.as_deref(), Some("m3"));
    drop(reader);
    db.write(async |tx| tx.agents().save_review(&id("a"), None).await).await;
    let mut reader = db.store.read("test").await.unwrap();
    assert_eq!(reader.agents().find(&id("a")).await.unwrap().unwrap().review, None);
}

async fn who_took_over_is_shown_and_goes_with_its_agent(db: Db) {
    insert_agents(&db, &["old", "new"]).await;
    db.write(async |tx| tx.agents().save_replacement(&agent("old"), &id("new"), 2, at(30)).await)
        .await;
    let mut reader = db.store.read("test").await.unwrap();
    let view = reader.agents().view(&org(), &id("old")).await.unwrap().unwrap();
    assert_eq!(view.replaced_by, Some(id("new")));
    drop(reader);
    db.write(async |tx| tx.agents().delete(&org(), &id("new")).await).await;
    let mut reader = db.store.read("test").await.unwrap();
    let view = reader.agents().view(&org(), &id("old")).await.unwrap().unwrap();
    assert_eq!(view.replaced_by, None);
}

async fn an_id_of_a_service_key_is_taken_once(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let key: ApiKeyId = id("key");
    let new = NewApiKey {
        id: key.clone(),
        org: org(),
        agent: None,
        owner: "service:x".into(),
        name: "x".into(),
        scopes: Scopes::default(),
        secret_sha256: Sha256::of(b"x"),
        created_at: at(1),
        expires_at: None,
    };
    db.write(async |tx| tx.api_keys().insert(&new)).await;
    let bound = |agent: &str| ServiceAgent {
        org: org(),
        called: "collector eu/1".into(),
        key: key.clone(),
        agent: id(agent),
    };
    db.write(async |tx| tx.service_agents().insert(&bound("a")).await).await;
    let mut tx = db.store.write("test").await.unwrap();
    let again = tx.service_agents().insert(&bound("b")).await.unwrap_err();
    assert!(matches!(again, StoreError::Conflict { what: "service_agent" }), "{again}");
    drop(tx);
    let mut reader = db.store.read("test").await.unwrap();
    for name in ["collector eu/1", "a"] {
        let found = reader.service_agents().find(&org(), name).await.unwrap();
        assert_eq!(found, Some(bound("a")), "{name}");
    }
    assert_eq!(reader.service_agents().find(&id("other"), "a").await.unwrap(), None);
    assert_eq!(reader.service_agents().count_of(&org(), &key).await.unwrap(), 1);
    let view = reader.agents().view(&org(), &id("a")).await.unwrap().unwrap();
    assert_eq!(view.called.as_deref(), Some("collector eu/1"));
    drop(reader);
    // Whoever deletes the agent frees its id.
    db.write(async |tx| tx.agents().delete(&org(), &id("a")).await).await;
    db.write(async |tx| tx.service_agents().insert(&bound("b")).await).await;
}

conformance!(
    a_review_is_kept_and_cleared,
    who_took_over_is_shown_and_goes_with_its_agent,
    an_id_of_a_service_key_is_taken_once,
);
