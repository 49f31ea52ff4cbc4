//! Organisations, accounts, API keys, enrolment tokens, sessions.

use argosy_domain::{
    access::{Role, Scopes},
    account::Account,
    digest::Sha256,
    id::{AccountId, ApiKeyId, OrgId},
    token::{EnrolmentToken, Seats, TokenStatus},
};
use argosy_store::{
    ApiKey, NewApiKey, Organisation, OrganisationChange, PageRequest, Session, StoreError,
    TokenSecret,
};

use crate::common::{Db, at, conformance, id, insert_agents, labels, org};

conformance!(
    the_default_organisation_is_made_once,
    organisations_are_renamed_and_shut_out,
    accounts_are_numbered_over_all_organisations,
    accounts_change_and_go_when_nothing_belongs_to_them,
    keys_are_found_listed_and_revoked,
    uses_of_keys_are_noted_in_a_batch,
    tokens_survive_the_store,
    seats_are_never_sold_twice,
    a_dead_token_gives_no_seat,
    sessions_end_with_their_agent,
    a_proof_is_fresh_once,
);

async fn the_default_organisation_is_made_once(db: Db) {
    db.write(async |tx| tx.orgs().ensure_default(at(2)).await).await;
    let mut reader = db.store.read("test").await.unwrap();
    assert!(reader.orgs().exists(&org()).await.unwrap());
    assert!(!reader.orgs().exists(&id("other")).await.unwrap());
    let account = Account {
        id: AccountId::DEFAULT,
        org: org(),
        name: "default".into(),
        provider: None,
        external_id: None,
        organised_by: None,
        regions: vec![],
        created_at: at(1),
    };
    assert_eq!(reader.accounts().list(&org()).await.unwrap(), [account]);
}

async fn organisations_are_renamed_and_shut_out(db: Db) {
    let other: OrgId = id("other");
    db.write(async |tx| tx.orgs().create(&other, "Other", at(1)).await).await;
    assert_eq!(db.store.read("test").await.unwrap().orgs().disabled().await.unwrap(), []);
    let change = OrganisationChange { name: "Others".into(), disabled_at: Some(at(2)) };
    let changed = db
        .write(async |tx| {
            assert!(tx.orgs().hold(&id("nobody")).await?.is_none());
            assert_eq!(tx.orgs().hold(&other).await?.unwrap().disabled_at, None);
            assert!(tx.orgs().change(&id("nobody"), &change).await?.is_none());
            tx.orgs().change(&other, &change).await
        })
        .await;
    let expected = Organisation {
        id: other.clone(),
        name: "Others".into(),
        created_at: at(1),
        disabled_at: Some(at(2)),
    };
    assert_eq!(changed.as_ref(), Some(&expected));
    let mut reader = db.store.read("test").await.unwrap();
    assert_eq!(reader.orgs().disabled().await.unwrap(), std::slice::from_ref(&other));
    let page = PageRequest { limit: 10, after: None };
    assert_eq!(reader.orgs().list(&page).await.unwrap().items[0], expected);
    assert_eq!(reader.orgs().get(&other).await.unwrap(), Some(expected));
    assert_eq!(reader.orgs().get(&id("nobody")).await.unwrap(), None);
}

async fn accounts_are_numbered_over_all_organisations(db: Db) {
    let other: OrgId = id("other");
    let regions = ["eu-central-1".to_owned(), "\"odd\"".to_owned()];
    let (first, second) = db
        .write(async |tx| {
            tx.orgs().create(&other, "Other", at(1)).await?;
            let mut accounts = tx.accounts();
            let provider = Some("aws");
            let first =
                accounts.create(&org(), "prod", provider, Some("123"), &regions, at(2)).await?;
            Ok((first, accounts.create(&other, "prod", None, None, &[], at(3)).await?))
        })
        .await;
    assert_eq!((first.id, second.id), (AccountId(2), AccountId(3)));
    let mut reader = db.store.read("test").await.unwrap();
    assert_eq!(reader.accounts().get(&org(), first.id).await.unwrap().as_ref(), Some(&first));
    assert_eq!(first.regions, regions);
    assert_eq!(reader.accounts().get(&org(), second.id).await.unwrap(), None);
    drop(reader);
    let mut tx = db.store.write("test").await.unwrap();
    let twice = tx.accounts().create(&org(), "prod", None, None, &[], at(4)).await;
    assert!(matches!(twice, Err(StoreError::Conflict { what: "account_name" })), "{twice:?}");
}

