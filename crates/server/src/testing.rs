//! An application over a store of its own, for the tests of this crate.

use std::{num::NonZeroU32, sync::Arc};

use argosy_config::host::{OsEntropy, SystemClock};
use argosy_domain::{
    access::Scopes,
    agent::{Agent, AgentState, Approval, Decider},
    digest::Sha256,
    id::{AccountId, AgentId, OrgId},
    labels::Labels,
    limits::FAILURES_PER_MINUTE_MAX,
    review::KeyDelivery,
    time::Timestamp,
};
use argosy_store::{ApiKey, Options, Store, Target};

use crate::app::{
    App, Parts, Rules, hasher::TokenHasher, keyring::Keyring, limits::FailureLimiter, seal::Sealer,
};

/// The origin under which agents of a test name the server, wherever it listens.
pub(crate) const PUBLIC_URL: &str = "http://argosy.test";

/// An application and the directory that it lives in.
pub(crate) struct TestApp {
    pub(crate) app: App,
    /// The first administrator's key.
    pub(crate) admin_key: String,
    _dir: tempfile::TempDir,
}

/// A fresh application on SQLite, initialised.
pub(crate) async fn test_app() -> TestApp {
    let dir = tempfile::tempdir().unwrap();
    let store = Target::Sqlite(dir.path().join("argosy.db"));
    let store = Store::open(store, Options::default()).await.unwrap();
    store.migrate().await.unwrap();
    let sealer = Sealer::open(&dir.path().join("master.key"), &OsEntropy).unwrap();
    let keyring = Keyring::open(&store, &sealer, &OsEntropy, &SystemClock, None).await.unwrap();
    let app = App::new(Parts {
        store,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
        keyring: keyring.into(),
        sealer,
        hasher: TokenHasher::new(2),
        failures: FailureLimiter::new(NonZeroU32::new(FAILURES_PER_MINUTE_MAX).unwrap()),
        rules: Rules {
            public_urls: vec![PUBLIC_URL.to_owned()],
            auto_approve_agents: false,
            heartbeat_interval_s: 60,
            check_in_wait: std::time::Duration::from_secs(30),
            check_ins_waiting_max: 100,
            trusted_proxies: Vec::new(),
        },
    });
    let admin_key = dir.path().join("admin.key");
    assert!(app.initialise(&admin_key).await.unwrap());
    let admin_key = std::fs::read_to_string(admin_key).unwrap().trim().to_owned();
    TestApp { app, admin_key, _dir: dir }
}

/// The key of an agent, in no store.
pub(crate) fn agent_key(id: &str, agent: &AgentId) -> ApiKey {
    ApiKey {
        id: id.parse().unwrap(),
        org: OrgId::default_org(),
        agent: Some(agent.clone()),
        owner: format!("agent:{agent}"),
        name: "test".to_owned(),
        scopes: Scopes::default(),
        secret_sha256: Sha256::of(b"secret"),
        created_at: Timestamp::from_seconds(1),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        minted: None,
    }
}

/// An approved agent of assurance `api_key`, in no store.
pub(crate) fn agent(id: &str) -> Agent {
    let at = Timestamp::from_seconds(1);
    Agent {
        id: id.parse().unwrap(),
        org: OrgId::default_org(),
        account: AccountId::DEFAULT,
        name: id.to_owned(),
        state: AgentState::Approved(Approval {
            by: Decider("test".to_owned()),
            at,
            fingerprint: None,
        }),
        identity: None,
        version: None,
        platform: None,
        hostname: None,
        labels: Labels::default(),
        token: None,
        source: None,
        registered_at: at,
        epoch: 1,
        key_delivery: KeyDelivery::Direct,
        last_origin: None,
        review: None,
    }
}
