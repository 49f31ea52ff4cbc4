//! Challenges, what their answers were checked against, and continuations.

use argosy_domain::digest::Sha256;
use argosy_store::{Answered, Continuation, NewChallenge, StoreError, Tx};

use crate::{
    common::{Db, agent, at, conformance, id, insert_agents},
    fan_outs::insert_approved,
};

conformance!(
    a_challenge_is_consumed_once,
    challenges_of_one_batch_count_among_each_other,
    an_answer_counts_while_the_agent_is_what_it_was,
    the_last_challenge_takes_the_others_along,
    continuations_are_replaced,
);

fn digest(n: u8) -> Sha256 {
    Sha256::of(&[n])
}

/// Makes challenges of agents, three live ones at most; answers which were kept.
async fn challenge(tx: &mut Tx, made: &[(&str, u8, i64)]) -> Result<Vec<bool>, StoreError> {
    let challenge = |(agent, n, s): &(&str, u8, i64)| NewChallenge {
        agent: id(agent),
        sha256: digest(*n),
        created_at: at(*s),
        expires_at: at(s + 30),
    };
    let made: Vec<_> = made.iter().map(challenge).collect();
    let kept = tx.handshakes().insert_challenges(&made.iter().collect::<Vec<_>>(), 3).await?;
    Ok(made.iter().map(|made| kept.contains(&made.sha256)).collect())
}

async fn challenges_of_one_batch_count_among_each_other(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let first = [("b", 9, 1), ("a", 0, 1), ("a", 1, 1), ("ghost", 7, 1)];
    let kept = db.write(async |tx| challenge(tx, &first).await).await;
    assert_eq!(kept, [true, true, true, false]);
    let second = [("a", 2, 2), ("a", 3, 2), ("b", 8, 2)];
    let kept = db.write(async |tx| challenge(tx, &second).await).await;
    assert_eq!(kept, [true, false, true], "the third of a batch and before it");
    let agents = [id("a"), id("ghost")];
    let taken = db.write(async |tx| tx.handshakes().consume_all(agents.iter()).await).await;
    assert_eq!(taken, [0, 1, 2].map(|n| (id("a"), digest(n))).into());
    let taken = db.write(async |tx| tx.handshakes().consume_all(agents.iter()).await).await;
    assert!(taken.is_empty(), "nobody takes one twice");
}

async fn an_answer_counts_while_the_agent_is_what_it_was(db: Db) {
    insert_approved(&db, &["a", "b"]).await;
    let made = [("a", 0, 1), ("b", 1, 1), ("pending", 2, 1)];
    db.write(async |tx| challenge(tx, &made).await).await;
    let continuation = Continuation { current: Sha256::of(b"1"), previous: None };
    let given = [(&id("a"), continuation)];
    db.write(async |tx| tx.handshakes().set_continuations(&given)).await;
    let known = agent("a");
    let identity = known.identity.unwrap();
    let right = Answered {
        agent: id("a"),
        challenge_sha256: digest(0),
        epoch: known.epoch,
        identity_key: identity.identity_key,
        machine_id: identity.machine_id,
        version: "1.0.0".into(),
    };
    let stands = async |answered: &[Answered], s| {
        let answered: Vec<_> = answered.iter().collect();
        db.write(async |tx| tx.handshakes().standing(&answered, at(s)).await).await
    };
    let found = stands(std::slice::from_ref(&right), 2).await;
    assert_eq!(found, [(id("a"), Some(continuation))].into());
    assert!(stands(std::slice::from_ref(&right), 31).await.is_empty(), "too late");
    let wrong = [
        Answered { challenge_sha256: digest(1), ..right.clone() },
        Answered { epoch: 9, ..right.clone() },
        Answered { identity_key: [9; 32], ..right.clone() },
        Answered { machine_id: Some("another".into()), ..right.clone() },
        Answered { version: "1.0.1".into(), ..right.clone() },
        Answered {
            agent: id("pending"),
            challenge_sha256: digest(2),
            identity_key: agent("pending").identity.unwrap().identity_key,
            ..right
        },
    ];
    assert_eq!(stands(&wrong, 2).await, [].into());
}

async fn a_challenge_is_consumed_once(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let insert = async |agent: &str, n, s| {
        db.write(async |tx| challenge(tx, &[(agent, n, s)]).await).await[0]
    };
    for n in 0..3 {
        assert!(insert("a", n, 1).await);
    }
    assert!(!insert("a", 3, 1).await, "there are as many as there may be");
    assert!(!insert("a", 3, 30).await);
    assert!(insert("a", 3, 0).await, "those that end later do not count");
    assert!(insert("b", 3, 1).await);
    assert!(!insert("ghost", 9, 1).await);
    let consume = async |agent: &str, n, s| {
        db.write(async |tx| tx.handshakes().consume_challenge(&id(agent), digest(n), at(s)).await)
            .await
    };
    assert!(!consume("b", 0, 2).await, "another agent's challenge");
    assert!(consume("a", 0, 30).await);
    assert!(!consume("a", 0, 30).await);
    assert!(!consume("a", 1, 31).await, "too late");
    assert!(!consume("a", 1, 30).await, "gone, although it was too late");
    assert!(insert("a", 4, 31).await, "the others are over");
    assert_eq!(db.write(async |tx| tx.handshakes().purge_expired(at(31)).await).await, 3);
}

async fn the_last_challenge_takes_the_others_along(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let made = [("a", 0, 1), ("a", 1, 1), ("a", 2, 1), ("b", 0, 1)];
    assert_eq!(db.write(async |tx| challenge(tx, &made).await).await, [true; 4]);
    let consume = async |n, s| {
        let id = id("a");
        db.write(async |tx| tx.handshakes().consume_last_challenge(&id, digest(n), at(s)).await)
            .await
    };
    assert!(!consume(9, 2).await, "none of its challenges");
    assert!(consume(1, 2).await);
    assert!(!consume(1, 2).await && !consume(0, 2).await && !consume(2, 2).await);
    let other = id("b");
    assert!(
        db.write(async |tx| tx.handshakes().consume_challenge(&other, digest(0), at(2)).await)
            .await,
        "another agent's stays"
    );
}

async fn continuations_are_replaced(db: Db) {
    insert_agents(&db, &["a"]).await;
    let read = async || {
        let mut reader = db.store.read("read").await.unwrap();
        reader.handshakes().applicant(&id("a")).await.unwrap().unwrap().1
    };
    assert_eq!(read().await, None);
    let first = Continuation { current: Sha256::of(b"1"), previous: None };
    let second = Continuation { current: Sha256::of(b"2"), previous: Some(first.current) };
    for continuation in [first, second] {
        db.write(async |tx| tx.handshakes().set_continuations(&[(&id("a"), continuation)])).await;
        assert_eq!(read().await, Some(continuation));
    }
}
