//! API keys of users and services.

use std::time::Duration;

use argosy_domain::{
    access::{Caller, Permission, Scopes},
    audit::AuditAction,
    digest::Sha256,
    entropy::random_bytes,
    id::{ApiKeyId, OrgId},
    text,
    time::Timestamp,
    user::UserName,
};
use argosy_store::{ApiKey, KeyOwner, NewApiKey, Page, Tx};
use argosy_wire::{
    problem::Code,
    rest::keys::CreateKey,
    token::{ApiKeyOf, ApiKeyString, Secret32},
};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    paging::PageQuery,
};

/// Longest life of a key, in days.
const KEY_LIFE_DAYS_MAX: u32 = 3_650;

/// A key at the only moment at which it can be shown.
#[derive(Debug, Clone)]
pub struct MintedKey {
    /// What was made.
    pub key: NewApiKey,
    /// What it owes its life to.
    pub owner: Option<KeyOwner>,
    /// The string to hand over.
    pub secret: ApiKeyString,
}

impl MintedKey {
    /// The key as lists show it.
    pub fn into_record(self) -> ApiKey {
        let key = self.key;
        ApiKey {
            id: key.id,
            org: key.org,
            agent: key.agent,
            owner: key.owner,
            name: key.name,
            scopes: key.scopes,
            secret_sha256: key.secret_sha256,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: None,
            last_used_at: None,
            minted: self.owner,
        }
    }
}

/// Refuses what somebody mints who is losing the right to in this moment: owner and parent stay as
/// they are until the key is there, and then take it along.
async fn must_live(tx: &mut Tx, org: &OrgId, caller: &Caller, owner: &KeyOwner) -> AppResult<()> {
    let user = match caller {
        Caller::User { user, .. } => Some(user),
        Caller::Key { .. } | Caller::Agent { .. } | Caller::Server => owner.user.as_ref(),
    };
    let refused = || AppError::new(Code::Unauthenticated);
    if let Some(user) = user {
        let held = tx.users().hold(org, user).await?.ok_or_else(refused)?;
        if held.disabled_at.is_some() {
            return Err(refused());
        }
    }
    match &owner.parent {
        Some(parent) if !tx.api_keys().hold(org, parent).await? => Err(refused()),
        Some(_) | None => Ok(()),
    }
}

impl App {
    /// A fresh key, not stored yet.
    pub(crate) fn fresh_key(&self, of: ApiKeyOf) -> ApiKeyString {
        let secret = Secret32::new(random_bytes(self.entropy()));
        ApiKeyString { of, id: self.ids().fresh(), secret }
    }

    /// Mints a key for the caller's own owner, with no more than the caller has.
    pub async fn create_key(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: CreateKey,
    ) -> AppResult<MintedKey> {
        let org = Self::own_org(caller, Permission::KeysCreate)?;
        let scopes = Scopes::parse(request.scopes.iter().map(String::as_str))
            .map_err(|error| AppError::field("scopes", error))?;
        if scopes.iter().next().is_none() {
            return Err(AppError::field("scopes", "must not be empty"));
        }
        if !caller.scopes().cover(&scopes) {
            let detail = "nobody can mint a key with more than they have themselves";
            return Err(AppError::because(Code::Forbidden, detail));
        }
        let (now, ends_at) = (self.now(), self.end_of(caller).await?);
        let expires_at = match request.expires_in_days {
            None => ends_at,
            Some(days) if (1..=KEY_LIFE_DAYS_MAX).contains(&days) => {
                let asked = now.plus(Duration::from_secs(u64::from(days) * 86_400));
                Some(ends_at.map_or(asked, |end| asked.min(end)))
            }
            Some(_) => {
                let limit = format!("must be 1 to {KEY_LIFE_DAYS_MAX}");
                return Err(AppError::field("expires_in_days", limit));
            }
        };
        let service = request.service.as_deref().map(str::parse::<UserName>).transpose();
        let service = service.map_err(|error| AppError::field("service", error))?;
        let owner = self.owner_of(caller, service.is_some()).await?;
        let secret = self.fresh_key(ApiKeyOf::Operator);
        let key = NewApiKey {
            id: secret.id.clone(),
            org: org.clone(),
            agent: None,
            owner: match &service {
                Some(service) => format!("service:{service}"),
                None => caller.actor(),
            },
            name: text::name(&request.name).map_err(|error| AppError::field("name", error))?,
            scopes,
            secret_sha256: Sha256::of(secret.secret.expose()),
            created_at: now,
            expires_at,
        };
        let mut tx = self.store().write("keys.create").await?;
        must_live(&mut tx, org, caller, &owner).await?;
        self.store_key(&mut tx, &caller.actor(), origin, &key).await?;
        tx.api_keys().owe(org, &key.id, &owner).await?;
        tx.commit().await?;
        Ok(MintedKey { key, secret, owner: Some(owner) })
    }

