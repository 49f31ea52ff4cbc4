//! Organisations: the tenants that every other row belongs to.

use argosy_domain::{
    id::{AccountId, OrgId},
    time::Timestamp,
};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate},
    value::Value,
};

const TABLE: &str = "organisations";

aggregate! {
    /// Organisations.
    Orgs
}

impl<A> Orgs<'_, A> {
    /// Whether there is such an organisation.
    pub async fn exists(&mut self, org: &OrgId) -> Result<bool, StoreError> {
        let sql = "SELECT id FROM organisations WHERE id = $1";
        Ok(self.conn.query(TABLE, sql).bind(org).fetch_optional().await?.is_some())
    }
}

impl Orgs<'_, ReadWrite> {
    /// Makes organisation `default` and its account 1 `default` where they are missing.
    pub async fn ensure_default(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let org = OrgId::default_org();
        let sql = "INSERT INTO organisations (id, name, created_at) VALUES ($1, 'Default', $2)
            ON CONFLICT (id) DO NOTHING";
        self.conn.query(TABLE, sql).bind(&org).bind(now).execute().await?;
        let sql = "INSERT INTO accounts (id, org_id, name, regions, created_at)
            VALUES ($1, $2, 'default', $3, $4) ON CONFLICT (id) DO NOTHING";
        self.conn
            .query("accounts", sql)
            .bind(AccountId::DEFAULT)
            .bind(&org)
            .bind(Value::from_iter([]))
            .bind(now)
            .execute()
            .await?;
        Ok(())
    }

    /// Makes an organisation. [`StoreError::Conflict`] `organisation_id` when it exists.
    pub async fn create(
        &mut self,
        id: &OrgId,
        name: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO organisations (id, name, created_at) VALUES ($1, $2, $3)";
        self.conn.query(TABLE, sql).bind(id).bind(name).bind(now).execute().await?;
        Ok(())
    }
}
