//! `argosyd keys show`, `argosyd keys rotate`, `argosyd keys reset` and `argosyd user-link`: by whoever may read the master
//! key.
//!
//! A rotation works while a server runs on the same store, which then takes the new keys up by itself, and
//! while none does. *Invariant:* it makes no first keys; a store without keys is refused.

use std::{sync::Arc, time::Duration};

use argosy_config::host::{OsEntropy, SystemClock};
use argosy_domain::access::Caller;
use argosy_store::{Store, StoreError};
use argosy_wire::bytes::Bytes32;

use crate::{
    app::{
        App, Origin, Parts,
        error::AppError,
        hasher::TokenHasher,
        keyring::{KeyInfo, Keyring, KeyringError},
        limits::FailureLimiter,
        replica::DEAD_AFTER,
        rotation::reset_keys,
        seal::{SealError, Sealer},
    },
    config::Settings,
    start::{StartError, lock, open_store, rules},
};

/// What is rotated unless said otherwise.
pub const USES: [&str; 2] = ["session", "command"];

/// Why nothing was rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The store could not be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// There is nothing to rotate.
    #[error("there is no server here yet: {0}")]
    NotInitialised(&'static str),
    /// Keys cannot be taken from under a server.
    #[error("a server runs on this store: end every one first")]
    Running,
    /// The master key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The keys.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The rotation itself.
    #[error("{0}")]
    App(#[from] AppError),
}

async fn migrated_store(settings: &Settings) -> Result<Store, RotateError> {
    let store = open_store(settings).await?;
    if store.migrations_missing().await? > 0 {
        return Err(RotateError::NotInitialised("run argosyd migrate up, or start argosyd"));
    }
    Ok(store)
}

/// New keys of every use, for which nothing of before vouches, under a new master key. Enrolment
/// tokens of before are revoked. Returns the ids of the keys. Refused while a server runs on the
/// store: it would go on under the old keys.
pub async fn reset(settings: &Settings) -> Result<Vec<String>, RotateError> {
    let _alone = lock(settings)?;
    let store = migrated_store(settings).await?;
    if store.read("server_keys.any").await?.server_keys().list().await?.is_empty() {
        return Err(RotateError::NotInitialised("start argosyd once, or name its data directory"));
    }
    let entropy = Arc::new(OsEntropy);
    nobody_serves(&store).await?;
    let sealer = Sealer::replace(&settings.master_key(), entropy.as_ref())?;
    let given = settings.configured_session_secret();
    let made = reset_keys(&store, &sealer, Arc::new(SystemClock), entropy, given.as_ref()).await;
    store.close().await;
    Ok(made?)
}

/// Servers that share the store have ended, or end now: one that was killed is taken for running a
/// little longer.
async fn nobody_serves(store: &Store) -> Result<(), RotateError> {
    let patience = tokio::time::Instant::now() + DEAD_AFTER * 2;
    while store.read("replicas.alive").await?.replicas().count_alive(DEAD_AFTER).await? > 0 {
        if tokio::time::Instant::now() >= patience {
            return Err(RotateError::Running);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// The use cases over the store of the settings, which a running server may have open too.
async fn beside(settings: &Settings) -> Result<App, RotateError> {
    if !settings.master_key().exists() {
        return Err(RotateError::NotInitialised("start argosyd once, or name its data directory"));
    }
    let store = migrated_store(settings).await?;
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(OsEntropy));
    let sealer = Sealer::open(&settings.master_key(), entropy.as_ref())?;
    let keyring = Keyring::load(&store, &sealer).await?;
    Ok(App::new(Parts {
        store,
        clock,
        entropy,
        keyring: keyring.into(),
        sealer,
        hasher: TokenHasher::new(1),
        failures: FailureLimiter::new(settings.failures_per_minute),
        rules: rules(settings, settings.public_urls(settings.listen)),
    }))
}

/// Makes a code with which somebody becomes an administrator, once, within an hour. The first part
/// is the address at which the console takes it.
pub async fn user_link(settings: &Settings) -> Result<(String, String), RotateError> {
    let app = beside(settings).await?;
    let made = app.make_setup_code().await;
    app.close().await;
    let url = app.rules().public_urls.first().cloned().unwrap_or_default();
    Ok((url, made?))
}

/// The thumbprint of the identity key, which agents pin.
pub async fn pin(settings: &Settings) -> Result<Bytes32, RotateError> {
    let app = beside(settings).await?;
    let pin = app.keyring().thumbprint();
    app.close().await;
    Ok(pin)
}

/// Replaces the keys of the uses named, and says how all keys stand now.
pub async fn rotate(settings: &Settings, uses: &[String]) -> Result<Vec<KeyInfo>, RotateError> {
    let app = beside(settings).await?;
    let rotated = app.rotate_keys(&Caller::Server, &Origin::default(), uses).await;
    app.close().await;
    let now = app.now();
    Ok(rotated?.into_iter().filter(|key| key.not_after.is_none_or(|end| end > now)).collect())
}
