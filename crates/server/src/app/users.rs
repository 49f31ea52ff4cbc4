//! Users: made, changed, shut out and deleted by administrators.
//!
//! *Invariant:* nobody gives a role, or touches a user of a role, that grants more than what they
//! have themselves; whatever takes power from a user ends the user's sessions in the same
//! transaction.

use argosy_domain::{
    access::{Caller, Permission, Role},
    audit::AuditAction,
    entropy::random_bytes,
    id::{OrgId, UserId},
    user::{User, UserName},
};
use argosy_store::{NewUser, Page, StoreError, Tx, UserChange};
use argosy_wire::{
    problem::Code,
    rest::users::{CreateUser, UpdateUser},
};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    paging::PageQuery,
};

/// What generated passwords are made of: no two look alike.
const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567890";
/// Letters of a generated password; five bits each.
const PASSWORD_LETTERS: usize = 24;

/// A user and, where there is a new one, the password, at the only moment at which it can be shown.
#[derive(Clone)]
pub struct MadeUser {
    /// The user.
    pub user: User,
    /// The generated password.
    pub password: Option<String>,
}

fn role_of(name: &str) -> AppResult<Role> {
    Role::parse(name).ok_or_else(|| AppError::field("role", "must be viewer, operator or admin"))
}

fn name_of(name: &str) -> AppResult<UserName> {
    name.parse().map_err(|error| AppError::field("name", error))
}

/// Whoever gives or touches a role has all of it.
fn must_cover(caller: &Caller, role: Role) -> AppResult<()> {
    let server = matches!(caller, Caller::Server);
    if server || caller.scopes().cover(&role.scopes()) {
        return Ok(());
    }
    let detail = format!("this needs every scope of the role {}", role.as_str());
    Err(AppError::because(Code::Forbidden, detail))
}

fn taken(error: StoreError) -> AppError {
    if matches!(error, StoreError::Conflict { what: "user_name" }) {
        return AppError::wrong_state("another user has this name");
    }
    error.into()
}

impl App {
    /// A password that nobody guesses and most people can type.
    pub(crate) fn generate_password(&self) -> String {
        let bytes: [u8; PASSWORD_LETTERS] = random_bytes(self.entropy());
        let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
        let groups = bytes.chunks(6).map(|group| group.iter().map(letter).collect::<String>());
        groups.collect::<Vec<_>>().join("-")
    }

    /// Keeps a new user, with its audit entry.
    pub(crate) async fn store_user(
        &self,
        tx: &mut Tx,
        actor: &str,
        origin: &Origin,
        new: &NewUser,
    ) -> AppResult<()> {
        tx.users().insert(new).await.map_err(taken)?;
        let event = Event {
            action: AuditAction::UserCreated,
            org: &new.user.org,
            target: Some(format!("user:{}", new.user.id)),
            detail: json!({ "name": new.user.name.as_str(), "role": new.user.role.as_str() }),
        };
        self.record(tx, actor, origin, event).await
    }

    /// A user with a generated password, not stored yet.
    pub(crate) async fn fresh_user(
        &self,
        org: &OrgId,
        name: UserName,
        role: Role,
        created_by: String,
    ) -> AppResult<(NewUser, String)> {
        let password = self.generate_password();
        let password_hash = self.hasher().hash_password(&password, self.entropy()).await?;
        let user = User {
            id: self.ids().fresh(),
            org: org.clone(),
            name,
            role,
            must_change_password: true,
            epoch: 0,
            created_by,
            created_at: self.now(),
            last_login_at: None,
            disabled_at: None,
        };
        Ok((NewUser { user, password_hash }, password))
    }

    /// Makes a user with a generated password that the first login replaces.
    pub async fn create_user(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: &CreateUser,
    ) -> AppResult<MadeUser> {
        let org = Self::own_org(caller, Permission::UsersCreate)?;
        let (name, role) = (name_of(&request.name)?, role_of(&request.role)?);
        must_cover(caller, role)?;
        let (new, password) = self.fresh_user(org, name, role, caller.actor()).await?;
        let mut tx = self.store().write("users.create").await?;
        self.store_user(&mut tx, &caller.actor(), origin, &new).await?;
        tx.commit().await?;
        Ok(MadeUser { user: new.user, password: Some(password) })
    }

    /// One user.
    pub async fn show_user(&self, caller: &Caller, id: &UserId) -> AppResult<User> {
        let org = Self::own_org(caller, Permission::UsersRead)?;
        let user = self.store().read("users.show").await?.users().get(org, id).await?;
        user.ok_or_else(|| AppError::not_found("user"))
    }

    /// The users of the caller's organisation, newest first.
    pub async fn list_users(&self, caller: &Caller, page: &PageQuery) -> AppResult<Page<User>> {
        let org = Self::own_org(caller, Permission::UsersRead)?;
        let mut reader = self.store().read("users.list").await?;
        Ok(reader.users().list(org, &page.request()?).await?)
    }

