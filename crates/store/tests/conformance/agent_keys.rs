//! Identity keys of agents that were replaced.

use argosy_store::{KeyRotationRow, StoreError};

use crate::common::{Db, agent, at, conformance, id, org};

conformance!(a_key_is_replaced_once_and_remembered, a_key_of_another_live_agent_is_not_taken,);

fn rotation(agent: &str, serial: i64, replaced_key: [u8; 32]) -> KeyRotationRow {
    KeyRotationRow {
        org: org(),
        agent: id(agent),
        serial,
        replaced_key,
        statement: b"{}".to_vec(),
        signature: vec![1; 64],
        successor_signature: vec![2; 64],
        rotated_at: at(serial),
    }
}

fn key_of(name: &str) -> [u8; 32] {
    agent(name).identity.unwrap().identity_key
}

async fn a_key_is_replaced_once_and_remembered(db: Db) {
    let row = rotation("a", 2, key_of("a"));
    db.write(async |tx| {
        tx.agents().insert(&agent("a")).await?;
        assert!(tx.agent_keys().rotate(&row, &[9; 32]).await?);
        // The old one is not the agent's any more.
        assert!(!tx.agent_keys().rotate(&rotation("a", 3, key_of("a")), &[8; 32]).await?);
        Ok(())
    })
    .await;
    let mut reader = db.store.read("look").await.unwrap();
    let found = reader.agents().find(&id("a")).await.unwrap().unwrap();
    assert_eq!(found.identity.unwrap().identity_key, [9; 32]);
    assert_eq!(reader.agent_keys().rotations(&id("a")).await.unwrap(), [row]);
    drop(reader);
    db.write(async |tx| {
        assert!(tx.agents().delete(&org(), &id("a")).await?);
        assert!(tx.agent_keys().rotations(&id("a")).await?.is_empty());
        Ok(())
    })
    .await;
}

async fn a_key_of_another_live_agent_is_not_taken(db: Db) {
    db.write(async |tx| {
        tx.agents().insert(&agent("a")).await?;
        tx.agents().insert(&agent("b")).await
    })
    .await;
    let mut tx = db.store.write("taken").await.unwrap();
    let taken = tx.agent_keys().rotate(&rotation("a", 2, key_of("a")), &key_of("b")).await;
    let conflict = matches!(taken, Err(StoreError::Conflict { what: "agent_identity_key" }));
    assert!(conflict, "{taken:?}");
}
