//! Accounts.

use argosy_domain::{
    access::{Caller, Permission},
    account::Account,
    id::{AccountId, OrgId},
};

use super::{
    App,
    error::{AppError, AppResult},
};

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
}
