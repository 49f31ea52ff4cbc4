//! Rotation of the server's own keys, and taking up what was rotated elsewhere.
//!
//! *Invariant:* a snapshot changes only to what is committed; what an old session secret or an old
//! certificate vouches for holds until its own end.

use std::sync::{Arc, PoisonError, RwLock};

use argosy_config::failpoint::failpoint;
use argosy_domain::{
    access::{Caller, Permission, Target},
    audit::AuditAction,
    entropy::Entropy,
    id::{IdSource, OrgId},
    time::{Clock, Timestamp},
};
use argosy_store::{AuditEntry, Store};
use argosy_wire::{problem::Code, token::Secret32};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    keyring::{KeyInfo, KeyUse, Keyring, KeyringError, RENEW_BEFORE, Vault, WARN_BEFORE},
    seal::Sealer,
    streams::CloseReason,
};

/// The keyring in force, replaced whole.
pub struct SharedKeyring {
    current: RwLock<Arc<Keyring>>,
}

impl From<Keyring> for SharedKeyring {
    fn from(keyring: Keyring) -> Self {
        Self { current: RwLock::new(Arc::new(keyring)) }
    }
}

impl SharedKeyring {
    /// The keys in force now. Work that signs and speaks of its signature keeps one snapshot.
    pub fn get(&self) -> Arc<Keyring> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, keyring: Keyring) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }
}

impl From<KeyringError> for AppError {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Store(error) => error.into(),
            KeyringError::TooMany | KeyringError::TooManySuccessions => Self::wrong_state(error),
            KeyringError::Seal(_) | KeyringError::Corrupt(_) => Self::internal(error),
        }
    }
}

/// Which uses a caller named. A new identity brings new certified keys by itself.
fn rotated_uses(names: &[String]) -> AppResult<Vec<KeyUse>> {
    let mut uses = Vec::new();
    for name in names {
        match KeyUse::of(name) {
            Some(key_use) => uses.push(key_use),
            None => return Err(AppError::field("uses", format!("knows no {name}"))),
        }
    }
    uses.sort_unstable();
    uses.dedup();
    if uses.contains(&KeyUse::Identity) {
        uses.retain(|key_use| !KeyUse::CERTIFIED.contains(key_use));
    }
    if uses.is_empty() { Err(AppError::field("uses", "must not be empty")) } else { Ok(uses) }
}

/// New keys of every use, for which nothing of before vouches. No server may run on the store. The
/// ids of the keys that were made.
pub async fn reset_keys(
    store: &Store,
    sealer: &Sealer,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    configured: Option<&Secret32>,
) -> Result<Vec<String>, KeyringError> {
    let now = clock.now();
    let vault = Vault { sealer, entropy: entropy.as_ref(), now };
    let mut tx = store.write("server_keys.reset").await?;
    let made = vault.begin_anew(&mut tx, configured).await?;
    let revoked = tx.tokens().revoke_all(now).await?;
    let entry = AuditEntry {
        id: IdSource::new(clock, entropy).uuid().to_string(),
        org: OrgId::default_org(),
        at: now,
        actor: Caller::Server.actor(),
        action: AuditAction::ServerKeysReset,
        target: None,
        detail: json!({ "keys": made, "tokens_revoked": revoked }).to_string(),
        source: None,
        trace_id: None,
    };
    tx.audit().record(&entry)?;
    tx.commit().await?;
    Ok(made)
}

impl App {
    /// Replaces the keys of the uses named and says how all keys stand now. The keys are the
    /// installation's: administrators of other organisations than the first do not see them.
    pub async fn rotate_keys(
        &self,
        caller: &Caller,
        origin: &Origin,
        names: &[String],
    ) -> AppResult<Vec<KeyInfo>> {
        let org = OrgId::default_org();
        let target = Target { org: &org, agent: None };
        Self::authorize(caller, Permission::ServerRotate, target, "route")?;
        let uses = rotated_uses(names)?;
        self.replace_keys(caller, origin, &uses, None).await?;
        self.refresh_keys().await?;
        Ok(self.keyring().describe(self.now())?)
    }

