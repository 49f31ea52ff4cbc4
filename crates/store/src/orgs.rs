//! Organisations: the tenants that every other row belongs to.

use argosy_domain::{
    id::{AccountId, OrgId},
    time::Timestamp,
};

use crate::{
    authorities::AuthorityChange,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    value::{Row, Value},
};

const TABLE: &str = "organisations";
const ORDER: (&str, &str) = ("created_at", "id");

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// Its id.
    pub id: OrgId,
    /// For people.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when everybody of it is shut out.
    pub disabled_at: Option<Timestamp>,
}

/// What of an organisation changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganisationChange {
    /// For people.
    pub name: String,
    /// Since when everybody of it is shut out.
    pub disabled_at: Option<Timestamp>,
}

fn organisation(row: &Row) -> Result<Organisation, StoreError> {
    Ok(Organisation {
        id: row.get("id")?,
        name: row.get("name")?,
        created_at: row.get("created_at")?,
        disabled_at: row.optional("disabled_at")?,
    })
}

selection! {
    select = "organisations",
    "id, name, created_at, disabled_at"
}

aggregate! {
    /// Organisations.
    Orgs
}

impl<A> Orgs<'_, A> {
    /// The organisation of that id.
    pub async fn get(&mut self, org: &OrgId) -> Result<Option<Organisation>, StoreError> {
        let sql = select!("WHERE id = $1");
        let row = self.conn.query(TABLE, sql).bind(org).fetch_optional().await?;
        row.as_ref().map(organisation).transpose()
    }

    /// Every organisation, newest first.
    pub async fn list(&mut self, page: &PageRequest) -> Result<Page<Organisation>, StoreError> {
        let select = Select::new(select!("WHERE 1 = 1"), []).page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, organisation)
    }

    /// The organisations that are shut out.
    pub async fn disabled(&mut self) -> Result<Vec<OrgId>, StoreError> {
        let sql = "SELECT id FROM organisations WHERE disabled_at IS NOT NULL";
        let rows = self.conn.query(TABLE, sql).fetch_all().await?;
        rows.iter().map(|row| row.get("id")).collect()
    }

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

    /// The organisation, held until the end of the transaction: nothing else changes it meanwhile.
    pub async fn hold(&mut self, org: &OrgId) -> Result<Option<Organisation>, StoreError> {
        let sql = select!(returning "UPDATE organisations SET name = name WHERE id = $1");
        let row = self.conn.query(TABLE, sql).bind(org).fetch_optional().await?;
        row.as_ref().map(organisation).transpose()
    }

    /// Changes an organisation and answers what it is now; none when there is no such one.
    pub async fn change(
        &mut self,
        org: &OrgId,
        change: &OrganisationChange,
    ) -> Result<Option<Organisation>, StoreError> {
        let sql =
            select!(returning "UPDATE organisations SET name = $2, disabled_at = $3 WHERE id = $1");
        let query = self.conn.query(TABLE, sql).bind(org).bind(change.name.as_str());
        let row = query.bind(change.disabled_at).fetch_optional().await?;
        // Of everybody in it.
        self.conn.authority_changed(AuthorityChange::Anybody);
        row.as_ref().map(organisation).transpose()
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