async fn accounts_change_and_go_when_nothing_belongs_to_them(db: Db) {
    let made = db
        .write(async |tx| tx.accounts().create(&org(), "prod", None, None, &[], at(2)).await)
        .await;
    let changed = Account {
        name: "live".into(),
        provider: Some("gcp".into()),
        external_id: Some("p-1".into()),
        regions: vec!["europe-west3".into()],
        ..made.clone()
    };
    db.write(async |tx| tx.accounts().save(&changed).await).await;
    let get = async || {
        let mut reader = db.store.read("test").await.unwrap();
        reader.accounts().get(&org(), made.id).await.unwrap()
    };
    assert_eq!(get().await, Some(changed.clone()));
    let other = Account { org: id("other"), name: "theirs".into(), ..changed.clone() };
    db.write(async |tx| tx.accounts().save(&other).await).await;
    assert_eq!(get().await, Some(changed.clone()), "nobody else's");
    let mut tx = db.store.write("test").await.unwrap();
    let taken = Account { name: "default".into(), ..changed };
    let refused = tx.accounts().save(&taken).await;
    assert!(matches!(refused, Err(StoreError::Conflict { what: "account_name" })), "{refused:?}");
    drop(tx);
    insert_agents(&db, &["a"]).await;
    let mut tx = db.store.write("test").await.unwrap();
    let refused = tx.accounts().delete(&org(), AccountId::DEFAULT).await;
    assert!(matches!(refused, Err(StoreError::BrokenReference)), "{refused:?}");
    drop(tx);
    assert!(!db.write(async |tx| tx.accounts().delete(&id("other"), made.id).await).await);
    assert!(db.write(async |tx| tx.accounts().delete(&org(), made.id).await).await);
    assert_eq!(get().await, None);
}

fn new_key(name: &str, second: i64) -> NewApiKey {
    NewApiKey {
        id: id(name),
        org: org(),
        agent: None,
        owner: "user:ada".into(),
        name: "laptop".into(),
        scopes: Role::Operator.scopes(),
        secret_sha256: Sha256::of(name.as_bytes()),
        created_at: at(second),
        expires_at: Some(at(1_000)),
    }
}

async fn find(db: &Db, key: &str) -> Option<ApiKey> {
    db.store.read("find").await.unwrap().api_keys().find(&id(key)).await.unwrap()
}

async fn keys_are_found_listed_and_revoked(db: Db) {
    insert_agents(&db, &["a"]).await;
    let of_agent = |name| NewApiKey {
        agent: Some(id("a")),
        scopes: Scopes::default(),
        expires_at: None,
        ..new_key(name, 1)
    };
    db.write(async |tx| {
        let mut keys = tx.api_keys();
        for key in [new_key("k1", 1), new_key("k2", 2), of_agent("x1"), of_agent("x2")] {
            keys.insert(&key)?;
        }
        Ok(())
    })
    .await;
    let found = find(&db, "k1").await.unwrap();
    assert_eq!((&found.scopes, found.revoked_at), (&Role::Operator.scopes(), None));
    assert_eq!(found.secret_sha256, Sha256::of(b"k1"));
    assert_eq!(found.expires_at, Some(at(1_000)));
    assert_eq!(find(&db, "ghost").await, None);
    let mut reader = db.store.read("list").await.unwrap();
    let page = reader.api_keys().list(&org(), &PageRequest::first(9)).await.unwrap();
    let listed: Vec<_> = page.items.iter().map(|key| key.id.as_str()).collect();
    assert_eq!(listed, ["k2", "k1"], "agents' credentials are not in the list");
    drop(reader);
    let done = db
        .write(async |tx| {
            let mut keys = tx.api_keys();
            let stolen = keys.revoke(&id("other"), &id("k1"), at(5)).await?;
            let first = keys.revoke(&org(), &id("k1"), at(5)).await?;
            let again = keys.revoke(&org(), &id("k1"), at(6)).await?;
            Ok((stolen, first, again, keys.void_of_agent(&id("a"), at(7)).await?))
        })
        .await;
    assert_eq!(done, (false, true, false, 2));
    assert_eq!(find(&db, "k1").await.unwrap().revoked_at, Some(at(5)));
    assert_eq!(find(&db, "x2").await.unwrap().revoked_at, Some(at(7)));
    assert_eq!(find(&db, "k2").await.unwrap().revoked_at, None);
}

async fn uses_of_keys_are_noted_in_a_batch(db: Db) {
    db.write(async |tx| {
        tx.api_keys().insert(&new_key("k1", 1))?;
        tx.api_keys().insert(&new_key("k2", 2))
    })
    .await;
    let touch = async |uses: &[(&str, i64)]| {
        let uses: Vec<(ApiKeyId, _)> = uses.iter().map(|(key, s)| (id(key), at(*s))).collect();
        db.write(async |tx| tx.api_keys().touch(&uses).await).await;
    };
    touch(&[("k1", 9), ("k1", 5), ("k2", 7), ("ghost", 1)]).await;
    touch(&[("k1", 3)]).await;
    touch(&[]).await;
    assert_eq!(find(&db, "k1").await.unwrap().last_used_at, Some(at(9)));
    assert_eq!(find(&db, "k2").await.unwrap().last_used_at, Some(at(7)));
}