    /// Changes a user.
    pub async fn update_user(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &UserId,
        request: &UpdateUser,
    ) -> AppResult<MadeUser> {
        let org = Self::own_org(caller, Permission::UsersUpdate)?;
        let name = request.name.as_deref().map(name_of).transpose()?;
        let role = request.role.as_deref().map(role_of).transpose()?;
        let password = match request.reset_password {
            Some(true) => Some(self.generate_password()),
            Some(false) | None => None,
        };
        let hash = match &password {
            Some(password) => Some(self.hasher().hash_password(password, self.entropy()).await?),
            None => None,
        };
        let mut tx = self.store().write("users.update").await?;
        let before = tx.users().hold(org, id).await?;
        let before = before.ok_or_else(|| AppError::not_found("user"))?;
        must_cover(caller, before.role)?;
        must_cover(caller, role.unwrap_or(before.role))?;
        let disabled_at = match request.disabled {
            Some(true) => before.disabled_at.or(Some(self.now())),
            Some(false) => None,
            None => before.disabled_at,
        };
        let change = UserChange {
            name: name.unwrap_or_else(|| before.name.clone()),
            role: role.unwrap_or(before.role),
            disabled_at,
            ends_sessions: role.is_some_and(|role| role != before.role)
                || (before.disabled_at.is_none() && disabled_at.is_some()),
        };
        if change.ends_sessions {
            must_be_another(caller, id)?;
        }
        let actor = caller.actor();
        let mut after = before.clone();
        if differs(&before, &change) {
            let changed = tx.users().change(org, id, &change).await.map_err(taken)?;
            after = changed.ok_or_else(|| AppError::not_found("user"))?;
            self.record(&mut tx, &actor, origin, told(&before, &after)).await?;
        }
        if let Some(hash) = &hash {
            let changed = tx.users().set_password(org, id, hash, true).await?;
            after = changed.ok_or_else(|| AppError::not_found("user"))?;
            let target = Some(format!("user:{id}"));
            let event =
                Event { action: AuditAction::PasswordReset, org, target, detail: json!({}) };
            self.record(&mut tx, &actor, origin, event).await?;
        }
        if after.epoch != before.epoch {
            tx.user_sessions().end_of_user(org, id, self.now()).await?;
        }
        if before.disabled_at.is_none() && after.disabled_at.is_some() {
            tx.api_keys().void_of_user(org, id, self.now()).await?;
        }
        tx.commit().await?;
        Ok(MadeUser { user: after, password })
    }

    /// Deletes a user, with every session and key.
    pub async fn delete_user(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &UserId,
    ) -> AppResult<()> {
        let org = Self::own_org(caller, Permission::UsersDelete)?;
        let mut tx = self.store().write("users.delete").await?;
        let user = tx.users().hold(org, id).await?;
        let user = user.ok_or_else(|| AppError::not_found("user"))?;
        must_be_another(caller, id)?;
        tx.users().delete(org, id, self.now()).await?;
        tx.user_sessions().end_of_user(org, id, self.now()).await?;
        tx.api_keys().void_of_user(org, id, self.now()).await?;
        let event = Event {
            action: AuditAction::UserDeleted,
            org,
            target: Some(format!("user:{id}")),
            detail: json!({ "name": user.name.as_str() }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        Ok(tx.commit().await?)
    }
}

/// Nobody takes power from themselves: an organisation must not lose its last administrator so.
fn must_be_another(caller: &Caller, id: &UserId) -> AppResult<()> {
    match caller {
        Caller::User { user, .. } if user == id => {
            Err(AppError::wrong_state("nobody does this to themselves: ask another administrator"))
        }
        Caller::User { .. } | Caller::Key { .. } | Caller::Agent { .. } | Caller::Server => Ok(()),
    }
}

fn differs(before: &User, change: &UserChange) -> bool {
    before.name != change.name
        || before.role != change.role
        || before.disabled_at != change.disabled_at
}

fn told<'a>(before: &User, after: &'a User) -> Event<'a> {
    let mut detail = serde_json::Map::new();
    if before.name != after.name {
        detail.insert("name".into(), json!([before.name.as_str(), after.name.as_str()]));
    }
    if before.role != after.role {
        detail.insert("role".into(), json!([before.role.as_str(), after.role.as_str()]));
    }
    if before.disabled_at.is_some() != after.disabled_at.is_some() {
        detail.insert("disabled".into(), after.disabled_at.is_some().into());
    }
    Event {
        action: AuditAction::UserUpdated,
        org: &after.org,
        target: Some(format!("user:{}", after.id)),
        detail: detail.into(),
    }
}