    /// With `ending`, only keys that end by then, as the store has them: another server may have
    /// been faster.
    async fn replace_keys(
        &self,
        caller: &Caller,
        origin: &Origin,
        uses: &[KeyUse],
        ending: Option<Timestamp>,
    ) -> AppResult<bool> {
        let vault = Vault { sealer: self.sealer(), entropy: self.entropy(), now: self.now() };
        let mut tx = self.store().write("server_keys.rotate").await?;
        let mut made = Vec::new();
        for key_use in uses {
            made.extend(vault.rotate(&mut tx, *key_use, ending).await?);
        }
        if made.is_empty() {
            return Ok(false);
        }
        let event = Event {
            action: AuditAction::ServerKeysRotated,
            org: &OrgId::default_org(),
            target: None,
            detail: json!({ "keys": made }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        failpoint("server_keys", "before_commit");
        tx.commit().await?;
        failpoint("server_keys", "after_commit");
        Ok(true)
    }

    /// How the server's keys stand.
    pub fn list_server_keys(&self, caller: &Caller) -> AppResult<Vec<KeyInfo>> {
        let org = OrgId::default_org();
        let target = Target { org: &org, agent: None };
        Self::authorize(caller, Permission::ServerRead, target, "route")?;
        Ok(self.keyring().describe(self.now())?)
    }

    /// Certificates that agents accept at this time, replaced keys' included; those of an identity
    /// that was succeeded are not.
    pub fn certified_keys(&self) -> AppResult<Vec<KeyInfo>> {
        let (now, keyring) = (self.now(), self.keyring());
        let mut keys = keyring.describe(now)?;
        keys.retain(|key| key.certified_by() == Some(keyring.thumbprint()) && key.holds_at(now));
        Ok(keys)
    }

    /// Takes up what was rotated by another process on the same store. Returns how often it did.
    /// With a new identity sessions and streams end: agents learn of it in their next handshake.
    pub async fn refresh_keys(&self) -> AppResult<u64> {
        let before = self.keyring();
        let Some(keyring) = before.reload(self.store(), self.sealer()).await? else {
            return Ok(0);
        };
        let succeeded = keyring.thumbprint() != before.thumbprint();
        self.shared_keyring().set(keyring);
        if succeeded {
            self.hub().close_all(CloseReason::SessionEnded);
        }
        Ok(1)
    }

    /// Replaces certified keys whose end is near. Returns how many.
    pub async fn renew_keys(&self) -> AppResult<u64> {
        let (keyring, now) = (self.keyring(), self.now());
        let mut renewed = 0;
        for (key_use, end) in keyring.due_within(RENEW_BEFORE, now) {
            let due = Some(now.plus(RENEW_BEFORE));
            match self.replace_keys(&Caller::Server, &Origin::default(), &[key_use], due).await {
                Ok(replaced) => renewed += u64::from(replaced),
                // Another server did it at the same time.
                Err(error) if error.code == Code::WrongState => {}
                Err(error) => {
                    warn_of_end(key_use, end, now);
                    return Err(error);
                }
            }
        }
        if renewed > 0 {
            self.refresh_keys().await?;
        }
        Ok(renewed)
    }

    /// Forgets session secrets that are over and the private parts of replaced keys. Returns how
    /// many.
    pub async fn retire_keys(&self) -> AppResult<u64> {
        let (keyring, now) = (self.keyring(), self.now());
        if !keyring.has_refuse(now) {
            return Ok(0);
        }
        let mut tx = self.store().write("server_keys.retire").await?;
        let mut retired = tx.server_keys().delete_ended(KeyUse::Session.as_str(), now).await?;
        for key_use in KeyUse::ERASED {
            if let Some(serial) = keyring.erasable(key_use, now) {
                retired += tx.server_keys().erase_below(key_use.as_str(), serial).await?;
            }
        }
        tx.commit().await?;
        self.refresh_keys().await?;
        Ok(retired)
    }
}

fn warn_of_end(key_use: KeyUse, end: Timestamp, now: Timestamp) {
    if end <= now.plus(WARN_BEFORE) {
        let key_use = key_use.as_str();
        tracing::error!(
            key_use,
            %end,
            "a key's certificate ends and could not be replaced: agents will refuse this server"
        );
    }
}