pub(crate) fn token(name: &str, seats: u32) -> EnrolmentToken {
    EnrolmentToken {
        id: id(name),
        org: org(),
        account: Some(AccountId::DEFAULT),
        name: "rack 7".into(),
        created_by: "user:ada".into(),
        created_at: at(10),
        expires_at: at(1_000),
        seats: Seats { used: 0, max: seats },
        auto_approve: true,
        require_proof: false,
        labels: labels([("rack", "7")]),
        revoked_at: None,
    }
}

pub(crate) async fn insert_token(db: &Db, token: &EnrolmentToken) {
    db.write(async |tx| tx.tokens().insert(token, "$argon2id$…", b"sealed").await).await;
}

async fn tokens_survive_the_store(db: Db) {
    let stored = token("t", 3);
    insert_token(&db, &stored).await;
    let secret = TokenSecret { hash: "$argon2id$…".into(), sealed_mac_key: b"sealed".to_vec() };
    assert!(!format!("{secret:?}").contains("argon2id"));
    let mut reader = db.store.read("find").await.unwrap();
    let found = reader.tokens().find(&id("t")).await.unwrap();
    assert_eq!(found, Some((stored.clone(), secret)));
    assert_eq!(reader.tokens().get(&id("other"), &id("t")).await.unwrap(), None);
    assert_eq!(reader.tokens().get(&org(), &id("t")).await.unwrap().as_ref(), Some(&stored));
    let page = reader.tokens().list(&org(), &PageRequest::first(9)).await.unwrap();
    assert_eq!(page.items, [stored]);
    drop(reader);
    let revoke =
        async |s| db.write(async |tx| tx.tokens().revoke(&org(), &id("t"), at(s)).await).await;
    assert_eq!(revoke(50).await.unwrap().revoked_at, Some(at(50)));
    let again = revoke(60).await.unwrap();
    assert_eq!(again.revoked_at, Some(at(50)));
    assert_eq!(again.status(at(60)), TokenStatus::Revoked);
    let ghost = db.write(async |tx| tx.tokens().revoke(&org(), &id("g"), at(1)).await).await;
    assert_eq!(ghost, None);
}

async fn seats_are_never_sold_twice(db: Db) {
    insert_token(&db, &token("t", 10)).await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write(async |tx| tx.tokens().take_seat(&id("t"), at(20)).await).await
            })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        taken += u32::from(task.await.unwrap());
    }
    assert_eq!(taken, 10);
    let mut reader = db.store.read("get").await.unwrap();
    let token = reader.tokens().get(&org(), &id("t")).await.unwrap().unwrap();
    assert_eq!(token.seats, Seats { used: 10, max: 10 });
}

async fn a_dead_token_gives_no_seat(db: Db) {
    insert_token(&db, &token("late", 5)).await;
    insert_token(&db, &EnrolmentToken { revoked_at: Some(at(11)), ..token("revoked", 5) }).await;
    let take = async |name: &str, s| {
        db.write(async |tx| tx.tokens().take_seat(&id(name), at(s)).await).await
    };
    assert!(take("late", 999).await);
    assert!(!take("late", 1_000).await);
    assert!(!take("revoked", 20).await);
    assert!(!take("ghost", 20).await);
}

async fn sessions_end_with_their_agent(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let session = |name: &str, agent: &str, until| Session {
        id: id(name),
        org: org(),
        agent: id(agent),
        jkt: "thumbprint".into(),
        epoch: 1,
        issued_at: at(1),
        expires_at: at(until),
        ended_at: None,
    };
    let ended = db
        .write(async |tx| {
            let mut sessions = tx.sessions();
            for session in [session("s1", "a", 100), session("s2", "a", 5), session("s3", "b", 100)]
            {
                sessions.insert(&[&session])?;
            }
            sessions.end_of_agent(&org(), &id("a"), at(10)).await
        })
        .await;
    assert_eq!(ended, 1, "the other one of this agent was over anyway");
    let mut reader = db.store.read("find").await.unwrap();
    let s1 = reader.sessions().find(&id("s1")).await.unwrap();
    assert_eq!(s1, Some(Session { ended_at: Some(at(10)), ..session("s1", "a", 100) }));
    assert_eq!(reader.sessions().find(&id("s3")).await.unwrap(), Some(session("s3", "b", 100)));
    drop(reader);
    assert_eq!(db.write(async |tx| tx.sessions().purge_expired(at(50)).await).await, 1);
}

async fn a_proof_is_fresh_once(db: Db) {
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let db = db.clone();
            let jti = Sha256::of(b"jti");
            tokio::spawn(async move {
                db.write(async |tx| tx.sessions().remember_proof(jti, at(100)).await).await
            })
        })
        .collect();
    let mut fresh = 0;
    for task in tasks {
        fresh += u32::from(task.await.unwrap());
    }
    assert_eq!(fresh, 1);
    assert_eq!(db.write(async |tx| tx.sessions().purge_proofs(at(100)).await).await, 1);
}
