//! Accounts.

use argosy_domain::{
    access::{Caller, Permission},
    account::Account,
};

use super::{App, error::AppResult};

impl App {
    /// The accounts of the caller's organisation.
    pub async fn list_accounts(&self, caller: &Caller) -> AppResult<Vec<Account>> {
        let org = Self::own_org(caller, Permission::AccountsRead)?;
        Ok(self.store().read("accounts.list").await?.accounts().list(org).await?)
    }
}
