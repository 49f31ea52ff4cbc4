//! Settings: named texts, of the installation or of an organisation.

use argosy_domain::id::OrgId;

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate},
};

const TABLE: &str = "settings";
const ORG_TABLE: &str = "org_settings";

aggregate! {
    /// Settings.
    Settings
}

impl<A> Settings<'_, A> {
    /// Every setting of the installation, by name.
    pub async fn all(&mut self) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT name, value FROM settings ORDER BY name";
        let rows = self.conn.query(TABLE, sql).fetch_all().await?;
        rows.iter().map(|row| Ok((row.get("name")?, row.get("value")?))).collect()
    }

    /// A setting of the organisation, or of the installation when there is none given.
    pub async fn get(
        &mut self,
        org: Option<&OrgId>,
        name: &str,
    ) -> Result<Option<String>, StoreError> {
        let row = match org {
            None => {
                let sql = "SELECT value FROM settings WHERE name = $1";
                self.conn.query(TABLE, sql).bind(name).fetch_optional().await?
            }
            Some(org) => {
                let sql = "SELECT value FROM org_settings WHERE org_id = $1 AND name = $2";
                self.conn.query(ORG_TABLE, sql).bind(org).bind(name).fetch_optional().await?
            }
        };
        row.map(|row| row.get("value")).transpose()
    }
}

impl Settings<'_, ReadWrite> {
    /// Forgets a setting of the installation; false when it was not set.
    pub async fn remove(&mut self, name: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM settings WHERE name = $1";
        self.conn.query(TABLE, sql).bind(name).changed().await
    }

    /// Removes a setting of the installation that still has this value; false when it has not.
    pub async fn remove_value(&mut self, name: &str, value: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM settings WHERE name = $1 AND value = $2";
        self.conn.query(TABLE, sql).bind(name).bind(value).changed().await
    }

    /// Sets it.
    pub async fn put(
        &mut self,
        org: Option<&OrgId>,
        name: &str,
        value: &str,
    ) -> Result<(), StoreError> {
        match org {
            None => {
                let sql = "INSERT INTO settings (name, value) VALUES ($1, $2)
                    ON CONFLICT (name) DO UPDATE SET value = excluded.value";
                self.conn.query(TABLE, sql).bind(name).bind(value).execute().await?;
            }
            Some(org) => {
                let sql = "INSERT INTO org_settings (org_id, name, value) VALUES ($1, $2, $3)
                    ON CONFLICT (org_id, name) DO UPDATE SET value = excluded.value";
                let query = self.conn.query(ORG_TABLE, sql).bind(org);
                query.bind(name).bind(value).execute().await?;
            }
        }
        Ok(())
    }
}
