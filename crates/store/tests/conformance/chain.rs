//! The chain of the audit log: places, sealers against each other, crashes, tampering.

use argosy_domain::{
    audit::AuditAction,
    chain::{BrokenChain, ChainHead, ChainPosition, ChainWalk},
    id::OrgId,
};
use argosy_store::{
    AuditEntry, AuditRow, CheckpointRow, KeyCertificate, Options, OrgChain, Store, StoreError,
    Target,
};

use crate::common::{Db, at, conformance, id, org};

conformance!(
    entries_get_their_places_in_the_order_of_their_commits,
    a_transaction_that_commits_late_gets_a_later_place,
    of_two_sealers_one_fails_whole,
    many_writers_and_sealers_make_one_chain,
    a_crash_in_the_middle_of_sealing_leaves_nothing_half_done,
    organisations_have_chains_of_their_own,
    whatever_is_done_to_a_sealed_log_is_named,
    a_checkpoint_is_kept_once_and_only_for_what_is_sealed,
);

fn entry(name: &str) -> AuditEntry {
    AuditEntry {
        id: name.into(),
        org: org(),
        at: at(7),
        actor: "user:ada".into(),
        action: AuditAction::AgentApproved,
        target: Some(format!("agent:{name}")),
        detail: r#"{"k":"v"}"#.into(),
        source: None,
        trace_id: Some("t".into()),
    }
}

async fn record(db: &Db, names: &[&str]) {
    db.write(async |tx| {
        for name in names {
            tx.audit().record(&entry(name))?;
        }
        Ok(())
    })
    .await;
}

/// What a sealer reads before it seals, and what it makes of it.
struct Plan {
    from: ChainHead,
    entries: Vec<(String, ChainHead)>,
}

fn plan(org: &OrgId, chain: Option<OrgChain>, unsealed: &[AuditRow]) -> Plan {
    let from = chain.map_or_else(|| ChainHead::genesis(org), |chain| chain.head);
    let mut head = from;
    let place = |row: &AuditRow| {
        head = head.then(&row.chained());
        (row.id.clone(), head)
    };
    Plan { from, entries: unsealed.iter().map(place).collect() }
}

async fn look(store: &Store, org: &OrgId, limit: u32) -> Plan {
    let mut reader = store.read("look").await.unwrap();
    let chain = reader.audit().chain(org).await.unwrap();
    let unsealed = reader.audit().unsealed(org, limit).await.unwrap();
    plan(org, chain, &unsealed)
}

async fn carry_out(store: &Store, org: &OrgId, plan: &Plan) -> Result<(), StoreError> {
    let mut tx = store.write("seal").await?;
    tx.audit().seal(org, &plan.from, &plan.entries).await?;
    tx.commit().await
}

