//! Accounts: the cloud accounts and sites of an organisation.
//!
//! *Invariant:* an organisation always has its first account, which is that of whoever names none.

use argosy_domain::{
    access::{Caller, Permission},
    account::Account,
    audit::AuditAction,
    id::{AccountId, OrgId},
    text,
};
use argosy_store::{StoreError, Tx};
use argosy_wire::rest::accounts::{CreateAccount, UpdateAccount};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
};

/// Regions of an account.
const REGIONS_MAX: usize = 100;
/// Characters of a region's name.
const REGION_CHARS_MAX: usize = 64;

/// An empty text is none.
fn optional(field: &'static str, text: Option<&str>) -> AppResult<Option<String>> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    text.map(text::name).transpose().map_err(|error| AppError::field(field, error))
}

fn regions(given: &[String]) -> AppResult<Vec<String>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = |region: &String| {
        (1..=REGION_CHARS_MAX).contains(&region.len()) && region.chars().all(plain)
    };
    if given.len() > REGIONS_MAX || !given.iter().all(fits) {
        let rule = "must be at most 100, each 1 to 64 of a-z A-Z 0-9 - _ .";
        return Err(AppError::field("regions", rule));
    }
    Ok(given.to_vec())
}

fn taken(error: StoreError) -> AppError {
    if matches!(error, StoreError::Conflict { what: "account_name" }) {
        return AppError::wrong_state("there is an account of that name");
    }
    error.into()
}

fn in_use(error: StoreError) -> AppError {
    if matches!(error, StoreError::BrokenReference) {
        let why = "agents, tokens or resources belong to the account";
        return AppError::wrong_state(why);
    }
    error.into()
}

impl App {
    /// The account of those who name none: the organisation's first.
    pub(crate) async fn first_account(&self, org: &OrgId) -> AppResult<AccountId> {
        if *org == OrgId::default_org() {
            return Ok(AccountId::DEFAULT);
        }
        let first = self.store().read("accounts.first").await?.accounts().first(org).await?;
        first.ok_or_else(|| AppError::not_found("account"))
    }

    /// The accounts of the caller's organisation.
    pub async fn list_accounts(&self, caller: &Caller) -> AppResult<Vec<Account>> {
        let org = Self::own_org(caller, Permission::AccountsRead)?;
        Ok(self.store().read("accounts.list").await?.accounts().list(org).await?)
    }

    /// One account.
    pub async fn show_account(&self, caller: &Caller, id: AccountId) -> AppResult<Account> {
        let org = Self::own_org(caller, Permission::AccountsRead)?;
        let account = self.store().read("accounts.show").await?.accounts().get(org, id).await?;
        account.ok_or_else(|| AppError::not_found("account"))
    }

    /// Makes an account.
    pub async fn create_account(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: &CreateAccount,
    ) -> AppResult<Account> {
        let org = Self::own_org(caller, Permission::AccountsCreate)?;
        let name = text::name(&request.name).map_err(|error| AppError::field("name", error))?;
        let provider = optional("provider", request.provider.as_deref())?;
        let external = optional("external_id", request.external_id.as_deref())?;
        let regions = regions(&request.regions)?;
        let (provider, external) = (provider.as_deref(), external.as_deref());
        let mut tx = self.store().write("accounts.create").await?;
        let made = tx.accounts().create(org, &name, provider, external, &regions, self.now()).await;
        let account = made.map_err(taken)?;
        self.record_account(&mut tx, caller, origin, (AuditAction::AccountCreated, &account))
            .await?;
        tx.commit().await?;
        Ok(account)
    }

    /// Changes an account; what is absent stays, and an empty text takes away.
    pub async fn update_account(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: AccountId,
        request: &UpdateAccount,
    ) -> AppResult<Account> {
        let org = Self::own_org(caller, Permission::AccountsUpdate)?;
        let mut tx = self.store().write("accounts.update").await?;
        let before = tx.accounts().get(org, id).await?;
        let before = before.ok_or_else(|| AppError::not_found("account"))?;
        let mut account = before.clone();
        if let Some(name) = &request.name {
            account.name = text::name(name).map_err(|error| AppError::field("name", error))?;
        }
        if let Some(provider) = &request.provider {
            account.provider = optional("provider", Some(provider))?;
        }
        if let Some(external) = &request.external_id {
            account.external_id = optional("external_id", Some(external))?;
        }
        if let Some(given) = &request.regions {
            account.regions = regions(given)?;
        }
        if account != before {
            tx.accounts().save(&account).await.map_err(taken)?;
            let what = (AuditAction::AccountUpdated, &account);
            self.record_account(&mut tx, caller, origin, what).await?;
        }
        tx.commit().await?;
        Ok(account)
    }

    /// Deletes an account that nothing belongs to.
    pub async fn delete_account(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: AccountId,
    ) -> AppResult<()> {
        let org = Self::own_org(caller, Permission::AccountsDelete)?;
        let mut tx = self.store().write("accounts.delete").await?;
        let account = tx.accounts().get(org, id).await?;
        let account = account.ok_or_else(|| AppError::not_found("account"))?;
        if tx.accounts().first(org).await? == Some(id) {
            let why = "the first account is that of whoever names none, and stays";
            return Err(AppError::wrong_state(why));
        }
        tx.accounts().delete(org, id).await.map_err(in_use)?;
        self.record_account(&mut tx, caller, origin, (AuditAction::AccountDeleted, &account))
            .await?;
        tx.commit().await.map_err(in_use)
    }

    async fn record_account(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        origin: &Origin,
        (action, account): (AuditAction, &Account),
    ) -> AppResult<()> {
        let event = Event {
            action,
            org: &account.org,
            target: Some(format!("account:{}", account.id)),
            detail: json!({
                "name": account.name, "provider": account.provider,
                "external_id": account.external_id, "regions": account.regions,
            }),
        };
        self.record(tx, &caller.actor(), origin, event).await
    }
}
