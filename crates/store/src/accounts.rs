//! Accounts: cloud accounts and sites. Their numbers are one sequence over all organisations.

use argosy_domain::{
    account::Account,
    id::{AccountId, OrgId},
    time::Timestamp,
};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    value::{Row, Value},
};

const TABLE: &str = "accounts";

selection! {
    select = "accounts",
    "id, org_id, name, provider, external_id, regions, organised_by, created_at"
}

aggregate! {
    /// Accounts.
    Accounts
}

fn account(row: &Row) -> Result<Account, StoreError> {
    Ok(Account {
        id: row.get("id")?,
        org: row.get("org_id")?,
        name: row.get("name")?,
        provider: row.optional("provider")?,
        external_id: row.optional("external_id")?,
        regions: row.get("regions")?,
        organised_by: row.optional("organised_by")?,
        created_at: row.get("created_at")?,
    })
}

impl<A> Accounts<'_, A> {
    /// The account of that number, if it is the organisation's.
    pub async fn get(&mut self, org: &OrgId, id: AccountId) -> Result<Option<Account>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND id = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).fetch_optional().await?;
        row.as_ref().map(account).transpose()
    }

    /// The organisation's account that a provider knows by this id; the first of several.
    pub async fn of_provider(
        &mut self,
        org: &OrgId,
        provider: &str,
        external_id: &str,
    ) -> Result<Option<Account>, StoreError> {
        let sql =
            select!("WHERE org_id = $1 AND provider = $2 AND external_id = $3 ORDER BY id LIMIT 1");
        let query = self.conn.query(TABLE, sql).bind(org).bind(provider).bind(external_id);
        query.fetch_optional().await?.as_ref().map(account).transpose()
    }

    /// The first account of the organisation, for those who name none.
    pub async fn first(&mut self, org: &OrgId) -> Result<Option<AccountId>, StoreError> {
        let sql = select!("WHERE org_id = $1 ORDER BY id LIMIT 1");
        let row = self.conn.query(TABLE, sql).bind(org).fetch_optional().await?;
        row.map(|row| row.get("id")).transpose()
    }

    /// Every account of the organisation, by number.
    pub async fn list(&mut self, org: &OrgId) -> Result<Vec<Account>, StoreError> {
        let sql = select!("WHERE org_id = $1 ORDER BY id");
        let rows = self.conn.query(TABLE, sql).bind(org).fetch_all().await?;
        rows.iter().map(account).collect()
    }
}

impl Accounts<'_, ReadWrite> {
    /// Makes an account and numbers it. [`StoreError::Conflict`] `account_name` when the
    /// organisation has one of that name.
    pub async fn create(
        &mut self,
        org: &OrgId,
        name: &str,
        provider: Option<&str>,
        external_id: Option<&str>,
        regions: &[String],
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        let sql = select!(returning "INSERT INTO accounts
            (org_id, name, provider, external_id, regions, created_at)
            VALUES ($1, $2, $3, $4, $5, $6)");
        let row = self
            .conn
            .query(TABLE, sql)
            .bind(org)
            .bind(name)
            .bind(provider)
            .bind(external_id)
            .bind(Value::from_iter(regions.iter().map(String::as_str)))
            .bind(now)
            .fetch_one()
            .await?;
        account(&row)
    }

    /// Says which account's agents may deliver for this one.
    pub async fn organise(
        &mut self,
        org: &OrgId,
        id: AccountId,
        by: AccountId,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE accounts SET organised_by = $3 WHERE org_id = $1 AND id = $2";
        self.conn.query(TABLE, sql).bind(org).bind(id).bind(by).changed().await
    }

    /// Saves what can change about an account. [`StoreError::Conflict`] `account_name` when the
    /// organisation has another one of that name.
    pub async fn save(&mut self, account: &Account) -> Result<(), StoreError> {
        let sql = "UPDATE accounts SET name = $3, provider = $4, external_id = $5, regions = $6
            WHERE org_id = $1 AND id = $2";
        let query = self.conn.query(TABLE, sql).bind(&account.org).bind(account.id);
        let query = query.bind(account.name.as_str()).bind(account.provider.as_deref());
        let regions = Value::from_iter(account.regions.iter().map(String::as_str));
        query.bind(account.external_id.as_deref()).bind(regions).execute().await?;
        Ok(())
    }

    /// Deletes an account; false when there is none. [`StoreError::BrokenReference`] while anything
    /// belongs to it.
    pub async fn delete(&mut self, org: &OrgId, id: AccountId) -> Result<bool, StoreError> {
        let sql = "DELETE FROM accounts WHERE org_id = $1 AND id = $2";
        self.conn.query(TABLE, sql).bind(org).bind(id).changed().await
    }
}
