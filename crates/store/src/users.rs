//! Users. Of a password an Argon2id hash is kept.
//!
//! *Invariant:* a deleted user is found by nothing; the row stays, because keys and sessions name it.

use argosy_domain::{
    access::Role,
    id::{OrgId, UserId},
    time::Timestamp,
    user::{User, UserName},
};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    value::Row,
};

const TABLE: &str = "users";
const ORDER: (&str, &str) = ("created_at", "id");

selection! {
    select = "users",
    "id, org_id, name, role, password_hash, must_change_password, epoch, created_by,
    created_at, last_login_at, disabled_at, deleted_at"
}

aggregate! {
    /// Users.
    Users
}

/// A user that is being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The user.
    pub user: User,
    /// Argon2id of the password.
    pub password_hash: String,
}

/// What a change leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserChange {
    /// The name at login.
    pub name: UserName,
    /// The role.
    pub role: Role,
    /// Since when the user is shut out.
    pub disabled_at: Option<Timestamp>,
    /// Every session must end.
    pub ends_sessions: bool,
}

fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: row.get("id")?,
        org: row.get("org_id")?,
        name: row.get("name")?,
        role: row.parsed("role", Role::parse)?,
        must_change_password: row.get("must_change_password")?,
        epoch: row.get("epoch")?,
        created_by: row.get("created_by")?,
        created_at: row.get("created_at")?,
        last_login_at: row.optional("last_login_at")?,
        disabled_at: row.optional("disabled_at")?,
    })
}

impl<A> Users<'_, A> {
    /// The user of that id.
    pub async fn get(&mut self, org: &OrgId, id: &UserId) -> Result<Option<User>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).fetch_optional().await?;
        row.as_ref().map(user).transpose()
    }

    /// The user of that name, with the hash of the password.
    pub async fn by_name(
        &mut self,
        org: &OrgId,
        name: &UserName,
    ) -> Result<Option<(User, String)>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND name = $2 AND deleted_at IS NULL");
        let row = self.conn.query(TABLE, sql).bind(org).bind(name).fetch_optional().await?;
        row.as_ref().map(|row| Ok((user(row)?, row.get("password_hash")?))).transpose()
    }

    /// The organisation's users, newest first.
    pub async fn list(
        &mut self,
        org: &OrgId,
        page: &PageRequest,
    ) -> Result<Page<User>, StoreError> {
        let base = select!("WHERE org_id = $1 AND deleted_at IS NULL");
        let select = Select::new(base, [org.into()]).page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, user)
    }
}

impl Users<'_, ReadWrite> {
    /// Keeps a new user. [`StoreError::Conflict`] `user_name` when the organisation has one of
    /// that name.
    pub async fn insert(&mut self, new: &NewUser) -> Result<(), StoreError> {
        let sql = "INSERT INTO users (id, org_id, name, role, password_hash,
            must_change_password, epoch, created_by, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let NewUser { user, password_hash } = new;
        let query = self.conn.query(TABLE, sql).bind(&user.id).bind(&user.org).bind(&user.name);
        query
            .bind(user.role.as_str())
            .bind(password_hash.as_str())
            .bind(user.must_change_password)
            .bind(user.epoch)
            .bind(user.created_by.as_str())
            .bind(user.created_at)
            .execute()
            .await?;
        Ok(())
    }

    /// The user of that id, held until the end of the transaction: nothing else changes it
    /// meanwhile, and no key is minted for it.
    pub async fn hold(&mut self, org: &OrgId, id: &UserId) -> Result<Option<User>, StoreError> {
        let sql = select!(returning "UPDATE users SET epoch = epoch
            WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).fetch_optional().await?;
        row.as_ref().map(user).transpose()
    }

    /// Changes a user and answers what it is now; none when there is no such user.
    pub async fn change(
        &mut self,
        org: &OrgId,
        id: &UserId,
        change: &UserChange,
    ) -> Result<Option<User>, StoreError> {
        let sql = select!(returning "UPDATE users SET name = $3, role = $4, disabled_at = $5,
            epoch = epoch + $6
            WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL");
        let query = self.conn.query(TABLE, sql).bind(org).bind(id).bind(&change.name);
        let query = query.bind(change.role.as_str()).bind(change.disabled_at);
        let row = query.bind(i64::from(change.ends_sessions)).fetch_optional().await?;
        row.as_ref().map(user).transpose()
    }

    /// Gives a user another password, which ends every session.
    pub async fn set_password(
        &mut self,
        org: &OrgId,
        id: &UserId,
        password_hash: &str,
        must_change: bool,
    ) -> Result<Option<User>, StoreError> {
        let sql = select!(returning "UPDATE users SET password_hash = $3, must_change_password = $4,
            epoch = epoch + 1
            WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL");
        let query = self.conn.query(TABLE, sql).bind(org).bind(id).bind(password_hash);
        let row = query.bind(must_change).fetch_optional().await?;
        row.as_ref().map(user).transpose()
    }

    /// Notes a login.
    pub async fn logged_in(
        &mut self,
        org: &OrgId,
        id: &UserId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE users SET last_login_at = $3 WHERE org_id = $1 AND id = $2";
        self.conn.query(TABLE, sql).bind(org).bind(id).bind(now).execute().await?;
        Ok(())
    }

    /// Deletes a user; false when there is none.
    pub async fn delete(
        &mut self,
        org: &OrgId,
        id: &UserId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE users SET deleted_at = $3, password_hash = '', epoch = epoch + 1
            WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL";
        self.conn.query(TABLE, sql).bind(org).bind(id).bind(now).changed().await
    }
}
