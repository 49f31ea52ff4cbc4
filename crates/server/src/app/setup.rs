//! The first start: organisation, account, and the key of the first administrator.

use std::{fs, path::Path};

use argosy_config::failpoint::failpoint;
use argosy_domain::{access::Role, audit::AuditAction, digest::Sha256, id::OrgId};
use argosy_store::NewApiKey;
use argosy_wire::token::{ApiKeyOf, ApiKeyString};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    seal::write_private,
};

/// Set once the first start is complete.
const INITIALISED: &str = "initialised";

impl App {
    /// Makes what a new store needs. The administrator's key is written to `admin_key` before it
    /// is stored: a crash in between leaves a file that the next start replaces.
    pub async fn initialise(&self, admin_key: &Path) -> AppResult<bool> {
        let org = OrgId::default_org();
        let mut tx = self.store().write("setup").await?;
        // Of two servers that start at once the second waits here for what the first one makes.
        tx.orgs().ensure_default(self.now()).await?;
        if tx.settings().get(None, INITIALISED).await?.is_some() {
            return Ok(false);
        }
        let secret: ApiKeyString = self.fresh_key(ApiKeyOf::Operator);
        let key = NewApiKey {
            id: secret.id.clone(),
            org: org.clone(),
            agent: None,
            owner: "user:admin".to_owned(),
            name: "admin.key".to_owned(),
            scopes: Role::Admin.scopes(),
            secret_sha256: Sha256::of(secret.secret.expose()),
            created_at: self.now(),
            expires_at: None,
        };
        write_private(admin_key, &secret.reveal()).map_err(AppError::internal)?;
        let origin = Origin::default();
        self.store_key(&mut tx, "server", &origin, &key).await?;
        let event = Event {
            action: AuditAction::ServerInitialised,
            org: &org,
            target: None,
            detail: json!({ "server": self.keyring().thumbprint() }),
        };
        self.record(&mut tx, "server", &origin, event).await?;
        tx.settings().put(None, INITIALISED, &self.now().to_string()).await?;
        failpoint("initialise", "before_commit");
        tx.commit().await?;
        failpoint("initialise", "after_commit");
        Ok(true)
    }

    /// Removes what is over: challenges, sessions, remembered proofs. Returns how many rows.
    pub async fn purge_expired(&self) -> AppResult<u64> {
        let now = self.now();
        let mut tx = self.store().write("purge").await?;
        let challenges = tx.handshakes().purge_expired(now).await?;
        let mut sessions = tx.sessions().purge_expired(now).await?;
        sessions += tx.user_sessions().purge_expired(now).await?;
        let proofs = tx.sessions().purge_proofs(now).await?;
        tx.authorities().purge().await?;
        tx.commit().await?;
        Ok(challenges + sessions + proofs + self.purge_security().await?)
    }
}

/// Whether the administrator's key file is there.
pub fn admin_key_exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
