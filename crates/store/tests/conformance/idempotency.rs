//! Writes with an idempotency key: one claim, one effect, one answer.

use argosy_domain::digest::Sha256;
use argosy_store::{AskedWrite, Claim, Claimed, Keeping, StoreError, within};

use crate::common::{Db, at, conformance, id, org};

conformance!(
    a_write_is_claimed_once_and_its_answer_kept,
    what_was_given_up_is_taken_over_and_fenced,
    what_was_carried_out_is_never_begun_again,
    writes_are_the_callers_own_and_bounded,
    old_writes_are_forgotten,
);

fn asked(caller: &str, key: &str, request: &str) -> AskedWrite {
    let request_sha256 = Sha256::of(request.as_bytes());
    AskedWrite { org: org(), caller: caller.into(), key: key.into(), request_sha256 }
}

/// At second `now`: kept for 1,000 seconds, given up after 100.
fn keeping(now: i64) -> Keeping {
    Keeping {
        now: at(now),
        kept_since: at(now - 1_000),
        given_up_before: at(now - 100),
        writes_max: 3,
    }
}

async fn claim(db: &Db, asked: &AskedWrite, now: i64) -> Claimed {
    db.write(async |tx| tx.idempotent_writes().claim(asked, keeping(now)).await).await
}

async fn taken(db: &Db, asked: &AskedWrite, now: i64) -> Claim {
    let claimed = claim(db, asked, now).await;
    let Claimed::Taken(claim) = claimed else { panic!("{claimed:?}") };
    claim
}

async fn keep(db: &Db, claim: &Claim, answer: Option<&[u8]>) -> bool {
    db.write(async |tx| tx.idempotent_writes().keep(claim, answer).await).await
}

async fn forget(db: &Db, claim: &Claim, carried_out: bool) -> bool {
    db.write(async |tx| tx.idempotent_writes().forget(claim, carried_out).await).await
}

/// Makes an organisation under a claim.
async fn make(db: &Db, claim: &Claim, name: &str) -> Result<(), StoreError> {
    within(claim.clone(), async {
        let mut tx = db.store.write("test").await?;
        tx.orgs().create(&id(name), name, at(1)).await?;
        tx.commit().await
    })
    .await
}

async fn exists(db: &Db, name: &str) -> bool {
    db.store.read("test").await.unwrap().orgs().exists(&id(name)).await.unwrap()
}

async fn a_write_is_claimed_once_and_its_answer_kept(db: Db) {
    let write = asked("key:a", "k", "make");
    let first = taken(&db, &write, 1_000).await;
    assert_eq!(claim(&db, &write, 1_001).await, Claimed::Running);
    assert_eq!(claim(&db, &asked("key:a", "k", "break"), 1_001).await, Claimed::Another);
    make(&db, &first, "made").await.unwrap();
    assert_eq!(claim(&db, &write, 1_002).await, Claimed::Done(None));
    assert!(keep(&db, &first, Some(b"sealed")).await);
    assert_eq!(claim(&db, &write, 1_999).await, Claimed::Done(Some(b"sealed".to_vec())));
    assert_eq!(claim(&db, &asked("key:a", "k", "break"), 1_999).await, Claimed::Another);
}

async fn what_was_given_up_is_taken_over_and_fenced(db: Db) {
    let write = asked("key:a", "k", "make");
    let late = taken(&db, &write, 1_000).await;
    assert_eq!(claim(&db, &write, 1_100).await, Claimed::Running);
    let second = taken(&db, &write, 1_101).await;
    assert_eq!(claim(&db, &write, 1_102).await, Claimed::Running);
    let refused = make(&db, &late, "late").await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { what: "idempotency_claim" }), "{refused}");
    assert!(!exists(&db, "late").await, "another attempt has the claim");
    assert!(!keep(&db, &late, Some(b"late")).await);
    assert!(!forget(&db, &late, true).await);
    make(&db, &second, "made").await.unwrap();
    assert!(exists(&db, "made").await);
    // Given up by whoever has it, it begins anew for whoever asks next, also with another request.
    let other = asked("key:a", "other", "make");
    let refused = taken(&db, &other, 1_000).await;
    assert!(forget(&db, &refused, false).await);
    taken(&db, &asked("key:a", "other", "break"), 1_001).await;
}

async fn what_was_carried_out_is_never_begun_again(db: Db) {
    let write = asked("key:a", "k", "make");
    let first = taken(&db, &write, 1_000).await;
    make(&db, &first, "made").await.unwrap();
    make(&db, &first, "and-more").await.unwrap();
    assert!(!forget(&db, &first, false).await, "it was carried out");
    // Its server died before it answered; nobody begins it again, however late it is.
    assert_eq!(claim(&db, &write, 1_900).await, Claimed::Done(None));
    let refused = taken(&db, &asked("key:a", "refused", "make"), 1_000).await;
    make(&db, &refused, "noted").await.unwrap();
    assert!(forget(&db, &refused, true).await);
}

async fn writes_are_the_callers_own_and_bounded(db: Db) {
    taken(&db, &asked("key:a", "k", "make"), 1_000).await;
    taken(&db, &asked("key:b", "k", "break"), 1_000).await;
    let last = taken(&db, &asked("key:a", "l", "make"), 1_000).await;
    assert_eq!(claim(&db, &asked("key:a", "m", "make"), 1_000).await, Claimed::Full);
    assert_eq!(claim(&db, &asked("key:a", "k", "make"), 1_000).await, Claimed::Running);
    let other = AskedWrite { org: id("other"), ..asked("key:a", "k", "make") };
    db.write(async |tx| tx.orgs().create(&id("other"), "Other", at(1)).await).await;
    taken(&db, &other, 1_000).await;
    assert!(forget(&db, &last, true).await);
    taken(&db, &asked("key:a", "m", "make"), 1_000).await;
}

async fn old_writes_are_forgotten(db: Db) {
    let write = asked("key:a", "k", "make");
    let first = taken(&db, &write, 1_000).await;
    assert!(keep(&db, &first, Some(b"sealed")).await);
    // Over, and not purged yet: another request may use the key.
    let again = taken(&db, &asked("key:a", "k", "break"), 2_001).await;
    assert!(!keep(&db, &first, Some(b"late")).await);
    assert!(keep(&db, &again, None).await);
    taken(&db, &asked("key:a", "old", "make"), 1_000).await;
    let gone = db.write(async |tx| tx.idempotent_writes().purge(at(1_001)).await).await;
    assert_eq!(gone, 1);
    taken(&db, &asked("key:a", "old", "make"), 1_002).await;
}