    /// When the caller's own credential ends: what it mints ends no later.
    async fn end_of(&self, caller: &Caller) -> AppResult<Option<Timestamp>> {
        match caller {
            Caller::Key { key, .. } => {
                let found = self.store().read("keys.minter").await?.api_keys().find(key).await?;
                Ok(found.and_then(|key| key.expires_at))
            }
            // A key outlives the login with which its owner minted it, and dies with the owner.
            Caller::User { .. } | Caller::Agent { .. } | Caller::Server => Ok(None),
        }
    }

    /// What a key that `caller` mints owes its life to.
    async fn owner_of(&self, caller: &Caller, of_service: bool) -> AppResult<KeyOwner> {
        let created_by = caller.actor();
        match caller {
            Caller::Key { key, .. } => {
                let minter = self.store().read("keys.minter").await?.api_keys().find(key).await?;
                let user = minter.and_then(|minter| minter.minted).and_then(|minted| minted.user);
                let user = user.filter(|_| !of_service);
                Ok(KeyOwner { user, parent: Some(key.clone()), created_by })
            }
            Caller::User { user, .. } => {
                let user = (!of_service).then(|| user.clone());
                Ok(KeyOwner { user, parent: None, created_by })
            }
            Caller::Agent { .. } | Caller::Server => Err(AppError::new(Code::Forbidden)),
        }
    }

    /// Stores a key of a user or service with its audit entry.
    pub(crate) async fn store_key(
        &self,
        tx: &mut Tx,
        actor: &str,
        origin: &Origin,
        key: &NewApiKey,
    ) -> AppResult<()> {
        tx.api_keys().insert(key)?;
        let event = Event {
            action: AuditAction::KeyCreated,
            org: &key.org,
            target: Some(format!("key:{}", key.id)),
            detail: json!({
                "name": key.name, "owner": key.owner,
                "scopes": key.scopes.iter().collect::<Vec<_>>(), "expires_at": key.expires_at,
            }),
        };
        self.record(tx, actor, origin, event).await
    }

    /// The keys of users and services, newest first.
    pub async fn list_keys(&self, caller: &Caller, page: &PageQuery) -> AppResult<Page<ApiKey>> {
        let org = Self::own_org(caller, Permission::KeysRead)?;
        let mut reader = self.store().read("keys.list").await?;
        Ok(reader.api_keys().list(org, &page.request()?).await?)
    }

    /// One key of a user or service, without its secret.
    pub async fn show_key(&self, caller: &Caller, id: &ApiKeyId) -> AppResult<ApiKey> {
        let org = Self::own_org(caller, Permission::KeysRead)?;
        let key = self.store().read("keys.show").await?.api_keys().find(id).await?;
        let own = key.filter(|key| key.org == *org && key.agent.is_none());
        own.ok_or_else(|| AppError::not_found("key"))
    }

    /// Revokes a key; it dies with the answer.
    pub async fn revoke_key(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &ApiKeyId,
    ) -> AppResult<()> {
        let org: &OrgId = Self::own_org(caller, Permission::KeysRevoke)?;
        let mut tx = self.store().write("keys.revoke").await?;
        if !tx.api_keys().revoke(org, id, self.now()).await? {
            return Err(AppError::not_found("key"));
        }
        let target = Some(format!("key:{id}"));
        let event = Event { action: AuditAction::KeyRevoked, org, target, detail: json!({}) };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        Ok(tx.commit().await?)
    }
}