/// Seals until nothing waits, `limit` entries at a time; others may do the same.
async fn seal_all(store: &Store, org: &OrgId, limit: u32) {
    loop {
        let plan = look(store, org, limit).await;
        if plan.entries.is_empty() {
            return;
        }
        match carry_out(store, org, &plan).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Follows the stored chain to the end that it claims; the ids in their order.
async fn verify(db: &Db, org: &OrgId) -> Result<Vec<String>, BrokenChain> {
    let mut reader = db.store.read("verify").await.unwrap();
    let chain = reader.audit().chain(org).await.unwrap();
    let end = chain.map_or(ChainPosition(0), |chain| chain.head.position);
    let mut walk = ChainWalk::new(org.clone());
    let (mut after, mut ids) = (ChainPosition(0), Vec::new());
    loop {
        let page = reader.audit().sealed(org, after, end, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.head.position;
        for row in page {
            walk.accept(row.head.position, row.head.link, &row.entry.chained())?;
            ids.push(row.entry.id);
        }
    }
    walk.end(end)?;
    Ok(ids)
}

async fn entries_get_their_places_in_the_order_of_their_commits(db: Db) {
    record(&db, &["b", "a"]).await;
    record(&db, &["d"]).await;
    seal_all(&db.store, &org(), 2).await;
    record(&db, &["c"]).await;
    let mut undone = db.store.write("undone").await.unwrap();
    undone.audit().record(&entry("never")).unwrap();
    drop(undone);
    record(&db, &["e"]).await;
    seal_all(&db.store, &org(), 2).await;
    assert_eq!(verify(&db, &org()).await.unwrap(), ["b", "a", "d", "c", "e"]);
    let mut reader = db.store.read("rest").await.unwrap();
    assert!(reader.audit().unsealed_orgs().await.unwrap().is_empty());
}

/// Only PostgreSQL has two open transactions; SQLite has one writer.
async fn a_transaction_that_commits_late_gets_a_later_place(db: Db) {
    if matches!(db.target, Target::Sqlite(_)) {
        return;
    }
    let mut late = db.store.write("late").await.unwrap();
    late.audit().record(&entry("late")).unwrap();
    record(&db, &["early"]).await;
    seal_all(&db.store, &org(), 9).await;
    late.commit().await.unwrap();
    seal_all(&db.store, &org(), 9).await;
    assert_eq!(verify(&db, &org()).await.unwrap(), ["early", "late"]);
}

async fn of_two_sealers_one_fails_whole(db: Db) {
    let own = org();
    for round in [["a", "b"], ["c", "d"]] {
        record(&db, &round).await;
        let (mine, theirs) = (look(&db.store, &org(), 9).await, look(&db.store, &org(), 1).await);
        let (first, second) =
            tokio::join!(carry_out(&db.store, &own, &mine), carry_out(&db.store, &own, &theirs));
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        for refused in [first, second].into_iter().filter_map(Result::err) {
            assert!(matches!(refused, StoreError::Conflict { .. }), "{refused}");
        }
        let again = carry_out(&db.store, &org(), &mine).await;
        assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
        seal_all(&db.store, &org(), 9).await;
    }
    assert_eq!(verify(&db, &org()).await.unwrap(), ["a", "b", "c", "d"]);
    // A spoilt transaction commits nothing, not even what it did before.
    let stale = look(&db.store, &org(), 9).await;
    let mut tx = db.store.write("spoilt").await.unwrap();
    tx.settings().put(None, "spoilt", "x").await.unwrap();
    let gone = [("nobody".to_owned(), stale.from)];
    assert!(tx.audit().seal(&org(), &stale.from, &gone).await.is_err());
    assert!(matches!(tx.commit().await, Err(StoreError::Aborted)));
    assert_eq!(verify(&db, &org()).await.unwrap().len(), 4);
}

async fn many_writers_and_sealers_make_one_chain(db: Db) {
    const WRITERS: usize = 6;
    const ENTRIES: usize = 10;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let db = db.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..ENTRIES {
                record(&db, &[&format!("w{writer}-{n}-a"), &format!("w{writer}-{n}-b")]).await;
                seal_all(&db.store, &org(), 7).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    seal_all(&db.store, &org(), 7).await;
    let ids = verify(&db, &org()).await.unwrap();
    assert_eq!(ids.len(), WRITERS * ENTRIES * 2);
    for writer in 0..WRITERS {
        let prefix = format!("w{writer}-");
        let own: Vec<_> = ids.iter().filter(|id| id.starts_with(&prefix)).collect();
        let order = (0..ENTRIES).flat_map(|n| ["a", "b"].map(|part| format!("{prefix}{n}-{part}")));
        assert!(own.into_iter().eq(&order.collect::<Vec<_>>()), "{ids:?}");
    }
}

async fn a_crash_in_the_middle_of_sealing_leaves_nothing_half_done(db: Db) {
    record(&db, &["a", "b", "c"]).await;
    let first = look(&db.store, &org(), 1).await;
    carry_out(&db.store, &org(), &first).await.unwrap();
    let second = look(&db.store, &org(), 9).await;
    let mut tx = db.store.write("seal").await.unwrap();
    tx.audit().seal(&org(), &second.from, &second.entries).await.unwrap();
    drop(tx);
    db.store.close().await;
    let store = Store::open(db.target.clone(), Options::default()).await.unwrap();
    let again = look(&store, &org(), 9).await;
    assert_eq!((again.from, &again.entries), (second.from, &second.entries), "the same links");
    seal_all(&store, &org(), 1).await;
    let db = Db { store, target: db.target };
    assert_eq!(verify(&db, &org()).await.unwrap(), ["a", "b", "c"]);
}

async fn organisations_have_chains_of_their_own(db: Db) {
    let other: OrgId = id("other");
    db.write(async |tx| tx.orgs().create(&other, "Other", at(1)).await).await;
    record(&db, &["a"]).await;
    db.write(async |tx| tx.audit().record(&AuditEntry { org: other.clone(), ..entry("x") })).await;
    record(&db, &["b"]).await;
    let orgs = db.store.read("orgs").await.unwrap().audit().unsealed_orgs().await.unwrap();
    assert_eq!(orgs.len(), 2);
    // An entry of another organisation cannot be put into a chain.
    let mine = look(&db.store, &org(), 9).await;
    let theirs = look(&db.store, &other, 9).await;
    let mixed = Plan { from: theirs.from, entries: mine.entries };
    assert!(carry_out(&db.store, &other, &mixed).await.is_err());
    for org in &orgs {
        seal_all(&db.store, org, 9).await;
    }
    assert_eq!(verify(&db, &org()).await.unwrap(), ["a", "b"]);
    assert_eq!(verify(&db, &other).await.unwrap(), ["x"]);
}

async fn whatever_is_done_to_a_sealed_log_is_named(db: Db) {
    let names = ["a", "b", "c", "d", "e"];
    record(&db, &names).await;
    seal_all(&db.store, &org(), 2).await;
    let blamed = async |position: u64, what: &str| {
        let broken = verify(&db, &org()).await.expect_err(what);
        assert_eq!(broken.position(), ChainPosition(position), "{what}: {broken}");
    };
    for column in ["actor", "action", "target", "detail", "trace_id"] {
        let set = |value: &str| format!("UPDATE audit_entries SET {column} = {value}");
        db.raw(&format!("{} WHERE id = 'c'", set(&format!("{column} || ' '")))).await;
        blamed(3, column).await;
        db.raw(&format!("{} WHERE id = 'c'", set(&format!("RTRIM({column})")))).await;
    }
    db.raw("UPDATE audit_entries SET at = at + 1 WHERE id = 'd'").await;
    blamed(4, "time").await;
    db.raw("UPDATE audit_entries SET at = at - 1, source = 'x' WHERE id = 'd'").await;
    blamed(4, "an added value").await;
    db.raw("UPDATE audit_entries SET source = NULL WHERE id = 'd'").await;
    assert_eq!(verify(&db, &org()).await.unwrap(), names, "as it was");
    // Two entries change places, with the links that stand there.
    db.raw(
        "UPDATE audit_entries SET id = CASE id WHEN 'b' THEN 'x' ELSE 'b' END,
         target = CASE id WHEN 'b' THEN 'agent:c' ELSE 'agent:b' END WHERE id IN ('b', 'c')",
    )
    .await;
    blamed(2, "another order").await;
    db.raw("DELETE FROM audit_entries WHERE position = 2").await;
    blamed(2, "a hole").await;
    db.raw("DELETE FROM audit_entries").await;
    blamed(1, "nothing left").await;
}

async fn a_checkpoint_is_kept_once_and_only_for_what_is_sealed(db: Db) {
    record(&db, &["a", "b"]).await;
    seal_all(&db.store, &org(), 9).await;
    let signed = |text: &str| KeyCertificate { payload: text.into(), signature: vec![1; 64] };
    let row = |position, s| CheckpointRow {
        org: org(),
        position: ChainPosition(position),
        at: at(s),
        checkpoint: signed("checkpoint"),
        certificate: signed("certificate"),
    };
    let add = async |row: CheckpointRow| {
        let mut tx = db.store.write("checkpoint").await.unwrap();
        tx.audit().add_checkpoint(&row).await?;
        tx.commit().await
    };
    let uncovered = async || {
        let mut reader = db.store.read("uncovered").await.unwrap();
        reader.audit().uncovered_chains().await.unwrap()
    };
    assert_eq!(uncovered().await.len(), 1);
    assert!(add(row(3, 5)).await.is_err(), "nothing is there yet");
    add(row(2, 5)).await.unwrap();
    assert!(uncovered().await.is_empty());
    for again in [row(2, 6), row(1, 6)] {
        let refused = add(again).await;
        assert!(matches!(refused, Err(StoreError::Conflict { what: "audit_checkpoint" })));
    }
    record(&db, &["c"]).await;
    seal_all(&db.store, &org(), 9).await;
    let open = uncovered().await;
    assert_eq!(
        (open[0].checkpoint_position, open[0].checkpoint_at),
        (ChainPosition(2), Some(at(5)))
    );
    let mut reader = db.store.read("list").await.unwrap();
    let between = async |reader: &mut argosy_store::Reader, after, up_to| {
        let (after, up_to) = (ChainPosition(after), ChainPosition(up_to));
        reader.audit().checkpoints(&org(), after, up_to).await.unwrap()
    };
    assert_eq!(between(&mut reader, 0, 3).await, [row(2, 5)]);
    assert!(between(&mut reader, 2, 3).await.is_empty());
}
